package meter

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/kafka-katas/kafka-katas/ops"
)

type topicPartition struct {
	topic     string
	partition int32
}

// String is "orders/3", or "orders" for all of a topic (kgo's partition -1).
func (tp topicPartition) String() string {
	if tp.partition < 0 {
		return tp.topic
	}
	return fmt.Sprintf("%s/%d", tp.topic, tp.partition)
}

// A partition is what is known of one, owned or not. It outlives ownership, so that an offset which comes back is
// recognised.
type partition struct {
	topicPartition
	mu sync.Mutex
	ops.Counts
	assigned                 bool
	placed                   atomic.Bool // the client knows where to begin
	committed, position, end int64
	seen                     int64 // the offset after the highest that was ever received
	progress                 int64 // when a record was last done with
	inFlight                 queue
	series                   []*Series // that work on its records
	latency                  latency
}

// A table is all partitions. It is replaced, never changed: looking one up takes no lock.
type table struct {
	byTopic map[string]map[int32]*partition
	all     []*partition
}

func (m *Meter) partition(topic string, number int32) *partition {
	return m.table.Load().byTopic[topic][number]
}

// add returns the partition, which is made if there is none. The caller holds m.mu.
func (m *Meter) add(topic string, number int32) *partition {
	if p := m.partition(topic, number); p != nil {
		return p
	}
	p := &partition{
		topicPartition: topicPartition{topic, number},
		committed:      ops.Unknown, position: ops.Unknown, end: ops.Unknown,
	}
	old := m.table.Load()
	next := &table{byTopic: maps.Clone(old.byTopic), all: append(slices.Clip(old.all), p)}
	if next.byTopic == nil {
		next.byTopic = map[string]map[int32]*partition{}
	}
	numbers := maps.Clone(next.byTopic[topic])
	if numbers == nil {
		numbers = map[int32]*partition{}
	}
	numbers[number] = p
	next.byTopic[topic] = numbers
	m.table.Store(next)
	return p
}

// Assigned begins the ownership of partitions, and says that the service is a member of its group: call it from
// kgo.OnPartitionsAssigned, also with none. What such a partition still has in flight from before counts as Released.
func (m *Meter) Assigned(tps map[string][]int32) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for topic, numbers := range tps {
		for _, number := range numbers {
			m.assign(m.add(topic, number))
		}
	}
	m.link.joined()
}

func (m *Meter) assign(p *partition) {
	now := m.now()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.revoke()
	p.assigned = true
	p.placed.Store(false)
	m.link.forget(p.topicPartition)
	p.committed, p.position = ops.Unknown, ops.Unknown
	p.progress = now
}

// Revoked ends the ownership of partitions: call it from kgo.OnPartitionsRevoked and kgo.OnPartitionsLost, when no
// handler works on them any more. What is in flight counts as Released; what is said of it later is ignored.
func (m *Meter) Revoked(tps map[string][]int32) {
	for topic, numbers := range tps {
		for _, number := range numbers {
			if p := m.partition(topic, number); p != nil {
				p.mu.Lock()
				p.revoke()
				p.mu.Unlock()
				m.link.forget(p.topicPartition)
			}
		}
	}
}

// revoke ends an ownership. The caller holds p.mu.
func (p *partition) revoke() {
	p.count()
	for _, s := range p.series {
		s.over = true
	}
	p.series = nil
	p.assigned = false
	p.Released += int64(p.inFlight.live)
	p.InFlight = 0
	p.inFlight = queue{}
}

// Polled counts what a poll returned: call it with every poll, before anything else is said of its records. It takes note
// of errors as well, for Health. With a group, records of partitions that are not assigned are not counted: they were
// revoked since they were fetched, and the service must not handle them either.
func (m *Meter) Polled(fetches kgo.Fetches) {
	now := m.now()
	m.link.polled(fetches, m.stuck)
	fetches.EachPartition(func(f kgo.FetchTopicPartition) {
		if len(f.Records) == 0 && f.Err != nil {
			return
		}
		p := m.partition(f.Topic, f.Partition)
		if p == nil && m.cfg.Group == "" {
			m.mu.Lock()
			p = m.add(f.Topic, f.Partition)
			m.mu.Unlock()
		}
		if p == nil {
			return
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		switch {
		case p.assigned:
		case m.cfg.Group != "":
			return
		default:
			p.assigned, p.progress = true, now
		}
		p.received(f.Records, f.HighWatermark, now)
	})
}

// stuck tells that the client does not know where a partition begins. Having failed to find out, it does not try again.
func (m *Meter) stuck(tp topicPartition) bool {
	p := m.partition(tp.topic, tp.partition)
	return p != nil && m.placing.Load() && !p.placed.Load()
}

// received counts records, which are in order of offset.
func (p *partition) received(records []*kgo.Record, end, now int64) {
	if len(records) == 0 {
		p.end = max(p.end, end)
		return
	}
	first, next := records[0].Offset, records[len(records)-1].Offset+1
	if first < p.position && end < p.end {
		// The log is shorter than it was. A commit beyond its end is of a log that is gone.
		p.end = end
		if end < p.committed {
			p.committed = ops.Unknown
		}
	}
	p.end = max(p.end, end)
	p.Received += int64(len(records))
	p.InFlight += int64(len(records))
	for _, r := range records {
		if r.Offset >= p.seen {
			break
		}
		p.Redelivered++
	}
	p.position = next
	p.seen = max(p.seen, next)
	p.inFlight.push(records, now)
}

// Placed says where the group stands on partitions that begin, and returns what it was given. It has the signature of
// kgo.AdjustFetchOffsetsFn. The client does not tell a commit from a kgo.ConsumeStartOffset at an exact offset; both are
// taken for a commit.
func (m *Meter) Placed(_ context.Context, offsets map[string]map[int32]kgo.Offset) (map[string]map[int32]kgo.Offset, error) {
	const start = -2 // as Kafka numbers the start (-2) and the end (-1); below, there is no place to begin
	m.placing.Store(true)
	for topic, numbers := range offsets {
		for number, offset := range numbers {
			p, at := m.partition(topic, number), offset.EpochOffset().Offset
			if p == nil {
				continue
			}
			p.placed.Store(at >= start)
			if at >= 0 {
				p.mu.Lock()
				p.committed, p.position = at, at
				p.mu.Unlock()
			}
		}
	}
	return offsets, nil
}

// HighWatermark says where a partition ends, for a service that asks Kafka while it does not fetch: what is paused would
// seem to have no lag otherwise.
func (m *Meter) HighWatermark(topic string, number int32, offset int64) {
	if p := m.partition(topic, number); p != nil {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.end = max(p.end, offset)
	}
}

// snapshot is p for Stats. The caller holds p.mu.
func (m *Meter) snapshot(p *partition) ops.PartitionStats {
	s := ops.PartitionStats{
		Topic: p.topic, Partition: p.partition, Assigned: p.assigned, Counts: p.Counts,
		Committed: p.committed, Position: p.position, HighWatermark: p.end, Lag: ops.Unknown,
		LastProgress: m.at(p.progress),
	}
	from := p.committed
	if from == ops.Unknown {
		from = p.position
	}
	if from != ops.Unknown && p.end != ops.Unknown {
		s.Lag = max(0, p.end-from)
	}
	return s
}
