package lesson10

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/kafka-katas/kafka-katas/ops/meter"
)

// ackPatience is how long an acknowledgement may take before the pipeline is not ready.
const ackPatience = 10 * time.Second

// item is one source record on its way through the stages.
type item struct {
	record *kgo.Record
	rules  *Rules // one version from the first stage to the last output
	own    *ownership

	judged   bool   // by the record alone
	decided  bool   // the outputs are known
	event    *Event // while the service is asked about it
	question *question
	outputs  []output
	only     [1]output // the memory of outputs for nearly all
	outcome  meter.Outcome
	counter  string
	done     bool // all outputs are acknowledged; under Pipeline.mu
	alone    bool // was refused in a batch, perhaps for another record in it: it is tried without the others
}

// output is one record to be written.
type output struct {
	record *kgo.Record
	acked  bool
	err    error
}

// loop is what belongs to the goroutine of Run alone.
type loop struct {
	items   []item // of the batch, used again for the next one
	quality window
	halt    bool // the quality limit was exceeded
	decoder decoder
	memory  memory
	series  *meter.Series
	running bool          // the series has begun
	records []*kgo.Record // that it is about
}

// piece is how many records are judged before their outputs are handed to the client. That is done, and they are written,
// while the next ones are judged.
const piece = 500

// process takes a batch through the stages. Lookups run side by side, and outputs go out in the order of the source. halt
// says that the quality limit was exceeded; records behind the one that did it are left alone.
func (p *Pipeline) process(ctx context.Context, items []*item) (halt bool) {
	if len(items) == 0 {
		return false
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	questions := map[string]*question{}
	p.loop.memory.again()
	for todo := items; len(todo) > 0; {
		again, cause := p.write(ctx, todo, questions)
		if cause != nil {
			due := time.Now().Add(p.cfg.RetryAfter)
			p.hold(again, p.cfg.RetryAfter)
			p.keepUp(ctx)
			if !sleep(ctx, time.Until(due)) {
				break
			}
		}
		todo = again
	}
	cancel()
	for _, q := range questions { // no lookup outlives its batch
		<-q.done
	}
	return p.loop.halt
}

// decide judges what is not judged yet. It returns how many of the items are to be written: all of them, or those up to
// the one that exceeds the quality limit.
func (p *Pipeline) decide(items []*item) (n int, halt bool) {
	defer p.rest()
	for run := range runs(items) {
		p.begin(run)
		for i, it := range run {
			n++
			if it.judged {
				continue
			}
			p.began(i)
			it.judged = true
			bad, judged := p.judge(it)
			if judged && p.loop.quality.add(bad) > p.cfg.QualityLimit && p.cfg.QualityLimit > 0 {
				p.loop.halt = true
				return n, true
			}
		}
	}
	return n, false
}

// runs are the stretches of items that belong to one partition each.
func runs(items []*item) iter.Seq[[]*item] {
	return func(yield func([]*item) bool) {
		for from, i := 0, 1; i <= len(items); i++ {
			if i < len(items) && items[i].own == items[from].own {
				continue
			}
			if !yield(items[from:i]) {
				return
			}
			from = i
		}
	}
}

// begin says which run the series will be about.
func (p *Pipeline) begin(run []*item) {
	p.rest()
	p.loop.records = p.loop.records[:0]
	for _, it := range run {
		p.loop.records = append(p.loop.records, it.record)
	}
}

// began says that the i-th record of the run is in work, and after it the next ones.
func (p *Pipeline) began(i int) {
	if !p.loop.running {
		p.loop.series.Begin(p.loop.records[i:])
		p.loop.running = true
	}
}

// rest says that none is: whatever does not simply succeed is told to the meter of its record alone.
func (p *Pipeline) rest() {
	if p.loop.running {
		p.loop.series.End()
		p.loop.running = false
	}
}

// hold says that records wait by plan. Who waits for a broker or a service is not wedged: a restart would help neither.
func (p *Pipeline) hold(items []*item, d time.Duration) {
	until := time.Now().Add(d)
	for _, it := range items {
		p.meter.Waiting(it.record, until)
	}
}

// judge does what needs nothing but the record: decode, normalise, filter, check its quality, join the table.
func (p *Pipeline) judge(it *item) (bad, judged bool) {
	r := it.record
	if r.Value == nil {
		p.tombstone(it)
		return false, false
	}
	event, err := p.loop.decoder.normalise(r.Value)
	if err != nil {
		p.dead(it, err)
		return false, false
	}
	if event.At.IsZero() {
		event.At = r.Timestamp.UTC() // when it happened, as well as anybody knows; never when it is processed
	}
	reason, err := it.rules.Filter(*event)
	if err != nil {
		p.dead(it, err)
		return false, false
	}
	if reason != "" {
		p.aside(it, meter.Filtered, "filtered_"+reason, p.cfg.Audit, reason)
		return false, false
	}
	percent, failed, err := it.rules.Score(*event)
	switch {
	case err != nil:
		p.dead(it, err)
		return false, false
	case percent < it.rules.RejectBelow:
		p.aside(it, meter.Filtered, "rejected", p.cfg.Audit, "quality: "+strings.Join(failed, ", "), header(HeaderScore, strconv.Itoa(percent)))
		return true, true
	case percent < it.rules.QuarantineBelow:
		p.aside(it, meter.Parked, "quarantined", p.cfg.Quarantine, "quality: "+strings.Join(failed, ", "), header(HeaderScore, strconv.Itoa(percent)))
		return true, true
	}
	if p.table != nil {
		segment, ok := p.table.segment(event.Customer)
		if !ok && !p.missing(it, &segment, "no segment") {
			return false, true
		}
		event.Segment = segment
	}
	if p.service != nil {
		it.event = p.loop.decoder.take()
		return false, true
	}
	p.route(it, event)
	return false, true
}

// missing applies the policy for what the reference data does not know; it is false if the event is parked.
func (p *Pipeline) missing(it *item, value *string, reason string) bool {
	if p.cfg.Missing == MissingPark {
		p.aside(it, meter.Parked, "parked", p.cfg.Parked, reason)
		return false
	}
	*value = p.cfg.Default
	return true
}

// ask makes one question of all that the batch wants to know of one customer.
func (p *Pipeline) ask(ctx context.Context, questions map[string]*question, it *item) *question {
	customer := it.event.Customer
	q := questions[customer]
	if q != nil {
		return q
	}
	q = &question{done: make(chan struct{})}
	questions[customer] = q
	if known, ok := p.service.remembered(customer); ok {
		q.risk, q.err = known.risk, known.err
		close(q.done)
		return q
	}
	go p.inquire(ctx, q, customer, it)
	return q
}

// answered finishes the enrichment of an item; it is false if that must not be waited for any longer.
func (p *Pipeline) answered(ctx context.Context, it *item, waiting []*item) bool {
	patience, progress := time.NewTicker(ackPatience), time.NewTicker(p.cfg.CommitInterval)
	defer patience.Stop()
	defer progress.Stop()
	for open := true; open; {
		select {
		case <-it.question.done:
			open = false
		case <-progress.C:
			p.keepUp(ctx)
		case <-patience.C:
			p.hold(waiting, ackPatience)
		case <-it.own.ctx.Done():
			return false
		case <-ctx.Done():
			return false
		}
	}
	switch risk, err := it.question.risk, it.question.err; {
	case err == errUnknown && !p.missing(it, &risk, "no risk"):
	case err != nil && err != errUnknown:
		return false
	default:
		it.event.Risk = risk
		p.route(it, it.event)
	}
	return true
}

// route decides the outputs of an event that has come through all stages.
func (p *Pipeline) route(it *item, event *Event) {
	only := [1]Event{*event}
	events, outputs := only[:], it.only[:0]
	if it.rules.Expand != nil {
		var err error
		if events, err = it.rules.expand(*event); err != nil {
			p.dead(it, err)
			return
		}
		outputs = make([]output, 0, len(events))
	}
	for i := range events {
		e := &events[i]
		topic, err := it.rules.Route(*e)
		if err != nil {
			p.dead(it, err)
			return
		}
		at := e.At
		if at.UnixMilli() < 0 {
			at = it.record.Timestamp // Kafka has no time before 1970
		}
		// Each output is a record of its own with headers of its own: the client writes into what it is given.
		out := p.loop.memory.record()
		out.Topic, out.Key, out.Value, out.Timestamp, out.Headers = topic, p.loop.memory.text(e.Customer), p.loop.memory.encode(e, len(it.record.Value)+200), at, p.headers(it)
		if size := bytesOf(out); size > p.cfg.MaxRecordBytes {
			p.dead(it, fmt.Errorf("an output of %d bytes is larger than %d", size, p.cfg.MaxRecordBytes))
			return
		}
		outputs = append(outputs, output{record: out})
	}
	it.outcome, it.outputs, it.decided = meter.Processed, outputs, true
}

func bytesOf(r *kgo.Record) int {
	size := len(r.Key) + len(r.Value)
	for _, h := range r.Headers {
		size += len(h.Key) + len(h.Value)
	}
	return size
}

// tombstone passes a deletion on to wherever events of the customer may be.
func (p *Pipeline) tombstone(it *item) {
	for _, topic := range it.rules.topics() {
		it.outputs = append(it.outputs, output{record: &kgo.Record{
			Topic: topic, Key: []byte(key(it.record.Key)), Timestamp: it.record.Timestamp, Headers: p.headers(it),
		}})
	}
	it.outcome, it.decided = meter.Processed, true
}

// dead makes a dead letter of a record, in place of everything else that would be written for it.
func (p *Pipeline) dead(it *item, err error) {
	p.rest()
	p.meter.Failed(it.record, err)
	p.aside(it, meter.Dead, "", p.cfg.DeadLetters, meter.Redact(err.Error(), it.record))
}

// aside writes the record as it came to a topic for what is not processed.
func (p *Pipeline) aside(it *item, outcome meter.Outcome, counter, topic, reason string, more ...kgo.RecordHeader) {
	r := it.record
	it.outputs = []output{{record: &kgo.Record{
		Topic: topic, Key: r.Key, Value: r.Value, Timestamp: r.Timestamp,
		Headers: append(append(p.headers(it), header(HeaderReason, reason)), more...),
	}}}
	it.outcome, it.counter, it.decided = outcome, counter, true
}

// headers are the source's and behind them the pipeline's own. Each record has a list of its own, because the client's
// hooks may write into it.
func (p *Pipeline) headers(it *item) []kgo.RecordHeader {
	m := &p.loop.memory
	out := append(m.headers.room(len(it.record.Headers)+2), it.record.Headers...)
	return m.headers.taken(append(out, kgo.RecordHeader{Key: HeaderRules, Value: m.text(it.rules.Version)}, kgo.RecordHeader{Key: HeaderOrigin, Value: m.origin(it.record)}))
}

func header(key, value string) kgo.RecordHeader {
	return kgo.RecordHeader{Key: key, Value: []byte(value)}
}

// write produces what is not acknowledged yet, in the order of the items, and waits for the acknowledgements. It returns
// the items that have to be tried again, with what has to follow them.
func (p *Pipeline) write(ctx context.Context, items []*item, questions map[string]*question) (again []*item, cause error) {
	items, later := apart(items)
	acks := newAcks()
	step := piece
	if p.service != nil {
		step = len(items) // all questions of a batch are asked before the first answer is waited for
	}
	written := 0
	var behind []*item         // a refusal: to be written when that has been
	var handing sync.WaitGroup // a piece over to the client, while the next one is judged
	for decided := 0; decided < len(items); {
		next := items[decided:min(decided+step, len(items))]
		n, halt := p.decide(next)
		next, decided = next[:n], decided+n
		if halt {
			items = items[:decided]
		}
		for _, it := range next {
			if !it.decided && it.question == nil && p.service != nil {
				it.question = p.ask(ctx, questions, it)
			}
		}
		if handing.Wait(); acks.refused() {
			behind = items[written:]
			break
		}
		hand := func() { written += p.produce(ctx, next, acks) }
		if decided < len(items) {
			handing.Go(hand)
		} else {
			hand()
		}
	}
	handing.Wait()
	acks.add(acks.asked)
	if !p.acknowledged(ctx, acks, items[:written]) {
		p.loop.memory = newMemory() // the client still has the other
		return nil, nil             // they may still arrive; nothing of this is committed
	}
	again, cause = p.sort(items[:written], acks.failed)
	return append(append(again, behind...), later...), cause
}

// apart are the items that can be written together, and those that have to wait for them.
func apart(items []*item) (now, later []*item) {
	for i, it := range items {
		if it.alone {
			return items[:max(i, 1)], items[max(i, 1):]
		}
	}
	return items, nil
}

// produce hands outputs to the client. It returns how many of the items it was that it has not given up.
func (p *Pipeline) produce(ctx context.Context, items []*item, acks *acks) int {
	for i, it := range items {
		if !it.decided && it.own.ctx.Err() == nil && (it.question == nil || !p.answered(ctx, it, items[i:])) {
			if it.own.ctx.Err() == nil {
				return i
			}
		}
		if it.own.ctx.Err() != nil {
			continue
		}
		for j := range it.outputs {
			if out := &it.outputs[j]; !out.acked {
				acks.asked++
				// Not the partition's context: a record that is cancelled before the client has its producer id makes it spin.
				p.client.Produce(context.Background(), out.record, acks.promise)
			}
		}
	}
	return len(items)
}

// acks waits for the answers to what was produced.
type acks struct {
	asked   int64         // for by now
	left    atomic.Int64  // below 0 until asked is added, once, at the end
	all     chan struct{} // closed when nothing is left
	promise func(*kgo.Record, error)

	mu     sync.Mutex
	failed map[*kgo.Record]error
}

func newAcks() *acks {
	a := &acks{all: make(chan struct{})}
	a.promise = func(r *kgo.Record, err error) {
		if err != nil {
			a.fail(r, err)
		}
		a.add(-1)
	}
	return a
}

func (a *acks) add(n int64) {
	if a.left.Add(n) == 0 {
		close(a.all)
	}
}

func (a *acks) fail(r *kgo.Record, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.failed == nil {
		a.failed = map[*kgo.Record]error{}
	}
	a.failed[r] = err
}

// refused says that something has failed: what comes behind it should not be written before it.
func (a *acks) refused() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.failed) > 0
}

// acknowledged waits for the answers, however long it takes: more must not be taken up meanwhile.
func (p *Pipeline) acknowledged(ctx context.Context, a *acks, waiting []*item) bool {
	patience, progress := time.NewTicker(ackPatience), time.NewTicker(p.cfg.CommitInterval)
	defer patience.Stop()
	defer progress.Stop()
	for {
		select {
		case <-a.all:
			return true
		case <-progress.C:
			p.keepUp(ctx)
		case <-patience.C:
			p.meter.Check("output", readiness, errWaiting)
			p.hold(waiting, ackPatience)
		case <-ctx.Done():
			return false
		}
	}
}

// sort ends the items that are written and returns those that are not, and why they have to wait. What was refused for
// good is dead-lettered; what may pass is written again, together with what comes behind it in its partition and goes to
// the same topic: that would have overtaken it.
func (p *Pipeline) sort(items []*item, errs map[*kgo.Record]error) (again []*item, cause error) {
	type place struct {
		source *ownership
		topic  string
	}
	var late map[place]bool
	ended := make([]*item, 0, len(items))
	for _, it := range items {
		if it.own.ctx.Err() != nil {
			continue
		}
		var refused, failed error
		repeat := false
		for j := range it.outputs {
			out := &it.outputs[j]
			if !out.acked {
				out.err = errs[out.record]
				out.acked = out.err == nil
			}
			if len(errs) == 0 {
				continue
			}
			at := place{it.own, out.record.Topic}
			switch {
			case out.err != nil && permanent(out.err) && it.outcome != meter.Dead:
				refused = out.err
				if !it.alone {
					*out = output{record: fresh(out.record)}
				}
			case out.err != nil || late[at]:
				if out.err != nil {
					failed = out.err
				}
				if late == nil {
					late = map[place]bool{}
				}
				late[at], repeat = true, true
				*out = output{record: fresh(out.record)}
			}
		}
		switch {
		case refused != nil && it.alone:
			p.dead(it, refused)
		case refused != nil:
			it.alone = true
			p.meter.Failed(it.record, refused)
		case failed != nil:
			cause = failed
			p.meter.Failed(it.record, failed)
		case !repeat:
			ended = append(ended, it)
			continue
		}
		again = append(again, it)
	}
	p.end(ended)
	p.meter.Check("output", readiness, cause)
	if cause != nil {
		slog.Warn("outputs were refused", "items", len(again), "error", cause)
	}
	return again, cause
}

// fresh is the record as it was before the client had it.
func fresh(r *kgo.Record) *kgo.Record {
	return &kgo.Record{Topic: r.Topic, Key: r.Key, Value: r.Value, Timestamp: r.Timestamp, Headers: r.Headers}
}

// permanent says that the same record will be refused again.
func permanent(err error) bool {
	return slices.ContainsFunc([]error{
		kerr.MessageTooLarge, kerr.RecordListTooLarge, kerr.InvalidRecord, kerr.InvalidTimestamp,
		kerr.InvalidTopicException, kerr.UnknownTopicOrPartition,
	}, func(known error) bool { return errors.Is(err, known) })
}

// end is where records are over.
func (p *Pipeline) end(items []*item) {
	for run := range runs(items) {
		p.begin(run)
		processed := 0
		for i, it := range run {
			if it.outcome == meter.Processed {
				p.began(i)
				processed++
				continue
			}
			p.loop.series.DoneTogether(processed)
			processed = 0
			p.rest()
			p.meter.Ended(it.record, it.outcome)
			if it.counter != "" {
				p.meter.Count(it.counter, 1)
			}
		}
		p.loop.series.DoneTogether(processed)
	}
	p.rest()
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, it := range items {
		it.done = true
	}
}

// memory is what outputs are made of. When a batch is over, the client has done with it, and the next one uses it again.
type memory struct {
	records pieces[kgo.Record]
	headers pieces[kgo.RecordHeader]
	bytes   pieces[byte]
}

func newMemory() memory {
	return memory{pieces[kgo.Record]{size: 128}, pieces[kgo.RecordHeader]{size: 512}, pieces[byte]{size: 32 << 10}}
}

// again makes all of it free.
func (m *memory) again() {
	m.records.again()
	m.headers.again()
	m.bytes.again()
}

// pieces are memory that is cut off large pieces. As much is kept as a batch of ordinary events takes.
type pieces[T any] struct {
	size int // of each
	all  [][]T
	used int // of all
	left []T // of the latest
}

const piecesKept = 256

// room is empty, with room for n; what it has become is given to taken.
func (p *pieces[T]) room(n int) []T {
	if len(p.left) <= n { // nor nil, if n is 0
		if n >= p.size {
			return make([]T, 0, n)
		}
		if p.used == len(p.all) {
			p.all = append(p.all, make([]T, p.size))
		}
		p.left = p.all[p.used]
		p.used++
	}
	return p.left[:0:n]
}

func (p *pieces[T]) taken(out []T) []T {
	if len(out) > 0 && len(p.left) > 0 && &out[0] == &p.left[0] { // otherwise it has memory of its own
		p.left = p.left[len(out):]
	}
	return slices.Clip(out)
}

func (p *pieces[T]) again() {
	kept := min(len(p.all), piecesKept)
	clear(p.all[kept:])
	p.all, p.used, p.left = p.all[:kept], 0, nil
}

func (m *memory) record() *kgo.Record {
	return &m.records.taken(append(m.records.room(1), kgo.Record{}))[0]
}

func (m *memory) text(s string) []byte { return m.bytes.taken(append(m.bytes.room(len(s)), s...)) }

// encode is what e.Encode returns, which will probably be no longer than that.
func (m *memory) encode(e *Event, n int) []byte { return m.bytes.taken(e.appendTo(m.bytes.room(n))) }

func (m *memory) origin(r *kgo.Record) []byte {
	out := append(append(m.bytes.room(len(r.Topic)+40), r.Topic...), '/')
	out = append(strconv.AppendInt(out, int64(r.Partition), 10), '/')
	return m.bytes.taken(strconv.AppendInt(out, r.Offset, 10))
}

// table is what a compacted topic says by now: the segment of each customer.
type table struct {
	mu   sync.RWMutex
	rows map[string]string
}

func (t *table) segment(customer string) (string, bool) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	segment, ok := t.rows[customer]
	return segment, ok
}

func (t *table) apply(fetches kgo.Fetches) {
	t.mu.Lock()
	defer t.mu.Unlock()
	fetches.EachRecord(func(r *kgo.Record) {
		switch {
		case r.Attrs.IsControl():
		case r.Value == nil:
			delete(t.rows, key(r.Key))
		default:
			t.rows[key(r.Key)] = tidy(string(r.Value))
		}
	})
}

// follow reads the table for as long as ctx lasts and closes loaded when it has reached what was the end at the start.
func (t *table) follow(ctx context.Context, client *kgo.Client, topic string, retry time.Duration, loaded chan<- struct{}) {
	left, err := ends(ctx, client, topic)
	for ; err != nil; left, err = ends(ctx, client, topic) {
		slog.Warn("the end of the reference table is not known", "topic", topic, "error", err)
		if !sleep(ctx, retry) {
			return
		}
	}
	open := true
	for ctx.Err() == nil {
		if open && len(left) == 0 {
			close(loaded)
			open = false
		}
		fetches := client.PollFetches(ctx)
		fetches.EachError(func(topic string, number int32, err error) {
			if ctx.Err() == nil {
				slog.Warn("fetching failed", "topic", topic, "partition", number, "error", err)
			}
		})
		t.apply(fetches)
		fetches.EachRecord(func(r *kgo.Record) {
			// The last offset may be the end of a transaction, or of a record that compaction has taken since.
			if end, ok := left[r.Partition]; ok && r.Offset+1 >= end {
				delete(left, r.Partition)
			}
		})
	}
}

// ends are the ends of those partitions that hold anything.
func ends(ctx context.Context, client *kgo.Client, topic string) (map[int32]int64, error) {
	admin := kadm.NewClient(client)
	starts, err := admin.ListStartOffsets(ctx, topic)
	if err == nil {
		err = starts.Error()
	}
	if err != nil {
		return nil, err
	}
	stable, err := admin.ListCommittedOffsets(ctx, topic)
	if err == nil {
		err = stable.Error()
	}
	left := map[int32]int64{}
	stable.Each(func(o kadm.ListedOffset) {
		if start, ok := starts.Lookup(topic, o.Partition); ok && o.Offset > start.Offset {
			left[o.Partition] = o.Offset
		}
	})
	return left, err
}

// sleep is false if ctx ended first.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// errUnknown is an answer: the service does not know the customer.
var errUnknown = errors.New("unknown customer")

// maxAnswers keeps the memory of answers bounded; it is far above what lives within a TTL.
const maxAnswers = 100_000

// service asks for the risk of customers.
type service struct {
	client  *http.Client
	url     string
	timeout time.Duration
	ttl     time.Duration
	places  chan struct{}

	mu    sync.Mutex
	known map[string]answer
}

type answer struct {
	risk string
	err  error // errUnknown, or nil
	till time.Time
}

// remembered is an answer that is still good.
func (s *service) remembered(customer string) (answer, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a, ok := s.known[customer]
	return a, ok && time.Now().Before(a.till)
}

func (s *service) remember(customer, risk string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	looked := 0
	for c, a := range s.known { // at a few, in the order of chance: looking at all of them would take too long
		if looked++; len(s.known) < maxAnswers || looked > 10 {
			break
		}
		if !now.Before(a.till) || looked == 10 {
			delete(s.known, c)
		}
	}
	s.known[strings.Clone(customer)] = answer{risk, err, now.Add(s.ttl)}
}

// ask makes one request. Only an answer is remembered (that nobody knows the customer is one), never an error: the next
// one may be better.
func (s *service) ask(ctx context.Context, customer string) (string, error) {
	select {
	case s.places <- struct{}{}:
		defer func() { <-s.places }()
	case <-ctx.Done():
		return "", ctx.Err()
	}
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(s.url, "/")+"/customers/"+url.PathEscape(customer), nil)
	if err != nil {
		return "", err
	}
	resp, err := s.client.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 4096))
	switch {
	case err != nil:
		return "", err
	case resp.StatusCode == http.StatusNotFound:
		s.remember(customer, "", errUnknown)
		return "", errUnknown
	case resp.StatusCode != http.StatusOK:
		return "", fmt.Errorf("the service answers %d", resp.StatusCode)
	}
	risk := tidy(strings.ToValidUTF8(string(body), "\uFFFD"))
	s.remember(customer, risk, nil)
	return risk, nil
}

// question is one customer's risk, for all records of a batch that want it.
type question struct {
	risk string
	err  error
	done chan struct{}
}

// inquire finds the risk out, however often it takes.
func (p *Pipeline) inquire(ctx context.Context, q *question, customer string, asker *item) {
	defer close(q.done)
	for {
		q.risk, q.err = p.service.ask(ctx, customer)
		if q.err == nil || q.err == errUnknown {
			p.meter.Check("service", readiness, nil)
			return
		}
		if ctx.Err() != nil {
			return
		}
		p.meter.Failed(asker.record, q.err)
		p.meter.Check("service", readiness, q.err)
		p.meter.Waiting(asker.record, time.Now().Add(p.cfg.RetryAfter))
		if !sleep(ctx, p.cfg.RetryAfter) {
			return
		}
		p.meter.Retried(asker.record)
	}
}
