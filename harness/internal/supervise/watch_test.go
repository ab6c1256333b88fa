package supervise

import (
	"testing"
	"time"

	"github.com/kafka-katas/kafka-katas/harness/internal/stacks"
)

func TestSpent_CountsComputingWhileOthersHaveTheProcessors(t *testing.T) {
	const limit = 10 * time.Second
	for _, c := range []struct {
		name              string
		elapsed, computed time.Duration
		moves, want       bool
	}{
		{"before the limit", limit - 1, limit, true, false},
		{"a busy loop on a processor of its own", limit, limit, true, true},
		{"a busy loop that shares a processor evenly", limit, limit / 2, true, false},
		{"the same, given what it needs", limit * 6 / 5, limit * 6 / 10, true, true},
		{"a story that is starved", limit, limit / 20, true, false},
		{"a story that is starved without end", 6 * limit, limit / 20, true, true},
		{"a story that waits for the operating system", limit, 0, false, true},
	} {
		if got := spent(limit, c.elapsed, c.computed, c.moves); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

func TestWatch_WaitsForAStoryThatMovesWithLittleProcessorTime(t *testing.T) {
	called := make(chan stacks.Diagnosis, 1)
	stop := Watch(600*time.Millisecond, func(string) bool { return true }, func(d stacks.Diagnosis) { called <- d })
	defer stop()
	for end := time.Now().Add(1500 * time.Millisecond); time.Now().Before(end); {
		select {
		case d := <-called:
			t.Fatalf("given up after the clock alone: %v", d)
		case <-time.After(time.Millisecond):
		}
	}
}

func TestStood_IsALateLookWithNothingComputed(t *testing.T) {
	for _, c := range []struct {
		name                   string
		waited, computed, want time.Duration
	}{
		{"a look in time", sample, 0, 0},
		{"a look on a busy machine", probe - 1, 0, 0},
		{"a stopped process", time.Minute, 10 * time.Millisecond, time.Minute},
		{"a process that computes so much that nobody looks", 3 * time.Second, 2 * time.Second, 0},
	} {
		if got := stood(c.waited, c.computed); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

func TestProcessorTime_GrowsWithWork(t *testing.T) {
	before := processorTime()
	for end := time.Now().Add(5 * time.Second); processorTime() == before; {
		if time.Now().After(end) {
			t.Fatal("five seconds of computing are no processor time")
		}
	}
}

// A process stood still if a look comes late and nothing was computed since the one before, wherever in between; no moment
// counts twice.
func TestStandstill_IsWhatIsMissingBetweenTwoLooks(t *testing.T) {
	s := newStandstill()
	if got := s.since(); got != 0 {
		t.Errorf("at once: %v", got)
	}
	s.last = s.last.Add(-time.Minute)
	if got := s.since(); got < time.Minute {
		t.Errorf("after a minute in which nothing was computed: %v", got)
	}
	if got := s.since(); got != 0 {
		t.Errorf("once more: %v", got)
	}
	s.last, s.used = s.last.Add(-time.Minute), s.used-30*time.Second
	if got := s.since(); got != 0 {
		t.Errorf("after a minute in which half a minute was computed: %v", got)
	}
}
