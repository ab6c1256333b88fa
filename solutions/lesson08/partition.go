package lesson08

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/kafka-katas/kafka-katas/ops/meter"
)

// role is what kind of topic a partition is of.
type role uint8

const (
	source  role = iota
	tier         // its records wait for their due time
	parking      // so do they, and behind the first of their key
)

// partition is one ownership of a partition: one goroutine, which sees one record after the other through.
type partition struct {
	s        *session
	topic    string
	number   int32
	role     role
	lane     *lane         // of a source in mode ordered: where its keys wait
	stop     chan struct{} // closed: no more records, no more waits
	ctx      context.Context
	cancel   context.CancelFunc // ends ctx: the handler has to return
	finished chan struct{}
	done     atomic.Int64 // the next offset to commit
	given    atomic.Bool  // there is nothing to commit, now or later

	committed int64 // by us; whoever holds session.committing has it

	queued atomic.Int64 // records, also what is in work
	wake   chan struct{}
	client *kgo.Client // that fetches it

	mu     sync.Mutex
	queue  [][]*kgo.Record
	paused bool
	left   bool // the client is not asked to pause or resume it any more

	series  *meter.Series // of what is plainly handled; the goroutine's, and so is running
	running bool          // the record in work belongs to it
}

func (s *session) newPartition(topic string, number int32) *partition {
	p := &partition{
		s: s, topic: topic, number: number, stop: make(chan struct{}), finished: make(chan struct{}), wake: make(chan struct{}, 1),
		client: s.client, series: s.meter.Series(),
	}
	p.ctx, p.cancel = context.WithCancel(s.base)
	return p
}

func (p *partition) names() map[string][]int32 { return map[string][]int32{p.topic: {p.number}} }

// add queues records.
func (p *partition) add(records []*kgo.Record) {
	p.queued.Add(int64(len(records)))
	p.mu.Lock()
	p.queue = append(p.queue, records)
	p.mu.Unlock()
	signal(p.wake)
}

// full says that no more should be fetched.
func (p *partition) full() bool { return p.queued.Load() >= int64(p.s.cfg.MaxQueued) }

// crowded says that it is full and fetched all the same.
func (p *partition) crowded() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.full() && !p.paused && !p.left
}

// pause ends fetching if the partition is full. The client is told under the lock, which takes it no time: of two who tell
// it at once, the later one must be right.
func (p *partition) pause() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.paused && !p.left && p.full() {
		p.paused = true
		p.client.PauseFetchPartitions(p.names())
	}
}

// resume begins fetching again if the partition is half empty.
func (p *partition) resume() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.paused && !p.left && p.queued.Load() <= int64(p.s.cfg.MaxQueued/2) {
		p.paused = false
		p.client.ResumeFetchPartitions(p.names())
	}
}

// leave resumes fetching for good: whoever gets the partition next, we ourselves even, would find it paused.
func (p *partition) leave() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.left = true
	if p.paused {
		p.client.ResumeFetchPartitions(p.names())
	}
}

// next waits for records; none when the partition has to be given up.
func (p *partition) next() []*kgo.Record {
	for {
		p.mu.Lock()
		if len(p.queue) > 0 {
			batch := p.queue[0]
			p.queue[0] = nil
			p.queue = p.queue[1:]
			p.mu.Unlock()
			return batch
		}
		p.mu.Unlock()
		select {
		case <-p.wake:
		case <-p.stop:
			return nil
		}
	}
}

// handled makes room for one more record.
func (p *partition) handled() {
	left, limit := int(p.queued.Add(-1)), p.s.cfg.MaxQueued
	if left == limit-1 {
		signal(p.s.room)
	}
	if left == limit/2 {
		p.resume()
	}
}

func (p *partition) stopped() bool {
	select {
	case <-p.stop:
		return true
	default:
		return false
	}
}

// work sees records through until the partition has to be given up.
func (p *partition) work() {
	defer close(p.finished)
	if p.lane != nil && !p.lane.known() {
		return
	}
	p.serve(func(*kgo.Record) {})
}

// serve sees records through, and tells settled of each.
func (p *partition) serve(settled func(*kgo.Record)) {
	defer p.alone()
	for batch := p.next(); batch != nil; batch = p.next() {
		for i, r := range batch {
			if !p.running {
				p.series.Begin(batch[i:])
				p.running = true
			}
			if p.stopped() || !p.settle(r) {
				return
			}
			p.done.Store(r.Offset + 1)
			settled(r)
			p.handled()
		}
		p.alone()
	}
}

// alone ends the series: whatever is no plain success is told to the meter of the record alone.
func (p *partition) alone() {
	if p.running {
		p.series.End()
		p.running = false
	}
}

// settle sees one record through: handled, passed on to wait elsewhere, or a dead letter. It says false if the partition
// has to be given up first; then nothing has become of the record, and it comes again.
func (p *partition) settle(r *kgo.Record) bool {
	s := p.s
	t := tripOf(r, p.role)
	if p.role != source {
		r.Timestamp = t.timestamp
	}
	if p.role != source && time.Until(t.due) > 0 {
		p.alone()
		s.meter.Waiting(r, t.due)
		if !sleep(p.stop, time.Until(t.due)) {
			return false
		}
	}
	if p.lane != nil && p.lane.holds(r) {
		return p.park(r, t) // behind the others of its key
	}
	first := t.attempts == 0
	for {
		tooOld := func() bool { return s.cfg.MaxAge > 0 && time.Since(t.timestamp) > s.cfg.MaxAge }
		report, err := s.gate.pass(p, r, tooOld)
		if errors.Is(err, errTooOld) {
			return p.bury(r, t.expired(s.cfg.MaxAge))
		} else if err != nil {
			return false
		}
		switch {
		case !first:
			p.alone()
			s.meter.Retried(r)
		case !p.running:
			s.meter.Began(r)
		}
		first = false
		err = p.attempt(r)
		if err == nil {
			report(nil)
			if p.running {
				p.series.Done()
			} else {
				s.meter.Ended(r, meter.Processed)
			}
			return true
		}
		p.alone()
		if p.ctx.Err() != nil {
			report(err)
			return false // cancelled: that says nothing of the record
		}
		class := Class(err)
		again := s.cfg.Retry.Retries(class)
		if again {
			report(err)
		} else {
			report(nil) // what refuses a record is not down
		}
		s.meter.Failed(r, err)
		t.failed(class, err)
		slog.Warn("attempt failed", "topic", t.topic, "partition", t.partition, "offset", t.offset, "class", class, "attempts", t.attempts, "error", meter.Redact(err.Error(), r))
		switch {
		case !again:
			return p.bury(r, t)
		case s.gate.isOpen():
			t.attempts-- // an outage is no fault of the record
			continue
		case t.attempts >= s.cfg.attempts():
			return p.bury(r, t)
		case s.cfg.Mode == ModeTiers:
			return p.retry(r, t)
		}
		wait := s.chance.jitter(s.cfg.Retry.Delay(t.attempts))
		t.due = time.Now().Add(wait)
		if s.cfg.Mode == ModeOrdered && p.role == source {
			return p.park(r, t)
		}
		s.meter.Waiting(r, t.due)
		if !sleep(p.stop, wait) {
			return false
		}
	}
}

// attempt calls the handler. A panic is a failure like any other.
func (p *partition) attempt(r *kgo.Record) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = &PanicError{Value: v, Stack: debug.Stack()}
		}
	}()
	return p.s.handle(p.ctx, r)
}

// bury writes the dead letter.
func (p *partition) bury(r *kgo.Record, t trip) bool {
	p.passOn(r)
	t.due = time.Time{}
	letter := t.carry(r, p.s.cfg.DeadLetterTopic, p.s.cfg.Group)
	_, err := p.produce(letter)
	if errors.Is(err, kerr.MessageTooLarge) {
		slog.Error("dead letter is too large; it goes without value and headers", "topic", t.topic, "partition", t.partition, "offset", t.offset)
		letter = t.carry(&kgo.Record{Key: r.Key}, p.s.cfg.DeadLetterTopic, p.s.cfg.Group)
		set(letter, HeaderOmitted, "value,headers")
		_, err = p.insist(letter)
	}
	if err != nil {
		return false
	}
	p.s.meter.Ended(r, meter.Dead)
	p.s.meter.Signal("dead_letters")
	return true
}

// retry moves the record to the tier of its attempts.
func (p *partition) retry(r *kgo.Record, t trip) bool {
	p.passOn(r)
	t.due = time.Now().Add(p.s.cfg.RetryDelays[t.attempts-1])
	_, err := p.produce(t.carry(r, p.s.cfg.RetryTopics[t.attempts-1], p.s.cfg.Group))
	return p.moved(r, t, err)
}

// park moves the record to the parking partition of this one.
func (p *partition) park(r *kgo.Record, t trip) bool {
	p.passOn(r)
	moved := t.carry(r, p.lane.topic, p.s.cfg.Group)
	moved.Partition = p.number
	at, err := p.produce(moved)
	if err == nil {
		p.lane.hold(r, at)
	}
	return p.moved(r, t, err)
}

func (p *partition) moved(r *kgo.Record, t trip, err error) bool {
	if errors.Is(err, kerr.MessageTooLarge) {
		t.failed(Class(err), fmt.Errorf("too large for its retry: %w", err))
		return p.bury(r, t)
	}
	if err != nil {
		return false
	}
	p.s.meter.Ended(r, meter.Parked)
	return true
}

// passOn says that what happens to r now is Kafka's doing: how long it takes is for the check "handover" to say, and not a
// handler that is wedged, which a restart would mend.
func (p *partition) passOn(r *kgo.Record) {
	p.alone()
	p.s.meter.Waiting(r, time.Now().Add(forEver))
}

const forEver = 100 * 365 * 24 * time.Hour

// produce waits until a record is acknowledged, however long that takes: its source is not committed before. Errors are
// MESSAGE_TOO_LARGE, and that of p.ctx.
func (p *partition) produce(r *kgo.Record) (int64, error) {
	for backoff := 100 * time.Millisecond; ; backoff = min(2*backoff, 5*time.Second) {
		at, err := p.once(r)
		switch {
		case err == nil:
			p.s.handedOver(p, nil)
			return at, nil
		case p.ctx.Err() != nil:
			return 0, p.ctx.Err()
		case errors.Is(err, kerr.MessageTooLarge):
			return 0, err
		}
		p.refused(r, err)
		if !sleep(p.stop, backoff) {
			return 0, err
		}
	}
}

// insist is produce for what there is no smaller form of.
func (p *partition) insist(r *kgo.Record) (int64, error) {
	for {
		at, err := p.produce(r)
		if !errors.Is(err, kerr.MessageTooLarge) {
			return at, err
		}
		p.refused(r, err)
		if !sleep(p.stop, 5*time.Second) {
			return 0, err
		}
	}
}

func (p *partition) refused(r *kgo.Record, err error) {
	slog.Error("cannot pass a record on; its partition waits", "to", r.Topic, "from", p.topic, "partition", p.number, "error", err)
	p.s.handedOver(p, fmt.Errorf("%s does not take records of %s/%d: %w", r.Topic, p.topic, p.number, err))
}

// once produces a record one time. The client tries again by itself whatever may pass.
func (p *partition) once(r *kgo.Record) (int64, error) {
	copied := *r
	acked := make(chan error, 1)
	p.s.client.Produce(p.ctx, &copied, func(_ *kgo.Record, err error) { acked <- err })
	late := time.NewTimer(10 * time.Second)
	defer late.Stop()
	for {
		select {
		case err := <-acked:
			return copied.Offset, err
		case <-p.ctx.Done():
			return 0, p.ctx.Err() // it may be stored yet; then it is there twice, with the same origin and attempts
		case <-late.C:
			p.refused(r, errors.New("no acknowledgement for 10s"))
			late.Reset(10 * time.Second) // so that the log says that it lasts
		}
	}
}

// lane is the parking partition of a source partition. It is consumed by whoever owns the source, by a client of its own
// whose position ends with the ownership: a key that waits is known here, and nowhere else does it have to be.
type lane struct {
	*partition
	of     *partition
	filled chan struct{} // closed when every key that was parked before is known

	keys sync.Mutex
	last map[string]int64 // the last record of each key that waits
	past int64            // what is done of the parking partition

	client *kgo.Client // as partition.client; under keys
	paused bool
}

func newLane(of, p *partition) *lane {
	p.role = parking
	return &lane{partition: p, of: of, filled: make(chan struct{}), last: map[string]int64{}}
}

// holds says whether records with this key wait.
func (l *lane) holds(r *kgo.Record) bool {
	l.keys.Lock()
	defer l.keys.Unlock()
	_, waits := l.last[string(r.Key)]
	return waits && r.Key != nil
}

// hold says that a record of this key was parked at that offset.
func (l *lane) hold(r *kgo.Record, at int64) {
	l.keys.Lock()
	defer l.keys.Unlock()
	if at >= l.past && r.Key != nil {
		l.last[string(r.Key)] = max(at, l.last[string(r.Key)])
	}
}

// let says that a parked record is done with.
func (l *lane) let(r *kgo.Record) {
	l.keys.Lock()
	defer l.keys.Unlock()
	l.past = r.Offset + 1
	if last, ok := l.last[string(r.Key)]; ok && last <= r.Offset {
		delete(l.last, string(r.Key))
	}
}

// pause is the part of Service.Pause for what is parked.
func (l *lane) pause(on bool) {
	l.keys.Lock()
	defer l.keys.Unlock()
	l.paused = on
	switch {
	case l.client == nil:
	case on:
		l.client.PauseFetchTopics(l.topic)
	default:
		l.client.ResumeFetchTopics(l.topic)
	}
}

// known waits until the keys are known that were parked before.
func (l *lane) known() bool {
	select {
	case <-l.filled:
		return true
	case <-l.stop:
		return false
	}
}

// run reads the parking partition from where it is done with, and works on it.
func (l *lane) run() {
	defer close(l.finished)
	from, end, ok := l.bounds()
	if !ok {
		return
	}
	l.s.meter.Committed(l.topic, l.number, from)
	client, err := kgo.NewClient(append(l.s.opts[:len(l.s.opts):len(l.s.opts)], kgo.ConsumerGroup(""), kgo.ConsumeTopics(),
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{l.topic: {l.number: kgo.NewOffset().At(from)}}))...)
	if err != nil {
		slog.Error("client for the parking topic", "error", err)
		l.s.handedOver(l.partition, fmt.Errorf("client for the parking topic: %w", err))
		return
	}
	defer client.Close()
	l.keys.Lock()
	l.client, l.partition.client = client, client
	paused := l.paused
	l.keys.Unlock()
	l.pause(paused)
	if from >= end {
		close(l.filled)
	}
	reading, stop := context.WithCancel(l.ctx)
	read := make(chan struct{})
	go func() {
		defer close(read)
		l.read(reading, client, from, end)
	}()
	l.serve(l.let)
	stop()
	<-read
}

// bounds are where the parking partition is done with, and where it ends.
func (l *lane) bounds() (from, end int64, ok bool) {
	admin := kadm.NewClient(l.s.client)
	for {
		asking, cancel := context.WithTimeout(l.ctx, 10*time.Second)
		starts, err := admin.ListStartOffsets(asking, l.topic)
		ends, err2 := admin.ListEndOffsets(asking, l.topic)
		committed, err3 := admin.FetchOffsetsForTopics(asking, l.s.cfg.Group, l.topic)
		cancel()
		first, _ := starts.Lookup(l.topic, l.number)
		last, found := ends.Lookup(l.topic, l.number)
		at, _ := committed.Lookup(l.topic, l.number)
		if err = errors.Join(err, err2, err3, first.Err, last.Err, at.Err); err == nil && found {
			l.s.handedOver(l.partition, nil)
			return max(first.Offset, at.At), last.Offset, true
		}
		if err == nil {
			err = errors.New("there is no such partition")
		}
		slog.Warn("cannot see what is parked yet", "topic", l.topic, "partition", l.number, "error", err)
		l.s.handedOver(l.partition, fmt.Errorf("what is parked in %s/%d cannot be seen: %w", l.topic, l.number, err))
		if !sleep(l.stop, time.Second) {
			return 0, 0, false
		}
	}
}

// read queues what is parked, and learns its keys.
func (l *lane) read(ctx context.Context, client *kgo.Client, from, end int64) {
	for ctx.Err() == nil {
		fetches := client.PollRecords(ctx, l.s.cfg.MaxQueued)
		if ctx.Err() != nil {
			return
		}
		l.s.meter.Polled(fetches)
		records := fetches.Records()
		for _, r := range records {
			l.hold(r, r.Offset)
		}
		if err := fetches.Err(); err != nil {
			slog.Warn("fetch failed", "topic", l.topic, "partition", l.number, "error", err)
			sleep(ctx.Done(), 250*time.Millisecond) // the client asks again at once, as long as the error stands
		}
		if len(records) == 0 {
			continue
		}
		before := from
		from = records[len(records)-1].Offset + 1
		l.add(records)
		if before < end && from >= end {
			close(l.filled)
		}
		if from >= end { // before that, every key has to be seen
			l.partition.pause()
		}
	}
}
