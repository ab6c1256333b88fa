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
	Keep    func(lesson string, step int) bool // which specs; nil for all
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
	r := &realRun{Course: c, RealOptions: o, ctx: ctx, work: work, report: &RealReport{Limit: o.Limit.String(), Side: o.Side, Client: c.required("github.com/twmb/franz-go"), Specs: []*RealSpec{}}}
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
	if err := r.tellReally(); err != nil {
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

	mu   sync.Mutex
	done int
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
		p, err := r.run(l, 10*time.Minute, nil, specs...)
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

// tellReally tells the specs on the cluster, the longest first, so that none of them is waited for alone.
func (r *realRun) tellReally() error {
	began := time.Now()
	order := slices.Clone(r.report.Specs)
	slices.SortStableFunc(order, func(a, b *RealSpec) int { return cmp.Compare(b.lasts, a.lasts) })
	g, ctx := errgroup.WithContext(r.ctx)
	g.SetLimit(r.Side)
	for _, s := range order {
		if s.lasts > r.Limit {
			s.Verdict, s.Why = Skipped, fmt.Sprintf("the story lasts %v, longer than %v", s.lasts.Round(time.Second), r.Limit)
			r.said(s, "")
			continue
		}
		if ctx.Err() != nil {
			break
		}
		g.Go(func() error { return r.tell(s) })
	}
	if err := g.Wait(); err != nil {
		return err
	}
	r.report.Seconds = time.Since(began).Seconds()
	return r.ctx.Err()
}

// tell tells one spec on the cluster.
func (r *realRun) tell(s *RealSpec) error {
	began := time.Now()
	limit := 2*r.Limit + time.Minute // of real time: what is longer in virtual time was left out, and a busy machine is no verdict
	p, err := r.run(s.lesson, limit+time.Minute, []string{"KAFKA_BROKERS=" + r.Brokers, "KATA_REAL_LIMIT=" + limit.String()}, s)
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

// run runs specs of one lesson in one process.
func (r *realRun) run(l *Lesson, limit time.Duration, env []string, specs ...*RealSpec) (*packageRun, error) {
	var names []string
	for _, s := range specs {
		names = append(names, s.Spec)
	}
	cmd := exec.CommandContext(r.ctx, findProgram(r.work, l.Name), "-test.run=^("+strings.Join(names, "|")+")$",
		"-test.v=test2json", "-test.paniconexit0", "-test.timeout="+limit.String())
	cmd.Dir, cmd.Env = l.solution(), append(environment(), env...)
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
	convert := exec.CommandContext(r.ctx, r.test2json, "-p", l.Name)
	convert.Stdin, convert.Stdout = &said, &lines
	if err := convert.Run(); err != nil {
		return nil, fmt.Errorf("test2json: %w", err)
	}
	t := newTestRun()
	if err := t.read(&lines); err != nil {
		return nil, err
	}
	return t.of(l.Name), nil
}

// said shows that a spec has its verdict, and notes what cluster it was told on.
func (r *realRun) said(s *RealSpec, cluster string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.done++
	r.report.Cluster = cmp.Or(r.report.Cluster, cluster)
	got := s.Verdict
	if s.Verdict == Differs {
		got += ", " + s.Real
	}
	fmt.Fprintf(r.Log, "%3d/%d  %6.1fs  %s %s  %s\n", r.done, len(r.report.Specs), s.Seconds, s.Lesson, s.Spec, got)
}
