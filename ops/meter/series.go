package meter

import (
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// A Series says of records what Began and Ended(r, Processed) would, for a service where two locks and two looks at the
// clock are dear: one look for a record, one lock for many. The records are of one partition, and one goroutine works on
// them one after the other. Stats, Health and ResetStats know of each record the moment it is done, as of any other.
//
//	series := m.Series() // one for a goroutine, used again and again
//	...
//	series.Begin(records)
//	for _, r := range records {
//		if err = handle(r); err != nil {
//			break
//		}
//		series.Done()
//	}
//	series.End()
//
// Whatever does not simply succeed is said of the record itself, after End: its Failed, Retried, Ended. Several goroutines
// may work on one partition, each with a Series and records of its own. Which latencies are the latest 4096 is then
// known to within 128 for each Series.
type Series struct {
	m *Meter
	p *partition // that it is listed in; nil: none

	records []*kgo.Record // that are not counted all; the partition's lock guards it, and what follows
	begun   int64
	counted int
	over    bool // the partition was revoked: what is said later is ignored

	// Each record is published as it is done, so that whoever holds the lock can count it at once, although the goroutine
	// may be busy with the next one for hours.
	ended [128]int64
	done  atomic.Int32
}

// Series returns one that has not begun.
func (m *Meter) Series() *Series { return &Series{m: m} }

// Begin says that work on the first of these records begins; the others follow in order. What had begun before ends. The
// Series reads records until End.
func (s *Series) Begin(records []*kgo.Record) {
	s.End()
	if len(records) == 0 {
		return
	}
	p := s.m.partition(records[0].Topic, records[0].Partition)
	if p == nil {
		return
	}
	now := s.m.now()
	p.mu.Lock()
	defer p.mu.Unlock()
	s.p, s.records, s.begun, s.counted, s.over = p, records, now, 0, false
	s.done.Store(0)
	p.series = append(p.series, s)
}

// Done says that the record in work is Processed, and that work on the next one begins. It returns when that is: now.
func (s *Series) Done() time.Time {
	now := s.m.now()
	s.doneAt(now)
	return s.m.at(now)
}

// DoneTogether says so of the next n records, which ended at the same moment: one acknowledgement was for all of them.
func (s *Series) DoneTogether(n int) {
	now := s.m.now()
	for range n {
		s.doneAt(now)
	}
}

func (s *Series) doneAt(now int64) {
	n := int(s.done.Load())
	if s.p == nil || n == len(s.records) {
		return
	}
	s.ended[n] = now
	s.done.Store(int32(n + 1))
	if n+1 == len(s.ended) {
		s.p.mu.Lock()
		s.count()
		s.records, s.begun, s.counted = s.records[n+1:], s.ended[n], 0
		s.done.Store(0)
		s.p.mu.Unlock()
	}
}

// End says that no record of the Series is in work any more. Those that are not done are as if work on them had not begun.
func (s *Series) End() {
	if s.p == nil {
		return
	}
	p := s.p
	p.mu.Lock()
	defer p.mu.Unlock()
	s.count()
	for i, other := range p.series {
		if other == s {
			last := len(p.series) - 1
			p.series[i], p.series[last] = p.series[last], nil
			p.series = p.series[:last]
			break
		}
	}
	s.p, s.records = nil, nil
}

// count counts what was done since it last did. The caller holds the partition's lock.
func (s *Series) count() {
	done := int(s.done.Load())
	if s.over || done == s.counted {
		return
	}
	p, n := s.p, 0
	var took [len(s.ended)]int64
	for i := s.counted; i < done; i++ {
		if e := p.inFlight.find(s.records[i].Offset); e != nil {
			took[n] = s.ended[i] - e.polled
			p.latency.add(took[n])
			p.inFlight.end(e)
			n++
		}
	}
	s.m.ring.add(took[:n]...)
	p.Processed += int64(n)
	p.InFlight -= int64(n)
	p.progress = max(p.progress, s.ended[done-1])
	s.counted = done
}

// working is the record in work, and since when; nil: none. The caller holds the partition's lock.
func (s *Series) working() *entry {
	done := int(s.done.Load())
	if s.over || done == len(s.records) {
		return nil
	}
	e := &entry{offset: s.records[done].Offset, clock: s.begun}
	if done > 0 {
		e.clock = s.ended[done-1]
	}
	return e
}

// count counts what every Series of p has done. The caller holds p.mu.
func (p *partition) count() {
	for _, s := range p.series {
		s.count()
	}
}
