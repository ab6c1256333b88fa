package judge

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

// RealOptions say how the solutions' specs are told on a real cluster.
type RealOptions struct {
	Brokers string                             // host:port,...
	Side    int                                // how many stories are told side by side: they mostly wait; 0 means 16
	Limit   time.Duration                      // a story that is longer in virtual time is left out; 0 means 5 minutes
	Within  time.Duration                      // what cannot be at its end by then is not begun, the shortest first; 0 for no such limit
	Keep    func(lesson string, step int) bool // which specs; nil for all
	Told    func(what string) bool             // has been told before: "lesson07 TestStep01_A", "lesson07/mistake"; nil for nothing
	Wrong   bool                               // the mistakes in place of the solutions, each with a spec that is said to catch it
	Log     io.Writer                          // a line for each spec as it ends; nil for none
}

// OnReal tells the solutions' specs first on the in-memory Kafka, which says how long each story is, and then those that are
// not longer than the limit on a real cluster, in real time, each in a process of its own. When ctx ends, the processes
// are interrupted and remove from the cluster what they made there.
func (c *Course) OnReal(ctx context.Context, o RealOptions) (*RealReport, error) {
	o.Side, o.Limit = cmp.Or(o.Side, 16), cmp.Or(o.Limit, 5*time.Minute)
	if o.Log == nil {
		o.Log = io.Discard
	}
	work, err := os.MkdirTemp("", "kata-real-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(work)
	r := &realRun{Course: c, RealOptions: o, ctx: ctx, work: work, began: time.Now(), report: c.newRealReport(o)}
	if err := r.reach(); err != nil {
		return nil, err
	}
	if err := r.build(); err != nil {
		return nil, err
	}
	if r.test2json, err = toolPath(ctx, c.Root, "test2json"); err != nil {
		return nil, err
	}
	if err := r.tellVirtually(); err != nil {
		return nil, err
	}
	tell := r.tellReally
	if o.Wrong {
		tell = r.tellWrong
	}
	if o.Told != nil && !o.Wrong {
		r.report.Specs = slices.DeleteFunc(r.report.Specs, func(s *RealSpec) bool { return o.Told(s.what()) })
	}
	if err := tell(); err != nil {
		return nil, err
	}
	return r.report, ctx.Err()
}

type realRun struct {
	*Course
	RealOptions
	ctx       context.Context
	work      string
	test2json string
	report    *RealReport
	began     time.Time

	mu   sync.Mutex
	done int
	all  int
}

// tooLate says whether a story of that length would not be at its end in the time that the run has.
func (r *realRun) tooLate(lasts time.Duration) bool {
	return r.Within > 0 && time.Since(r.began)+lasts+5*time.Second > r.Within
}

// left is why a story is not told, "" if it is.
func (r *realRun) left(lasts time.Duration) string {
	switch {
	case lasts > r.Limit:
		return fmt.Sprintf("the story lasts %v, longer than %v", lasts.Round(time.Second), r.Limit)
	case r.tooLate(lasts):
		return notTold
	}
	return ""
}

// reach sees whether anybody is there, before each spec says that nobody is. What it is, the specs find out.
func (r *realRun) reach() (err error) {
	for _, seed := range strings.Split(r.Brokers, ",") {
		d := net.Dialer{Timeout: 5 * time.Second}
		var conn net.Conn
		if conn, err = d.DialContext(r.ctx, "tcp", seed); err == nil {
			return conn.Close()
		}
	}
	return fmt.Errorf("no Kafka at %s: %w", r.Brokers, err)
}

// build lays the specs onto the solutions and builds a program of each lesson.
func (r *realRun) build() error {
	o := newOverlay(r.work)
	var patterns []string
	for _, l := range r.answered() {
		if err := o.laySpec(l, l.solution()); err != nil {
			return err
		}
		patterns = append(patterns, l.solutionPattern())
	}
	if len(patterns) == 0 {
		return errors.New("no lesson has a solution")
	}
	file, err := o.write("real.json")
	if err != nil {
		return err
	}
	args := []string{"test", "-c", "-tags", Tag, "-vet=off", "-overlay", file, "-o", r.work + string(filepath.Separator)}
	cmd := exec.CommandContext(r.ctx, "go", append(args, patterns...)...)
	cmd.Dir = r.Root
	if said, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("the solutions do not build with their specs: %w\n%s", err, said)
	}
	return nil
}

// tellVirtually tells all specs on the in-memory Kafka, lesson by lesson.
func (r *realRun) tellVirtually() error {
	began := time.Now()
	for _, l := range r.answered() {
		var specs []*RealSpec
		for _, s := range l.Specs {
			if r.Keep == nil || r.Keep(l.Name, s.Step) {
				specs = append(specs, &RealSpec{Lesson: l.Name, Spec: s.Name, lesson: l})
			}
		}
		if len(specs) == 0 {
			continue
		}
		p, err := r.run(findProgram(r.work, l.Name), l.solution(), l.Name, 10*time.Minute, nil, names(specs)...)
		if err != nil {
			return err
		}
		for _, s := range specs {
			o := p.last(s.Spec)
			s.Fake, s.lasts = how(o.result, o.word, o.output), o.lasts
			s.Lasts = s.lasts.Seconds()
		}
		r.report.Specs = append(r.report.Specs, specs...)
	}
	r.report.FakeSeconds = time.Since(began).Seconds()
	return nil
}

// tellReally tells the specs on the cluster, the longest first, so that none of them is waited for alone; the shortest
// first if there may not be time for all.
func (r *realRun) tellReally() error {
	began := time.Now()
	order := slices.Clone(r.report.Specs)
	r.all = len(order)
	slices.SortStableFunc(order, func(a, b *RealSpec) int {
		if r.Within > 0 {
			a, b = b, a
		}
		return cmp.Compare(b.lasts, a.lasts)
	})
	g, ctx := errgroup.WithContext(r.ctx)
	g.SetLimit(r.Side)
	for _, s := range order {
		if ctx.Err() != nil {
			break
		}
		if s.lasts > r.Limit { // it needs no place among those that run
			s.Verdict, s.Why = Skipped, r.left(s.lasts)
			r.said(s, "")
			continue
		}
		g.Go(func() error { return r.tell(s) })
	}
	if err := g.Wait(); err != nil {
		return err
	}
	if err := r.tellAgain(); err != nil {
		return err
	}
	r.report.Seconds = time.Since(began).Seconds()
	r.report.SpecsAtOnce = r.report.Count(Same) + r.report.Count(Differs)
	return r.ctx.Err()
}

// fewSide is how many are told side by side when they are told again.
const fewSide = 4

// tellAgain tells what differs a second time, in a quieter room: a machine that many stories share is late, and that is no
// difference between two Kafkas. The table says that it was told twice, and what it was at first.
func (r *realRun) tellAgain() error {
	g := errgroup.Group{}
	g.SetLimit(min(fewSide, r.Side))
	for _, s := range r.report.Specs {
		if s.Verdict != Differs || r.ctx.Err() != nil {
			continue
		}
		g.Go(func() error {
			first := *s
			if r.left(s.lasts) != "" {
				return nil
			}
			r.more()
			if err := r.tell(s); err != nil {
				return err
			}
			if s.Verdict == Same {
				s.Why, s.Output = "told twice; at first "+cmp.Or(first.Why, first.Real), ""
			}
			return nil
		})
	}
	return g.Wait()
}

func (r *realRun) more() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all++
}

// tell tells one spec on the cluster.
func (r *realRun) tell(s *RealSpec) error {
	if why := r.left(s.lasts); why != "" {
		s.Verdict, s.Why = Skipped, why
		r.said(s, "")
		return nil
	}
	began := time.Now()
	limit := 2*r.Limit + time.Minute // of real time: what is longer in virtual time was left out, and a busy machine is no verdict
	p, err := r.run(findProgram(r.work, s.lesson.Name), s.lesson.solution(), s.lesson.Name, limit+time.Minute, r.onCluster(limit), s.Spec)
	if err != nil {
		return err
	}
	s.Seconds = time.Since(began).Seconds()
	o := p.last(s.Spec)
	s.Real = how(o.result, o.word, o.output+p.output)
	switch {
	case o.result == "skip":
		s.Verdict, s.Real, s.Why = Skipped, "", skipReason(o.output)
	case s.Real == s.Fake:
		s.Verdict = Same
	default:
		s.Verdict, s.Output = Differs, excerpt(o.output+p.output, 200)
		s.Why = firstSentence(o.output)
	}
	r.said(s, o.cluster)
	return nil
}

func names(specs []*RealSpec) (out []string) {
	for _, s := range specs {
		out = append(out, s.Spec)
	}
	return out
}

// onCluster is the environment of a program whose stories are told on the cluster, and may last so long.
func (r *realRun) onCluster(limit time.Duration) []string {
	return []string{"KAFKA_BROKERS=" + r.Brokers, "KATA_REAL_LIMIT=" + limit.String()}
}

// run runs specs in one process of a test program, which has a name.
func (r *realRun) run(program, dir, name string, limit time.Duration, env []string, specs ...string) (*packageRun, error) {
	cmd := exec.CommandContext(r.ctx, program, "-test.run=^("+strings.Join(specs, "|")+")$",
		"-test.v=test2json", "-test.paniconexit0", "-test.timeout="+limit.String())
	cmd.Dir, cmd.Env = dir, append(environment(), env...)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) } // it removes what it made on the cluster
	cmd.WaitDelay = time.Minute
	var said, lines bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	err := cmd.Run()
	var exit *exec.ExitError
	if r.ctx.Err() != nil {
		return nil, r.ctx.Err()
	}
	if err != nil && !errors.As(err, &exit) {
		return nil, err
	}
	convert := exec.CommandContext(r.ctx, r.test2json, "-p", name)
	convert.Stdin, convert.Stdout = &said, &lines
	if err := convert.Run(); err != nil {
		return nil, fmt.Errorf("test2json: %w", err)
	}
	t := newTestRun()
	if err := t.read(&lines); err != nil {
		return nil, err
	}
	return t.of(name), nil
}

// said shows that a spec has its verdict, and notes what cluster it was told on.
func (r *realRun) said(s *RealSpec, cluster string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	got := s.Verdict
	switch s.Verdict {
	case Differs:
		got += ", " + s.Real
	case Skipped:
		got += ": " + s.Why
	}
	r.progress(s.Seconds, s.Lesson+" "+s.Spec, got, cluster)
}

// progress shows that something has its verdict. The lock is held.
func (r *realRun) progress(seconds float64, what, got, cluster string) {
	r.done++
	r.report.Cluster = cmp.Or(r.report.Cluster, cluster)
	fmt.Fprintf(r.Log, "%3d/%d  %6.1fs  %s  %s\n", r.done, r.all, seconds, what, got)
}
