package lesson13

import (
	"slices"
	"sync"
	"time"

	"github.com/kafka-katas/kafka-katas/ops"
)

// latencySamples is how many of the latest requests percentiles are over.
const latencySamples = 4096

// latencies is how long requests took; it is given. Its methods are safe for concurrent use.
type latencies struct {
	mu     sync.Mutex
	latest []time.Duration // a ring, oldest at next when it is full
	next   int
	all    ops.Latency // Count, Sum and Max
}

// add counts one request.
func (l *latencies) add(d time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.latest) < latencySamples {
		l.latest = append(l.latest, d)
	} else {
		l.latest[l.next] = d
		l.next = (l.next + 1) % latencySamples
	}
	l.all.Count++
	l.all.Sum += d
	l.all.Max = max(l.all.Max, d)
}

// snapshot is what has been added since the last reset.
func (l *latencies) snapshot() ops.Latency {
	l.mu.Lock()
	out, latest := l.all, slices.Clone(l.latest)
	l.mu.Unlock()
	slices.Sort(latest)
	if n := len(latest); n > 0 {
		rank := func(percent int) time.Duration { return latest[(n*percent+99)/100-1] }
		out.P50, out.P95, out.P99 = rank(50), rank(95), rank(99)
	}
	return out
}

// reset begins anew.
func (l *latencies) reset() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.latest, l.next, l.all = nil, 0, ops.Latency{}
}
