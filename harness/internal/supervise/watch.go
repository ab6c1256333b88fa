package supervise

import (
	"fmt"
	"runtime"
	"runtime/metrics"
	"sync"
	"time"

	"github.com/kafka-katas/kafka-katas/harness/internal/stacks"
)

// Limits of a process under test. A story that comes near them has lost its way: the largest ones need a few
// thousand goroutines and some hundred megabytes.
const (
	maxGoroutines = 100_000
	maxHeap       = 1 << 30 // go test runs several packages at a time
)

const (
	sample = 100 * time.Millisecond // between looks at the size
	probe  = time.Second            // between looks at whether anything moves
	gap    = 200 * time.Millisecond // between the two dumps of one look
)

// Watch watches over one story in real time and calls onStall, at most once and on a goroutine of its own, when it
// has not been stopped within the limit, at the limit; or earlier, when nothing in the newest bubble can go on by itself. It must be
// called outside the bubble. mine tells the learner's files.
//
// A story that moves on a machine which is busy with other things is not held to the clock: the limit then counts the
// processor time that this process gets, and the clock only at six times the limit. While the whole process stands still
// (Ctrl-Z, a virtual machine that is paused) no time passes.
//
// A program that grows beyond all bounds is not left to a callback, since the memory may not last for it: a supervised
// process ends with the diagnosis, and the parent reports it for the tests that run.
//
// Under a debugger Watch does nothing.
func Watch(limit time.Duration, mine func(file string) bool, onStall func(stacks.Diagnosis)) (stop func()) {
	if Debugged() {
		return func() {}
	}
	done := make(chan struct{})
	go watch(limit, mine, onStall, done)
	return sync.OnceFunc(func() { close(done) })
}

func watch(limit time.Duration, mine func(string) bool, onStall func(stacks.Diagnosis), done <-chan struct{}) {
	used := processorTime()
	still := newStandstill()
	begin := still.last
	probe := probe
	if onTrial() {
		limit, probe = min(limit, trialLimit), trialProbe
		onStall = func(stacks.Diagnosis) { giveUpAll("BROKEN", "") } // it says nothing of the program
	}
	limit -= gap
	tick := time.NewTicker(sample)
	defer tick.Stop()
	look := begin.Add(min(probe, limit))
	for {
		select {
		case <-done:
			return
		case <-tick.C:
			begin = begin.Add(still.since())
		}
		if grown(mine, onStall) {
			return
		}
		if time.Now().Before(look) {
			continue
		}
		a := stacks.Take()
		select {
		case <-done:
			return
		case <-time.After(gap):
		}
		b := stacks.Take()
		begin = begin.Add(still.since())
		if grown(mine, onStall) { // which slows everything down, the looking too
			return
		}
		if stacks.Stuck(a, b) || spent(limit, still.last.Sub(begin), processorTime()-used, stacks.Moves(a, b)) {
			select {
			case <-done:
			default:
				onStall(stacks.Stall(a, b, mine))
			}
			return
		}
		look = time.Now().Add(probe)
		if end := begin.Add(limit); look.After(end) && time.Now().Before(end) {
			look = end
		}
	}
}

// standstill finds out for how long the whole process stands still, wherever that happens: no moment is between two readings.
type standstill struct {
	last time.Time
	used time.Duration
}

func newStandstill() *standstill { return &standstill{last: time.Now(), used: processorTime()} }

// since is how long the process stood still since it was asked last, or since the beginning.
func (s *standstill) since() time.Duration {
	now, used := time.Now(), processorTime()
	out := stood(now.Sub(s.last), used-s.used)
	s.last, s.used = now, used
	return out
}

// stood is how long the whole process stood still from one look to the next, which is a short time: nearly all of it if
// the look is late and nothing was computed meanwhile.
func stood(waited, computed time.Duration) time.Duration {
	if waited < probe || computed > waited/10 {
		return 0
	}
	return waited
}

const (
	share    = 0.6 // of a processor: a process that computes without end and gets less of one is starved by others
	patience = 6   // limits, for a starved one
)

// spent tells whether a story has had its time: the limit, or, as long as it moves and others have the processors, as
// much computing as the limit would have given it.
func spent(limit, elapsed, computed time.Duration, moves bool) bool {
	if elapsed < limit {
		return false
	}
	return !moves || elapsed >= patience*limit || computed >= time.Duration(share*float64(limit))
}

// grown ends the process, or failing that calls back, if it has outgrown its limits.
func grown(mine func(string) bool, onStall func(stacks.Diagnosis)) bool {
	d, yes := growth(mine)
	if yes {
		giveUpAll("BROKEN", Text(d))
		onStall(d)
	}
	return yes
}

// Text is a diagnosis as the body of a failure: the sentence under its word, and why it matters.
func Text(d stacks.Diagnosis) string {
	text := "BROKEN: " + d.Sentence
	if d.Why != "" {
		text += "\n\n   why    " + d.Why
	}
	return text
}

func growth(mine func(string) bool) (stacks.Diagnosis, bool) {
	if runtime.NumGoroutine() > maxGoroutines {
		return stacks.Growth(stacks.Goroutines, "the program started more than 100,000 goroutines", stacks.Take(), mine), true
	}
	if heap() > maxHeap {
		return stacks.Growth(stacks.Memory, fmt.Sprintf("the program used more than %d GiB of memory", maxHeap>>30), stacks.Take(), mine), true
	}
	return stacks.Diagnosis{}, false
}

// heap is the size of all objects, dead ones that were not swept yet included. Unlike runtime.ReadMemStats it does
// not stop the world.
func heap() uint64 {
	s := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	metrics.Read(s)
	return s[0].Value.Uint64()
}
