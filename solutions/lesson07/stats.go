package lesson07

import (
	"cmp"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/kafka-katas/kafka-katas/ops"
)

// Stats returns a snapshot of what the consumer did. See [ops.Stats] for the laws that it keeps; it answers from
// memory.
//
// Redelivered counts deliveries of offsets that this Consumer received before, also when the partition was elsewhere in
// between. Percentiles are over the latest 4096 records. Errors are failed handler attempts, by class, topic and
// partition, at most MaxErrorGroups of them; what is beyond is counted in one further group of class "other" without
// topic. The one alert is "handler_failures".
func (c *Consumer) Stats() ops.Stats {
	c.mu.Lock()
	now := time.Now()
	c.alarm.advance(now)
	if c.session != nil {
		c.session.countAll()
	}
	s := ops.Stats{
		Since:    c.since,
		At:       now,
		Group:    c.cfg.Group,
		Latency:  ops.Latency{Count: c.latency.count, Sum: c.latency.sum, Max: c.latency.max},
		Errors:   c.failures.snapshot(),
		Alerts:   []ops.Alert{c.alarm.snapshot()},
		Assigned: len(c.owned),
		Paused:   c.paused,
		Extra:    maps.Clone(c.extra),
	}
	window := slices.Clone(c.latency.window)
	for _, t := range c.tallies {
		if t.Assigned || t.Received > 0 {
			s.Partitions = append(s.Partitions, t.snapshot())
		}
	}
	c.mu.Unlock()

	slices.SortFunc(s.Partitions, func(a, b ops.PartitionStats) int {
		return cmp.Or(cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.Partition, b.Partition))
	})
	for _, p := range s.Partitions {
		s.Totals = s.Totals.Add(p.Counts)
	}
	slices.Sort(window)
	s.Latency.P50, s.Latency.P95, s.Latency.P99 = rank(window, 50), rank(window, 95), rank(window, 99)
	return s
}

// ResetStats starts a new period, as [ops.Controls] describes.
func (c *Consumer) ResetStats() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.since = time.Now()
	if c.session != nil {
		c.session.countAll()
	}
	for _, t := range c.tallies {
		t.Counts = ops.Counts{Received: t.InFlight, InFlight: t.InFlight}
	}
	c.latency = latencies{}
	c.failures.groups = map[failure]*ops.ErrorGroup{}
	clear(c.extra)
}

// A tally is what is known of one partition, owned or not. It outlives ownership, so that an offset which comes back is
// recognised.
type tally struct {
	ops.PartitionStats
	seen int64 // the offset after the highest that was ever received
}

func newTally(tp topicPartition) *tally {
	return &tally{PartitionStats: ops.PartitionStats{
		Topic: tp.topic, Partition: tp.partition,
		Committed: ops.Unknown, Position: ops.Unknown, HighWatermark: ops.Unknown,
	}}
}

// received counts records that were just polled; they are in order of offset.
func (t *tally) received(records []*kgo.Record) {
	t.Received += int64(len(records))
	t.InFlight += int64(len(records))
	for _, r := range records {
		if r.Offset >= t.seen {
			break
		}
		t.Redelivered++
	}
	t.Position = records[len(records)-1].Offset + 1
	t.seen = max(t.seen, t.Position)
}

func (t *tally) snapshot() ops.PartitionStats {
	p, from := t.PartitionStats, t.Committed
	if from == ops.Unknown {
		from = t.Position
	}
	p.Lag = ops.Unknown
	if from != ops.Unknown && p.HighWatermark != ops.Unknown {
		p.Lag = max(0, p.HighWatermark-from)
	}
	return p
}

// latencies keeps the latest ones for percentiles that are exact, in memory that does not grow.
type latencies struct {
	count    int64
	sum, max time.Duration
	window   []time.Duration // a ring once it is full
}

const latencyWindow = 4096

func (l *latencies) add(d time.Duration) {
	if len(l.window) < latencyWindow {
		l.window = append(l.window, d)
	} else {
		l.window[l.count%latencyWindow] = d
	}
	l.count++
	l.sum += d
	l.max = max(l.max, d)
}

// rank is the p-th percentile of sorted values by nearest rank.
func rank(sorted []time.Duration, p float64) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[int(math.Ceil(p/100*float64(len(sorted))))-1]
}
