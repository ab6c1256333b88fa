package meter

import (
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/kafka-katas/kafka-katas/ops"
)

// Outcome is what became of a record.
type Outcome uint8

// The outcomes, as [ops.Counts] defines them.
const (
	Processed Outcome = iota
	Filtered
	Parked
	Dead
	Released
)

// Began says that an attempt at r begins. From here on the record is in work, and after StallAfter the process is wedged.
// A record that never began is queued, for however long.
func (m *Meter) Began(r *kgo.Record) { m.clock(r, m.now()) }

// Retried says that another attempt at r begins: it counts it, and is Began.
func (m *Meter) Retried(r *kgo.Record) {
	now := m.now()
	if p := m.partition(r.Topic, r.Partition); p != nil {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.Retried++
		if e := p.inFlight.find(r.Offset); e != nil {
			e.clock = now
		}
	}
}

// Waiting says that r waits until then, by plan: for its next attempt, or for whatever it is set aside for. The time for
// which it may be in work without being wedged starts then.
func (m *Meter) Waiting(r *kgo.Record, until time.Time) { m.clock(r, int64(until.Sub(m.epoch))) }

func (m *Meter) clock(r *kgo.Record, at int64) {
	if p := m.partition(r.Topic, r.Partition); p != nil {
		p.mu.Lock()
		defer p.mu.Unlock()
		if e := p.inFlight.find(r.Offset); e != nil {
			e.clock = at
		}
	}
}

// Failed says that an attempt at r failed. It counts the attempt and its error, is Signal("handler_failures"), and
// restarts the time for which r may be in work. It says nothing of the record's end.
func (m *Meter) Failed(r *kgo.Record, err error) {
	p := m.partition(r.Topic, r.Partition)
	if p == nil {
		return
	}
	now := m.now()
	class, message := m.class(err), Redact(err.Error(), r)
	p.mu.Lock()
	p.Failed++
	if e := p.inFlight.find(r.Offset); e != nil {
		e.clock = now
	}
	m.failures.add(failure{class, p.topicPartition}, ops.ErrorSample{Offset: r.Offset, Message: message})
	p.mu.Unlock()
	m.Signal("handler_failures")
}

// Ended says what became of r. Only the first Ended of a delivery counts; of a record that is not in flight it is ignored.
func (m *Meter) Ended(r *kgo.Record, o Outcome) {
	p := m.partition(r.Topic, r.Partition)
	if p == nil {
		return
	}
	now := m.now()
	p.mu.Lock()
	defer p.mu.Unlock()
	e := p.inFlight.find(r.Offset)
	if e == nil {
		return
	}
	switch o {
	case Processed:
		p.Processed++
		took := now - e.polled
		p.latency.add(took)
		m.ring.add(took)
	case Filtered:
		p.Filtered++
	case Parked:
		p.Parked++
	case Dead:
		p.Dead++
	default:
		p.Released++
	}
	if o < Released {
		p.progress = max(p.progress, now)
	}
	p.InFlight--
	p.inFlight.end(e)
}
