package judge

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

// wrongSide is how many mistakes are built by one go command. Their programs are taken away when they have run, so that
// hundreds of them need little room.
const wrongSide = 12

// shortest is the length of the first story that it is told; 0 if there is none.
func (m *wrongRun) shortest() time.Duration {
	if len(m.catches) == 0 {
		return 0
	}
	return m.lasts[m.catches[0].Spec]
}

// A wrongRun is one mistake on its way to the cluster.
type wrongRun struct {
	*RealMistake
	lesson  *Lesson
	wrong   *Wrong
	catches []Catch                  // those that can be told on the cluster, the shortest first
	lasts   map[string]time.Duration // the lesson's stories, on the solution
	dir     string                   // where its program is
}

// tellWrong tells each mistake the shortest story that is said to catch it, and the next one if it gets away.
func (r *realRun) tellWrong() error {
	began := time.Now()
	var waiting [][]*wrongRun // batches
	for _, l := range r.answered() {
		waiting = append(waiting, r.batches(l)...)
	}
	r.report.Specs = []*RealSpec{} // they were told virtually, for their lengths alone
	r.all = len(r.report.Mistakes)
	slices.SortStableFunc(waiting, func(a, b []*wrongRun) int { return cmp.Compare(a[0].shortest(), b[0].shortest()) })

	g, ctx := errgroup.WithContext(r.ctx)
	g.SetLimit(r.Side)
	for _, batch := range waiting {
		if ctx.Err() != nil {
			break
		}
		ready := batch[:0:0]
		for _, m := range batch {
			switch {
			case m.Why != "":
				r.saidWrong(m.RealMistake, "")
			case r.tooLate(m.shortest()):
				m.Verdict, m.Why = Skipped, notTold
				r.saidWrong(m.RealMistake, "")
			default:
				ready = append(ready, m)
			}
		}
		ready = r.layable(ready)
		release, err := r.buildWrong(ready)
		if err != nil {
			err = errors.Join(err, g.Wait())
			release()
			return err
		}
		left := make(chan struct{}, len(ready))
		for _, m := range ready {
			g.Go(func() error {
				defer func() { left <- struct{}{} }()
				return r.tellMistake(m)
			})
		}
		go func() {
			for range ready {
				<-left
			}
			release()
		}()
		defer release()
	}
	if err := g.Wait(); err != nil {
		return err
	}
	r.report.MistakeSeconds = time.Since(began).Seconds()
	r.report.MistakesAtOnce = r.report.CountWrong(Same) + r.report.CountWrong(Differs)
	return r.ctx.Err()
}

// batches are the lesson's mistakes, those with the shortest stories first.
func (r *realRun) batches(l *Lesson) (out [][]*wrongRun) {
	lasts := map[string]time.Duration{}
	for _, s := range r.report.Specs {
		if s.lesson == l {
			lasts[s.Spec] = s.lasts
		}
	}
	var all []*wrongRun
	for _, w := range l.Mistakes {
		m := &wrongRun{RealMistake: &RealMistake{Lesson: l.Name, Mistake: w.Name}, lesson: l, wrong: w, lasts: lasts}
		kept := false
		for _, c := range w.Catches {
			d, told := lasts[c.Spec]
			kept = kept || told
			switch spec := l.spec(c.Spec); {
			case !told || spec == nil:
			case spec.Explores:
				m.Why = "only an exploration catches it, which is told undisturbed on a real cluster"
			case d > r.Limit:
				m.Why = fmt.Sprintf("the story that catches it lasts %v, longer than %v", d.Round(time.Second), r.Limit)
			default:
				m.catches = append(m.catches, c)
			}
		}
		if !w.ready || !kept || r.Told != nil && r.Told(m.what()) {
			continue
		}
		slices.SortStableFunc(m.catches, func(a, b Catch) int { return cmp.Compare(lasts[a.Spec], lasts[b.Spec]) })
		if len(m.catches) > 0 {
			m.Why = ""
		} else {
			m.Verdict = Skipped
		}
		all = append(all, m)
		r.report.Mistakes = append(r.report.Mistakes, m.RealMistake)
	}
	slices.SortStableFunc(all, func(a, b *wrongRun) int { return cmp.Compare(a.shortest(), b.shortest()) })
	return slices.Collect(slices.Chunk(all, wrongSide))
}

// layable leaves out what is no diff on the solution: law 3 says so, and the others can be told.
func (r *realRun) layable(batch []*wrongRun) []*wrongRun {
	return slices.DeleteFunc(batch, func(m *wrongRun) bool {
		_, err := m.wrong.apply(m.lesson.solution())
		if err != nil {
			m.Verdict, m.Why = Skipped, "its diff does not apply: "+err.Error()
			r.saidWrong(m.RealMistake, "")
		}
		return err != nil
	})
}

// buildWrong builds the programs of some mistakes of one lesson.
func (r *realRun) buildWrong(batch []*wrongRun) (release func(), err error) {
	if len(batch) == 0 {
		return func() {}, nil
	}
	dir, err := os.MkdirTemp(r.work, "wrong-")
	if err != nil {
		return func() {}, err
	}
	held := []func(){func() { os.RemoveAll(dir) }}
	release = sync.OnceFunc(func() {
		for _, f := range held {
			f()
		}
	})
	o := newOverlay(dir)
	var patterns []string
	for _, m := range batch {
		if err := o.layMistake(m.lesson, m.wrong); err != nil {
			return release, fmt.Errorf("%s/%s: %w", m.Lesson, m.Mistake, err)
		}
		free, err := hold(filepath.Join(m.lesson.solution(), "mistakes", m.Mistake))
		if err != nil {
			return release, err
		}
		held = append(held, free)
		m.dir = dir
		patterns = append(patterns, m.lesson.mistakePattern(m.wrong))
	}
	file, err := o.write("mistakes.json")
	if err != nil {
		return release, err
	}
	args := slices.Concat([]string{"test", "-c", "-tags", Tag, "-overlay", file, "-o", dir + string(filepath.Separator)}, quick, patterns)
	cmd := exec.CommandContext(r.ctx, "go", args...)
	cmd.Dir = r.Root
	said, err := cmd.CombinedOutput()
	if r.ctx.Err() != nil {
		return release, r.ctx.Err()
	}
	if err != nil {
		return release, fmt.Errorf("the mistakes do not build with their specs: %w\n%s", err, said)
	}
	return release, nil
}

// tellMistake tells one mistake its stories until one catches it. What is a race gets a second chance to show.
func (r *realRun) tellMistake(m *wrongRun) error {
	began, cluster := time.Now(), ""
	some := m.catches[:min(2, len(m.catches))]
	for _, c := range slices.Concat(some, some) {
		got, on, err := r.catch(m, c)
		if err != nil {
			return err
		}
		cluster = cmp.Or(cluster, on)
		if m.Verdict != "" && got == "skipped" {
			continue
		}
		m.Spec, m.Word, m.Real = c.Spec, c.Word, got
		if got == "red: "+c.Word {
			m.Verdict, m.Why = Same, ""
			break
		}
		if got == "skipped" {
			m.Verdict = Skipped
			continue
		}
		m.Verdict = Differs
		if r.tooLate(m.shortest()) {
			break
		}
	}
	m.Seconds = time.Since(began).Seconds()
	r.saidWrong(m.RealMistake, cluster)
	return nil
}

// catch tells a mistake one story: in memory, which says how long it is now, and then on the cluster.
func (r *realRun) catch(m *wrongRun, c Catch) (got, cluster string, err error) {
	program, dir := findProgram(m.dir, m.Mistake), filepath.Join(m.lesson.solution(), "mistakes", m.Mistake)
	p, err := r.run(program, dir, m.Mistake, time.Minute, nil, c.Spec)
	if err != nil {
		return "", "", err
	}
	fake := p.last(c.Spec)
	// Who waits in vain in memory does so until the story's deadline, of ten minutes. Half a minute longer than the right
	// answer takes is vain enough.
	limit := min(fake.lasts, m.lasts[c.Spec]) + 30*time.Second
	if fake.word != "STUCK" {
		limit = min(fake.lasts, r.Limit) + 30*time.Second
	}
	const toStop = 4 * time.Minute // who is stuck may be stuck in stopping, too, and the verdict comes after that
	p, err = r.run(program, dir, m.Mistake, limit+toStop, r.onCluster(limit), c.Spec)
	if err != nil {
		return "", "", err
	}
	o := p.last(c.Spec)
	m.Fake, m.Lasts = how(fake.result, fake.word, fake.output), fake.lasts.Seconds()
	got = how(o.result, o.word, o.output+p.output)
	switch o.result {
	case "skip":
		m.Why = skipReason(o.output)
	case "fail":
		m.Why = firstSentence(o.output)
	}
	return got, o.cluster, nil
}

// saidWrong shows that a mistake has its verdict.
func (r *realRun) saidWrong(m *RealMistake, cluster string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	got := m.Real
	switch m.Verdict {
	case Differs:
		got += ", not " + m.Word
	case Skipped:
		got = Skipped + ": " + m.Why
	}
	r.progress(m.Seconds, m.Lesson+"/"+m.Mistake, got, cluster)
}
