package harness

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kafka-katas/kafka-katas/harness/internal/stacks"
	"github.com/kafka-katas/kafka-katas/harness/internal/supervise"
)

// Run tells one story and reports its verdict on t. One test is one story, with a cluster and a clock of its own: kfake
// in virtual time, or, if KAFKA_BROKERS is set, that cluster in real time. When the story function returns, every
// process that still runs is stopped, and a story in which something is left over is red.
//
// The package's TestMain must call [Main]. Stories do not run in parallel: a virtual one takes milliseconds.
func Run(t *testing.T, story func(w *World), opts ...Option) {
	t.Helper()
	if t.Failed() {
		return // an earlier story of this test says why
	}
	spec := begin(t, caller())
	defer spec.end()
	o := defaults()
	for _, opt := range opts {
		opt(&o)
	}
	out := spec.play(o, story, nil)
	spec.lasts += out.lasted
	spec.report(o, out)
}

// outcome is how a story ended.
type outcome struct {
	err      error
	also     []error
	events   []Event
	skip     string
	places   [][2]string
	points   []lifePoint
	schedule *Schedule
	stalled  bool // time stood still: telling it again would cost as much real time again
	lasted   time.Duration
}

// spec is one test that tells stories.
type spec struct {
	t    *testing.T
	dir  string
	mine func(file string) bool

	lasts time.Duration // of the stories that a real cluster is told
}

func caller() string {
	_, file, _, _ := runtime.Caller(2)
	return filepath.Dir(file)
}

func begin(t *testing.T, dir string) *spec {
	t.Helper()
	mainCalled.check(t)
	alone(t)
	firstRed.skip(t)
	supervise.Begin(t.Name())
	return &spec{t: t, dir: dir, mine: stacks.Within(dir)}
}

func (s *spec) end() {
	if s.t.Failed() {
		firstRed.note(s.t.Name())
	}
	if s.lasts > 0 && !s.t.Skipped() { // in story time: whoever wants to tell it in real time knows what it takes
		s.t.Attr("lasts", s.lasts.String())
	}
	supervise.End(s.t.Name(), s.t.Failed())
}

// play tells one story on the backend that is asked for.
func (s *spec) play(o options, story func(*World), schedule *Schedule) outcome {
	if brokers := os.Getenv("KAFKA_BROKERS"); brokers != "" {
		return s.playReal(o, strings.Split(brokers, ","), story, schedule)
	}
	return s.playVirtual(o, story, schedule)
}

// toDiagnose is kept back of the watchdog's time, so that the verdict is out by the end of it.
const toDiagnose = 500 * time.Millisecond

// playVirtual tells a story in a bubble. The bubble has a goroutine of its own, so that one whose time stands still can
// be left behind: the verdict is given and the next tests run.
func (s *spec) playVirtual(o options, story func(*World), schedule *Schedule) outcome {
	result := make(chan outcome, 2)
	stalled := make(chan outcome, 1)
	var world atomic.Pointer[World]
	stop := supervise.Watch(max(o.watchdog-toDiagnose, o.watchdog/2), s.mine, func(d stacks.Diagnosis) {
		out := outcome{err: &Broken{says(d.Why, "%s", d.Sentence)}, stalled: true, schedule: schedule}
		if w := world.Load(); w != nil {
			out.events, out.places = w.journal.Events(), w.restless()
		}
		stalled <- out
	})
	defer stop()
	go func() {
		var out outcome
		var w *World
		defer func() {
			if r := recover(); r != nil { // the bubble was left with goroutines in it
				out = s.leak(w, out, r)
			}
			result <- out
		}()
		synctest.Test(s.t, func(t *testing.T) {
			if !o.begins.IsZero() {
				time.Sleep(time.Until(o.begins))
			}
			backend, err := newVirtual(o)
			if err != nil {
				out.err = fmt.Errorf("the fake cluster did not start: %w", err)
				return
			}
			w = newWorld(t, o, backend)
			w.schedule = schedule
			w.mine = s.mine
			world.Store(w)
			w.play(story)
			out = w.outcome()
		})
	}()
	select {
	case out := <-result:
		return out
	case out := <-stalled:
		return out
	}
}

func (w *World) outcome() outcome {
	w.mu.Lock()
	defer w.mu.Unlock()
	return outcome{err: w.verdict, also: w.also, events: w.journal.Events(), skip: w.skipped, points: w.points, schedule: w.schedule, places: w.places, lasted: w.lasted}
}

// leak is the verdict on goroutines that outlive their story. In a story that is red already they are a consequence.
func (s *spec) leak(w *World, out outcome, r any) outcome {
	if w == nil {
		return outcome{err: panicked("the story", r, nil, s.mine)}
	}
	out = w.outcome()
	if out.err != nil || !strings.Contains(fmt.Sprint(r), "blocked goroutines remain") {
		if out.err == nil {
			out.err = panicked("the story", r, nil, s.mine)
		}
		return out
	}
	left := stacks.Take()
	leaks := stacks.Leaks(left, s.mine)
	if len(leaks) == 0 && stacks.Leaving(left) {
		return out
	}
	what := "a goroutine was left behind when every process had stopped"
	if len(leaks) > 0 {
		what = leaks[0].Sentence
		if n := len(leaks); n > 1 {
			what += fmt.Sprintf(" (and %d more)", n-1)
		}
	}
	out.err = &Leaked{says("what a stopped consumer leaves running holds memory, connections and partitions, and nobody can stop it any more", "%s", what)}
	return out
}

// report gives the verdict on t.
func (s *spec) report(o options, out outcome) {
	s.t.Helper()
	switch {
	case out.skip != "":
		s.t.Skip(out.skip)
	case out.err == nil && o.red != "":
		s.t.Errorf("the story is green; it should be red as %s", o.red)
		return
	case out.err == nil:
		return
	case o.red != "" && Word(out.err) == o.red:
		s.t.Logf("red, as it should be: %v", out.err)
		return
	case o.red != "":
		s.t.Logf("the story is not red as %s but in another way", o.red)
	}
	verdict := Word(out.err)
	if isUnwritten(out.err) {
		verdict = "UNWRITTEN"
	}
	if verdict == "" {
		verdict = "RED"
	}
	s.t.Attr("verdict", verdict)
	hints := failureHints{Also: out.also, Dir: s.dir, Notes: out.places}
	if out.schedule != nil {
		hints.Notes = append(hints.Notes, out.schedule.notes()...)
		hints.Again = out.schedule.again(s.t.Name(), packagePath(s.dir))
	}
	if path := reportPath(s.t.Name()); path != "" {
		hints.Report = path
		err := writeReport(path, reportData{Test: s.t.Name(), Package: packagePath(s.dir), Err: out.err, Events: out.events, Hints: hints})
		if err != nil {
			s.t.Logf("the report could not be written: %v", err)
		}
	}
	text := failure(s.t.Name(), packagePath(s.dir), out.err, out.events, hints)
	if out.stalled && supervise.Restarts() { // what is left of it would take time and memory from the tests to come, so they get a fresh process
		supervise.GiveUp(s.t.Name(), verdict, text)
	}
	s.t.Errorf("\n%s", text)
}

var reportFlag = flag.String("report", "", "kata: write the timeline of every red story into this folder, as HTML (also KATA_REPORT)")

// reportPath is where a story's report goes, "" if none is wanted.
func reportPath(test string) string {
	dir := *reportFlag
	if dir == "" {
		dir = os.Getenv("KATA_REPORT")
	}
	if dir == "" {
		return ""
	}
	path, err := filepath.Abs(filepath.Join(dir, strings.ReplaceAll(test, "/", "_")+".html"))
	if err != nil {
		return ""
	}
	return path
}
