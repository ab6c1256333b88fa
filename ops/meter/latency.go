package meter

import (
	"math"
	"sync/atomic"
	"time"
)

// latency is the sums over one partition, in nanoseconds, under its lock.
type latency struct{ count, sum, max int64 }

func (l *latency) add(took int64) {
	l.count++
	l.sum += took
	l.max = max(l.max, took)
}

const window = 4096

// A ring is the latest latencies of all partitions, for percentiles that are exact, in memory that does not grow.
// Partitions write to it under their own locks alone; who holds all of those may read it.
type ring struct {
	next   atomic.Int64
	values [window]atomic.Int64
}

func (r *ring) add(took ...int64) {
	next := r.next.Add(int64(len(took))) - int64(len(took))
	for i, took := range took {
		r.values[(next+int64(i))%window].Store(took)
	}
}

func (r *ring) reset() { r.next.Store(0) }

// latest returns a copy of the latest of n latencies.
func (r *ring) latest(n int64) []time.Duration {
	out := make([]time.Duration, min(n, window))
	for i := range out {
		out[i] = time.Duration(r.values[i].Load())
	}
	return out
}

// rank is the p-th percentile of sorted values by nearest rank.
func rank(sorted []time.Duration, p float64) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[int(math.Ceil(p/100*float64(len(sorted))))-1]
}
