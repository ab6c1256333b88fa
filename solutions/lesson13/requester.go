package lesson13

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/kafka-katas/kafka-katas/ops"
	"github.com/kafka-katas/kafka-katas/ops/meter"
)

// What a request can come to, beside a reply and a *RemoteError. Each says something else about the work: after
// ErrTooMany and ErrNotSent nobody has seen the request; after ErrTimeout and ErrClosed it may have been done.
var (
	// ErrTimeout: there was no reply by the deadline. If it was the deadline of the caller's context, the error is
	// context.DeadlineExceeded as well.
	ErrTimeout = errors.New("no reply in time")
	// ErrNotSent: the request could not be produced. The error wraps the client's as well.
	ErrNotSent = errors.New("the request could not be sent")
	// ErrTooMany: MaxInFlight requests wait for their replies already, and WhenFull is FullFails.
	ErrTooMany = errors.New("too many requests in flight")
	// ErrClosed: the requester was closed, or its Run has ended, before there was a reply.
	ErrClosed = errors.New("the requester is closed")
	// ErrDecode: there was a reply, and it is not what was expected.
	ErrDecode = errors.New("the reply cannot be decoded")
	// ErrTooSlow: more than StreamBuffer parts of a stream waited for their reader.
	ErrTooSlow = errors.New("the stream's reader is too slow")
)

// Request is a question.
type Request struct {
	Key, Value []byte
	Headers    []kgo.RecordHeader // further ones; those that a requester sets itself it may not contain
	Timeout    time.Duration      // how long to wait for the reply; 0 is RequesterConfig.Timeout
}

// Reply is an answer, or one part of it.
type Reply struct {
	Value     []byte
	Headers   []kgo.RecordHeader
	Responder string // who replied
	Err       error  // a *RemoteError if the reply is an error; only Gather returns such replies
}

// Requester sends requests and hands each reply to whoever waits for it. Its methods are safe for concurrent use.
type Requester struct {
	cfg     RequesterConfig
	opts    []kgo.Opt
	prefix  string              // of this life's correlation ids: no other instance and no earlier life has it
	last    atomic.Uint64       // number of the last one
	replyTo [2]kgo.RecordHeader // where replies are awaited
	slots   chan struct{}       // one for each request in flight
	ready   chan struct{}       // closed when positioned: from then on no reply can be missed
	closed  chan struct{}       // closed when nobody gets a reply any more
	ended   chan struct{}       // closed when Run has returned
	client  *kgo.Client         // once ready
	alarms  sync.Pool           // of *alarm

	mu       sync.Mutex         // held for work in memory alone
	waiting  map[string]*waiter // by correlation id
	running  bool
	stopping bool
	stop     context.CancelFunc
	meter    *meter.Meter
	took     latencies
}

// NewRequester makes a requester. It returns what Validate says of cfg, and an error for options that the client
// refuses. It does not wait for the network; Run makes the client. opts are the client's own (brokers, dialer, TLS …).
func NewRequester(cfg RequesterConfig, opts ...kgo.Opt) (*Requester, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	q := &Requester{
		cfg: cfg, prefix: newPrefix(), slots: make(chan struct{}, cfg.MaxInFlight),
		replyTo: [2]kgo.RecordHeader{
			{Key: HeaderReplyTo, Value: []byte(cfg.ReplyTopic)},
			{Key: HeaderReplyPartition, Value: strconv.AppendInt(nil, int64(cfg.ReplyPartition), 10)},
		},
		ready: make(chan struct{}), closed: make(chan struct{}), ended: make(chan struct{}), waiting: map[string]*waiter{},
	}
	q.alarms.New = newAlarm
	q.meter = meter.New(meter.Config{})
	q.meter.Check("replies", ops.Readiness, errors.New("Run has not begun to listen yet"))
	// ProducerLinger(0): a request that waits for company is latency. MetadataMinAge: a leader that moved is found in a
	// quarter of a second instead of five.
	q.opts = append(append(append([]kgo.Opt{}, opts...), q.meter.Opts()...), kgo.ProducerLinger(0), kgo.MetadataMinAge(250*time.Millisecond))
	if err := kgo.ValidateOpts(q.opts...); err != nil {
		return nil, err
	}
	return q, nil
}

// newPrefix is random: a counter that begins at 1 in each life would take the last life's replies for its own.
func newPrefix() string {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:]) + "-"
}

// Run listens to the reply partition until ctx ends or Close is called, and returns nil. It begins at the partition's
// end: replies that are there already answer nobody who is here now. Requests wait until that place is known, within
// their timeouts. While Kafka is away, or the reply partition does not exist, Run tries again and Health says why.
// It belongs to no consumer group: every instance hears everything on its partition. Run may be called once.
func (q *Requester) Run(ctx context.Context) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	q.mu.Lock()
	if q.running || q.stopping {
		closed := q.stopping
		q.mu.Unlock()
		if closed {
			return nil
		}
		return errors.New("lesson13: Requester.Run was called twice")
	}
	q.running, q.stop = true, stop
	q.mu.Unlock()
	defer close(q.ended)

	client, err := kgo.NewClient(q.opts...)
	if err != nil {
		q.shut()
		return err
	}
	defer client.Close()
	defer q.shut() // before the client fails what it has not sent: whoever waits is told what has happened
	q.meter.Started()
	defer q.meter.Stopped(nil)
	if !q.position(ctx, client) {
		return nil
	}
	q.client = client
	close(q.ready)
	series := q.meter.Series()
	for ctx.Err() == nil {
		fetches := client.PollFetches(ctx)
		q.meter.Polled(fetches)
		fetches.EachPartition(func(p kgo.FetchTopicPartition) { q.hear(series, p.Records) })
		if fetches.NumRecords() == 0 && fetches.Err() != nil {
			pause(ctx, 100*time.Millisecond) // an error that stands comes back at once
		}
	}
	return nil
}

// position fixes where listening begins, before anything is sent. "At the end" as the client has it is resolved by the
// first fetch, and a reply may be faster than that.
func (q *Requester) position(ctx context.Context, client *kgo.Client) bool {
	admin := kadm.NewClient(client)
	for {
		limited, done := context.WithTimeout(ctx, 10*time.Second)
		ends, err := admin.ListEndOffsets(limited, q.cfg.ReplyTopic)
		done()
		end, found := ends.Lookup(q.cfg.ReplyTopic, q.cfg.ReplyPartition)
		switch {
		case err == nil && found && end.Err == nil:
			client.AddConsumePartitions(map[string]map[int32]kgo.Offset{
				q.cfg.ReplyTopic: {q.cfg.ReplyPartition: kgo.NewOffset().At(end.Offset)},
			})
			q.meter.Check("replies", ops.Readiness, nil)
			return true
		case err == nil && found:
			err = end.Err
		case err == nil:
			err = errors.New("it does not exist")
		}
		q.meter.Check("replies", ops.Readiness, fmt.Errorf("the end of %s/%d is not known: %w", q.cfg.ReplyTopic, q.cfg.ReplyPartition, err))
		if !pause(ctx, 250*time.Millisecond) {
			return false
		}
	}
}

// Close ends Run and waits until it has returned. Whoever waits for a reply gets ErrClosed at once, as does every later
// request. It may be called more than once, and without Run.
func (q *Requester) Close() {
	q.mu.Lock()
	q.stopping = true
	running, stop := q.running, q.stop
	q.mu.Unlock()
	q.shut()
	if running {
		stop()
		<-q.ended
	}
}

// shut lets nobody wait any longer.
func (q *Requester) shut() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.stopping = true
	select {
	case <-q.closed:
	default:
		close(q.closed)
	}
	for id, w := range q.waiting {
		delete(q.waiting, id)
		w.end(ErrClosed)
	}
}

// Ask sends a request and waits for its reply: the first part of an answer that comes. Its timeout runs from the call and
// covers everything: listening that has not begun, a wait for one of MaxInFlight places, the request's way and the
// reply's.
//
// The error is a *RemoteError if that is what was replied, ErrTimeout at the deadline (the timeout's or that of ctx,
// whichever is earlier), context.Canceled when ctx is cancelled, or one of ErrNotSent, ErrTooMany, ErrClosed: each as
// soon as it is so. Whatever it comes to, nothing of the request is left behind: what comes later is dropped.
func (q *Requester) Ask(ctx context.Context, request Request) (Reply, error) {
	var reply Reply
	err := q.ask(ctx, request, &waiter{wants: 1}, func(r Reply) error {
		reply = r
		return r.Err
	})
	if err != nil {
		return Reply{}, err
	}
	return reply, nil
}

// AskJSON asks and decodes the reply's value as JSON into a T. A value that is none is an error that is ErrDecode.
func AskJSON[T any](ctx context.Context, q *Requester, request Request) (T, error) {
	var out T
	reply, err := q.Ask(ctx, request)
	if err != nil {
		return out, err
	}
	if err := json.Unmarshal(reply.Value, &out); err != nil {
		var none T
		return none, fmt.Errorf("%w: %w", ErrDecode, err)
	}
	return out, nil
}

// ask sends a request and hands what w takes to each, until w is complete or the time is over.
func (q *Requester) ask(ctx context.Context, request Request, w *waiter, each func(Reply) error) (err error) {
	began := time.Now()
	defer func() { q.count(began, err) }()
	timeout := request.Timeout
	if timeout <= 0 {
		timeout = q.cfg.Timeout
	}
	// No context of the request's own: that would be a quarter of what asking costs.
	w.alarm = q.alarms.Get().(*alarm)
	w.timer.Reset(timeout)
	defer q.putBack(w.alarm)
	if err := q.admit(ctx, w.timer.C); err != nil {
		return err
	}
	defer q.release()

	id := q.newID()
	// Register before sending: the reply may be faster than whatever comes after Produce.
	if !q.register(id, w) {
		return ErrClosed
	}
	defer q.forget(id)
	deadline := began.Add(timeout)
	if at, limited := ctx.Deadline(); limited && at.Before(deadline) {
		deadline = at
	}
	r := q.record(request, id)
	r.Headers = append(r.Headers, q.replyTo[0], q.replyTo[1], kgo.RecordHeader{Key: HeaderDeadline, Value: []byte(FormatDeadline(deadline))})
	// Not in the caller's context: the client fails a whole batch when the context of its first record ends, and the others
	// in it are other callers'. Nor may a full buffer make anybody wait beyond its deadline.
	q.client.TryProduce(context.WithoutCancel(ctx), r, func(_ *kgo.Record, err error) {
		if err != nil {
			q.fail(id, fmt.Errorf("%w: %w", ErrNotSent, err))
		}
	})
	for {
		var over error
		select {
		case <-w.wake: // also at the requester's end
		case <-w.timer.C:
			over = ErrTimeout
		case <-ctx.Done():
			over = gaveUp(ctx)
		}
		replies, complete, err := q.take(w) // what came in the same instant has come in time
		for _, reply := range replies {
			if err := each(reply); err != nil {
				return err
			}
		}
		switch {
		case err != nil:
			return err
		case complete:
			return nil
		case over != nil:
			return over
		}
	}
}

// gaveUp says why a caller's context has ended.
func gaveUp(ctx context.Context) error {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return fmt.Errorf("%w: %w", ErrTimeout, ctx.Err())
	}
	return ctx.Err()
}

// admit waits until requests can be sent and there is a place for one more, which release gives back.
func (q *Requester) admit(ctx context.Context, timeout <-chan time.Time) error {
	select {
	case <-q.closed:
		return ErrClosed
	default:
	}
	if ctx.Err() != nil {
		return gaveUp(ctx)
	}
	select {
	case q.slots <- struct{}{}:
	default:
		if q.cfg.WhenFull == FullFails {
			return ErrTooMany
		}
		select {
		case q.slots <- struct{}{}:
		case <-q.closed:
			return ErrClosed
		case <-timeout:
			return ErrTimeout
		case <-ctx.Done():
			return gaveUp(ctx)
		}
	}
	select {
	case <-q.ready: // looked at alone first: it costs no lock that all callers share
		return nil
	default:
	}
	var err error
	select {
	case <-q.ready:
		return nil
	case <-q.closed:
		err = ErrClosed
	case <-timeout:
		err = ErrTimeout
	case <-ctx.Done():
		err = gaveUp(ctx)
	}
	q.release()
	return err
}

func (q *Requester) release() { <-q.slots }

// newID is a correlation id that nobody has had, here or anywhere.
func (q *Requester) newID() string {
	var room [40]byte
	return string(strconv.AppendUint(append(room[:0], q.prefix...), q.last.Add(1), 10))
}

// record is the request as it is sent, without where to reply to.
func (q *Requester) record(request Request, id string) *kgo.Record {
	headers := make([]kgo.RecordHeader, 0, len(request.Headers)+4)
	headers = append(headers, request.Headers...)
	return &kgo.Record{
		Topic: q.cfg.Topic, Key: request.Key, Value: request.Value,
		Headers: append(headers, kgo.RecordHeader{Key: HeaderCorrelationID, Value: []byte(id)}),
	}
}

// waiter is one caller's place. What it takes is under the requester's mutex; it never makes the dispatcher wait.
type waiter struct {
	*alarm
	replies []Reply  // taken and not yet handed out
	first   [1]Reply // room for what is most often all of them
	done    bool     // takes no more
	err     error    // why not

	wants  int             // Ask and Gather: how many replies complete it
	taken  int             // how many there were
	from   map[string]bool // Gather: who has replied
	stream bool            // Stream: parts in order, until the end
	limit  int             // Stream: how many may wait
}

// alarm is what a caller waits with. The next one uses it again: making it is dear. It may ring once more for the last
// one, so whoever it wakes looks whether there is anything.
type alarm struct {
	wake  chan struct{} // has room for one
	timer *time.Timer
}

func newAlarm() any {
	a := &alarm{wake: make(chan struct{}, 1), timer: time.NewTimer(time.Hour)}
	a.timer.Stop()
	return a
}

func (q *Requester) putBack(a *alarm) {
	a.timer.Stop()
	q.alarms.Put(a)
}

func (w *waiter) nudge() {
	select {
	case w.wake <- struct{}{}:
	default: // one is enough
	}
}

// end ends a wait with an error.
func (w *waiter) end(err error) {
	w.done, w.err = true, err
	w.nudge()
}

func (q *Requester) register(id string, w *waiter) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.stopping {
		return false
	}
	q.waiting[id] = w
	return true
}

func (q *Requester) forget(id string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	delete(q.waiting, id)
}

// fail ends the wait of whoever still waits.
func (q *Requester) fail(id string, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if w := q.waiting[id]; w != nil {
		delete(q.waiting, id)
		w.end(err)
	}
}

// take is what has come for w since the last call.
func (q *Requester) take(w *waiter) (replies []Reply, complete bool, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	replies, w.replies = w.replies, nil
	return replies, w.done, w.err
}

// hear hands replies of one partition to their callers, those for which somebody still waits.
func (q *Requester) hear(series *meter.Series, records []*kgo.Record) {
	heard := false // the series has begun
	for i, r := range records {
		nobody := q.deliver(r)
		if nobody == "" {
			if !heard {
				series.Begin(records[i:])
				heard = true
			}
			series.Done()
			continue
		}
		series.End()
		heard = false
		q.meter.Count(nobody, 1)
		q.meter.Ended(r, meter.Filtered)
	}
	series.End()
}

// deliver hands a reply to its caller. If there is none it returns what the reply is to be counted as.
func (q *Requester) deliver(r *kgo.Record) (nobody string) {
	id := correlation(r)
	if len(id) < len(q.prefix) || string(id[:len(q.prefix)]) != q.prefix { // another instance's, or an earlier life's
		return "foreign_replies"
	}
	reply := replyOf(r)
	q.mu.Lock()
	w := q.waiting[string(id)]
	wanted := w != nil && w.accept(r, reply)
	if wanted && w.done {
		delete(q.waiting, string(id)) // the first one wins: there is nobody left for a second
	}
	q.mu.Unlock()
	if !wanted {
		return "unawaited_replies"
	}
	w.nudge()
	return ""
}

// correlation is a reply's id. The text is not copied, as Header would.
func correlation(r *kgo.Record) []byte {
	for _, h := range r.Headers {
		if h.Key == HeaderCorrelationID {
			return h.Value
		}
	}
	return nil
}

func replyOf(r *kgo.Record) Reply {
	reply := Reply{Value: r.Value, Headers: r.Headers}
	reply.Responder, _ = Header(r, HeaderResponder)
	if code, failed := Header(r, HeaderError); failed {
		message, _ := Header(r, HeaderErrorMessage)
		reply.Err = &RemoteError{Code: code, Message: message}
	}
	return reply
}

// accept takes a reply in, if it is one that w still wants.
func (w *waiter) accept(r *kgo.Record, reply Reply) bool {
	if w.from != nil {
		if w.from[reply.Responder] {
			return false
		}
		w.from[reply.Responder] = true
	}
	if w.stream {
		return w.acceptPart(r, reply)
	}
	if w.taken == 0 {
		w.replies = w.first[:0]
	}
	w.replies = append(w.replies, reply)
	w.taken++
	w.done = w.taken >= w.wants
	return true
}

// Waiting is how many requests wait for a reply now.
func (q *Requester) Waiting() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.waiting)
}

// ends are what a request can come to.
var ends = []string{"replied", "remote_errors", "timeouts", "cancelled", "not_sent", "rejected", "closed", "failed"}

// count counts a request that has come to its end.
func (q *Requester) count(began time.Time, err error) {
	column := "failed"
	_, refused := errors.AsType[*RemoteError](err)
	switch {
	case err == nil:
		column = "replied"
	case refused:
		column = "remote_errors"
	case errors.Is(err, ErrTimeout):
		column = "timeouts"
	case errors.Is(err, context.Canceled):
		column = "cancelled"
	case errors.Is(err, ErrNotSent):
		column = "not_sent"
	case errors.Is(err, ErrTooMany):
		column = "rejected"
	case errors.Is(err, ErrClosed):
		column = "closed"
	}
	if err == nil || refused {
		q.took.add(time.Since(began))
	}
	q.meter.Count(column, 1)
}

// Stats returns a snapshot, from memory. Its records are replies: Processed reached a caller, Filtered reached nobody.
// Latency is that of requests that were replied to, from the call to its return; a remote error is a reply. Extra has
//
//	requests            calls of Ask, Gather, Stream and Submit that have ended; the next eight add up to it
//	replied             with a reply (Gather: with all; Submit: sent)
//	remote_errors       with a *RemoteError
//	timeouts            with ErrTimeout, or a gathering that is not complete
//	cancelled           because the caller's context was cancelled
//	not_sent, rejected  with ErrNotSent, with ErrTooMany
//	closed              with ErrClosed
//	failed              with anything else, such as ErrTooSlow or the error of a stream's reader
//	unawaited_replies   replies to this requester that nobody waited for: too late, or once more
//	foreign_replies     replies to others, or to an earlier life of this one
//	waiting             requests that wait for their reply now
func (q *Requester) Stats() ops.Stats {
	s := q.meter.Stats()
	s.Latency = q.took.snapshot()
	if s.Extra == nil {
		s.Extra = map[string]int64{}
	}
	for _, end := range ends {
		s.Extra["requests"] += s.Extra[end]
	}
	s.Extra["waiting"] = int64(q.Waiting())
	return s
}

// ResetStats starts a new period, as [ops.Controls] describes.
func (q *Requester) ResetStats() {
	q.meter.ResetStats()
	q.took.reset()
}

// Health says whether the process should live and whether it may be relied on, from memory: the checks of ops/meter for a
// service without a group, and
//
//	"replies"  readiness: the place to listen from is known, so that requests can be sent
func (q *Requester) Health() ops.Health { return q.meter.Health() }

// pause waits; false means that ctx ended first.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// Gathered is what several services replied to one request.
type Gathered struct {
	Replies []Reply // in the order in which they came; one that is an error has Err
	Missing int     // how many did not come in time: 0 is complete
}

// Gather sends one request and waits for the replies of n different responders. A second reply of the same responder
// does not count. At the deadline it returns what there is, with Missing above 0 and no error, also if there is nothing:
// what to do with a part is for the caller to say. Other errors are those of Ask, with what came before.
func (q *Requester) Gather(ctx context.Context, request Request, n int) (Gathered, error) {
	if n < 1 {
		return Gathered{}, fmt.Errorf("lesson13: Gather of %d replies: must be at least 1", n)
	}
	var g Gathered
	err := q.ask(ctx, request, &waiter{wants: n, from: map[string]bool{}}, func(r Reply) error {
		g.Replies = append(g.Replies, r)
		return nil
	})
	g.Missing = n - len(g.Replies)
	if errors.Is(err, ErrTimeout) {
		err = nil
	}
	return g, err
}

// Stream sends a request and calls each with the parts of its answer, in order, none twice and none left out, until the
// last one. Its timeout is for the whole stream. The error is that of Ask, what each returned, or ErrTooSlow: each is
// called by the goroutine that called Stream, and while it works parts wait, at most StreamBuffer of them.
func (q *Requester) Stream(ctx context.Context, request Request, each func(Reply) error) error {
	return q.ask(ctx, request, &waiter{stream: true, limit: q.cfg.StreamBuffer}, func(r Reply) error {
		if r.Err != nil {
			return r.Err
		}
		return each(r)
	})
}

// acceptPart takes the next part of a stream. One that was there already (a responder that crashed in the middle sends
// all of them again) is dropped, and so is one with a gap in front of it: whoever sends again sends that one too.
func (w *waiter) acceptPart(r *kgo.Record, reply Reply) bool {
	part, numbered := Header(r, HeaderPart)
	if n, err := strconv.Atoi(part); numbered && (err != nil || n != w.taken) {
		return false
	}
	if len(w.replies) >= w.limit {
		w.done, w.err = true, ErrTooSlow
		return true
	}
	w.replies = append(w.replies, reply)
	w.taken++
	_, last := Header(r, HeaderEnd)
	w.done = last || !numbered || reply.Err != nil
	return true
}

// Submit sends a request and returns its correlation id as soon as the request is durable. Nobody waits for the answer:
// it goes to CallbackTopic, if there is one, under that id, and is what Responder.Status tells of it. The request has a
// deadline only if request.Timeout is set. ctx bounds the sending; the errors are ErrNotSent, ErrTimeout (ctx's deadline:
// it is not known whether it was sent), context.Canceled and ErrClosed.
func (q *Requester) Submit(ctx context.Context, request Request) (id string, err error) {
	began := time.Now()
	defer func() { q.count(began, err) }()
	select {
	case <-q.ready:
	case <-q.closed:
		return "", ErrClosed
	case <-ctx.Done():
		return "", gaveUp(ctx)
	}
	id = q.newID()
	r := q.record(request, id)
	if q.cfg.CallbackTopic != "" {
		r.Headers = append(r.Headers, kgo.RecordHeader{Key: HeaderReplyTo, Value: []byte(q.cfg.CallbackTopic)})
	}
	if request.Timeout > 0 {
		r.Headers = append(r.Headers, kgo.RecordHeader{Key: HeaderDeadline, Value: []byte(FormatDeadline(began.Add(request.Timeout)))})
	}
	sent := make(chan error, 1)
	q.client.TryProduce(context.WithoutCancel(ctx), r, func(_ *kgo.Record, err error) { sent <- err })
	select {
	case err = <-sent:
		if err == nil {
			return id, nil
		}
		if errors.Is(err, kgo.ErrClientClosed) {
			return "", ErrClosed
		}
		return "", fmt.Errorf("%w: %w", ErrNotSent, err)
	case <-q.closed:
		return "", ErrClosed
	case <-ctx.Done():
		return "", gaveUp(ctx)
	}
}

// Poll asks lookup for the status of a submitted request, at once and then every interval, until it is StateDone, and
// returns the answer's parts or its *RemoteError. A lookup that fails is repeated at the next interval like one that is
// not done. When ctx ends, Poll returns ctx's error, joined with that of the last lookup if it failed.
func Poll(ctx context.Context, id string, every time.Duration, lookup func(ctx context.Context, id string) (Status, error)) ([][]byte, error) {
	if every <= 0 {
		return nil, fmt.Errorf("lesson13: Poll every %v: must be longer than 0s", every)
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		status, err := lookup(ctx, id)
		if err == nil && status.State == StateDone {
			if status.Answer.Err != nil {
				return nil, status.Answer.Err
			}
			return status.Answer.Parts, nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil, errors.Join(ctx.Err(), err)
		}
	}
}
