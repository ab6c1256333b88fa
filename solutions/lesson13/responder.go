package lesson13

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/kafka-katas/kafka-katas/ops"
	"github.com/kafka-katas/kafka-katas/ops/meter"
)

// Handler does the work for one request and returns the answer: one part, or several for a stream; none is an empty
// reply. An error is replied too: a *RemoteError as it is, anything else (a panic as well) as CodeInternal, without a word of what it says. ctx
// ends at the request's deadline, and when a stop has lasted for DrainTimeout.
//
// Requests of one partition are handled in order, one at a time.
type Handler func(ctx context.Context, request *kgo.Record) (parts [][]byte, err error)

// Responder is one instance of a service that answers. Its methods are safe for concurrent use.
type Responder struct {
	cfg    ResponderConfig
	store  Store
	handle Handler
	opts   []kgo.Opt
	meter  *meter.Meter
	client *kgo.Client
	yield  atomic.Bool // a rebalance waits: finish the request in hand, and no more

	mu      sync.Mutex                       // held for work in memory alone
	queues  map[topicPartition][]*kgo.Record // polled and not done with
	working map[string]int                   // by correlation id
	paused  bool
	ran     bool
}

type topicPartition struct {
	topic     string
	partition int32
}

// maxPoll is how many requests one poll may bring; they are in memory until they are answered.
const maxPoll = 500

const year = 365 * 24 * time.Hour

// NewResponder makes a responder. A nil store is NewMemoryStore(cfg.StoredReplies). It returns what Validate says of cfg,
// and an error for a nil handler or options that the client refuses; it does not wait for the network.
func NewResponder(cfg ResponderConfig, store Store, handle Handler, opts ...kgo.Opt) (*Responder, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if handle == nil {
		return nil, errors.New("lesson13: the handler is nil")
	}
	if store == nil {
		store = NewMemoryStore(cfg.StoredReplies)
	}
	s := &Responder{
		cfg: cfg, store: store, handle: handle,
		meter:  meter.New(meter.Config{Group: cfg.Group, StallAfter: cfg.StallAfter, Rules: []meter.Rule{meter.DefaultRule("handler_failures")}}),
		queues: map[topicPartition][]*kgo.Record{}, working: map[string]int{},
	}
	s.opts = append(append(append([]kgo.Opt{}, opts...), s.meter.Opts()...),
		kgo.ConsumerGroup(cfg.Group),
		kgo.ConsumeTopics(cfg.Topics...),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.Balancers(kgo.CooperativeStickyBalancer()),
		// A partition's requests are answered or handed back before it is given up.
		kgo.BlockRebalanceOnPoll(),
		kgo.OnPartitionsCallbackBlocked(func(context.Context, *kgo.Client) { s.yield.Store(true) }),
		kgo.OnPartitionsAssigned(func(_ context.Context, _ *kgo.Client, m map[string][]int32) { s.meter.Assigned(m) }),
		kgo.OnPartitionsRevoked(s.revoked),
		kgo.OnPartitionsLost(s.lost),
		// Only what is marked is committed, and only what is answered is marked.
		kgo.AutoCommitMarks(),
		kgo.AutoCommitInterval(cfg.CommitInterval),
		kgo.AutoCommitCallback(s.meter.OnCommit),
		kgo.RecordPartitioner(kgo.BasicConsistentPartitioner(partitioner)),
		kgo.ProducerLinger(0),
		kgo.MetadataMinAge(250*time.Millisecond),
	)
	if err := kgo.ValidateOpts(s.opts...); err != nil {
		return nil, err
	}
	return s, nil
}

// Run joins the group and answers until ctx ends. Then it takes no more requests, lets those in work finish
// (DrainTimeout, after which they are cancelled and handed back: neither answered nor committed), commits, leaves the group and returns nil. A request is committed when
// its reply, or its dead letter, is durable. What may pass (a broker, a store or a dead-letter topic that is away) is
// waited for, and shown by Health. Run may be called once.
func (s *Responder) Run(ctx context.Context) (err error) {
	s.mu.Lock()
	ran := s.ran
	s.ran = true
	s.mu.Unlock()
	if ran {
		return errors.New("lesson13: Responder.Run was called twice")
	}
	client, err := kgo.NewClient(s.opts...)
	if err != nil {
		return err
	}
	s.mu.Lock()
	s.client = client
	paused := s.paused
	s.mu.Unlock()
	if paused {
		client.PauseFetchTopics(s.cfg.Topics...)
	}
	s.meter.Started()
	work, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	defer context.AfterFunc(ctx, func() {
		pause(work, s.cfg.DrainTimeout)
		cancel()
	})()

	expired, expire := context.WithCancel(context.Background())
	expire()
	for ctx.Err() == nil {
		poll := ctx
		if s.queued() {
			poll = expired // what is left of the last poll goes on, whether anything new has come or not
		}
		fetches := client.PollRecords(poll, maxPoll)
		s.meter.Polled(fetches)
		s.enqueue(fetches)
		if err := fetches.Err(); err != nil && ctx.Err() == nil && fetches.NumRecords() == 0 && poll == ctx {
			pause(ctx, 100*time.Millisecond) // an error that stands comes back at once
		}
		s.round(ctx, work)
		client.AllowRebalance()
		s.yield.Store(false)
	}
	final, done := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer done()
	if err := client.CommitMarkedOffsets(final); err != nil {
		slog.Warn("the last commit failed; what it was about will be answered once more", "group", s.cfg.Group, "error", err)
	}
	_ = client.LeaveGroupContext(final) // the session ends by itself
	client.CloseAllowingRebalance()
	s.meter.Stopped(nil)
	return nil
}

func (s *Responder) queued() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.queues) > 0
}

func (s *Responder) enqueue(fetches kgo.Fetches) {
	s.mu.Lock()
	defer s.mu.Unlock()
	fetches.EachPartition(func(p kgo.FetchTopicPartition) {
		if len(p.Records) > 0 {
			tp := topicPartition{p.Topic, p.Partition}
			s.queues[tp] = append(s.queues[tp], p.Records...)
		}
	})
}

// round works on all queues at once, each in order, and ends with the slowest.
func (s *Responder) round(ctx, work context.Context) {
	s.mu.Lock()
	all := make(map[topicPartition][]*kgo.Record, len(s.queues))
	for tp, queue := range s.queues {
		all[tp] = queue
	}
	s.mu.Unlock()
	var wg sync.WaitGroup
	for tp, queue := range all {
		wg.Go(func() {
			n := s.answerAll(ctx, work, queue)
			s.mu.Lock()
			defer s.mu.Unlock()
			if s.queues[tp] = queue[n:]; n == len(queue) {
				delete(s.queues, tp)
			}
		})
	}
	wg.Wait()
}

// answerAll answers requests of one partition in order until a rebalance or a stop wants it back, and returns how many
// are done with. Replies are sent without waiting for each.
func (s *Responder) answerAll(ctx, work context.Context, queue []*kgo.Record) (done int) {
	sent, settled := make(chan *reply, len(queue)), make(chan int)
	go func() { settled <- s.settle(ctx, work, sent) }()
	for _, r := range queue {
		if ctx.Err() != nil || s.yield.Load() {
			break
		}
		one, ok := s.answer(ctx, work, r)
		if !ok {
			break
		}
		sent <- one
	}
	close(sent)
	return <-settled
}

// settle marks each request when everything up to it is durable, while the next one is in work: that may take long, and
// a crash repeats what is not committed.
func (s *Responder) settle(ctx, work context.Context, sent <-chan *reply) (done int) {
	for one := range sent {
		if !s.durable(ctx, work, one) {
			break
		}
		s.client.MarkCommitRecords(one.request)
		s.meter.Ended(one.request, one.outcome)
		done++
	}
	return done
}

// answer begins what a request comes to: nothing if nobody waits any more, a dead letter if it cannot be answered where it
// asks for it, or the reply. false means that it was handed back unfinished.
func (s *Responder) answer(ctx, work context.Context, r *kgo.Record) (*reply, bool) {
	one := &reply{request: r, outcome: meter.Processed}
	id, to, deadline, reason := s.understand(r)
	switch {
	case reason != "":
		one.dead = reason
		return one, true
	case !deadline.IsZero() && !time.Now().Before(deadline):
		// Whoever asked has given up; the work would be for nobody.
		s.meter.Count("expired", 1)
		one.outcome = meter.Filtered
		return one, true
	}
	s.begin(id)
	defer s.end(id)

	answer, found := Answer{}, false
	if !s.insist(ctx, "store", func() (err error) {
		answer, found, err = s.store.Load(work, id)
		return err
	}) {
		return nil, false
	}
	if found {
		s.meter.Count("stored_replies", 1)
	} else {
		var ok bool
		if answer, ok = s.work(work, deadline, r); !ok {
			return nil, false
		}
		// The answer is kept before it is sent: a crash in between finds it here, and the work is not done again.
		if !s.insist(ctx, "store", func() error { return s.store.Save(work, id, answer) }) {
			return nil, false
		}
	}
	if to.topic != "" {
		one.records = s.records(id, to, answer)
		s.send(work, one)
	}
	return one, true
}

// understand reads a request's headers; reason says why it cannot be answered.
func (s *Responder) understand(r *kgo.Record) (id string, to topicPartition, deadline time.Time, reason string) {
	id, _ = Header(r, HeaderCorrelationID)
	if id == "" {
		return id, to, deadline, HeaderCorrelationID + ": there is none, so nobody could tell whose reply it is"
	}
	to.topic, _ = Header(r, HeaderReplyTo)
	to.partition = -1
	if to.topic != "" && !slices.Contains(s.cfg.ReplyTopics, to.topic) {
		return id, to, deadline, fmt.Sprintf("%s: %s is not in reply_topics", HeaderReplyTo, to.topic)
	}
	if text, ok := Header(r, HeaderReplyPartition); ok {
		n, err := strconv.ParseInt(text, 10, 32)
		if err != nil || n < 0 {
			return id, to, deadline, fmt.Sprintf("%s: %q is no partition", HeaderReplyPartition, text)
		}
		to.partition = int32(n)
	}
	if text, ok := Header(r, HeaderDeadline); ok {
		at, err := ParseDeadline(text)
		if err != nil {
			return id, to, deadline, fmt.Sprintf("%s: %v", HeaderDeadline, err)
		}
		deadline = at
	}
	return id, to, deadline, ""
}

// work calls the handler. false means that it was cancelled by a stop: nothing is known of it then.
func (s *Responder) work(work context.Context, deadline time.Time, r *kgo.Record) (Answer, bool) {
	ctx := work
	if !deadline.IsZero() {
		limited, cancel := context.WithDeadline(work, deadline)
		defer cancel()
		ctx = limited
	}
	s.meter.Began(r)
	parts, err := s.call(ctx, r)
	defer s.meter.Waiting(r, time.Now().Add(year)) // then it waits for Kafka or the store, which is no handler's fault
	if err == nil {
		return Answer{Parts: parts}, true
	}
	if work.Err() != nil {
		return Answer{}, false
	}
	s.meter.Failed(r, err)
	var remote *RemoteError
	if errors.As(err, &remote) && remote.Code != "" {
		return Answer{Err: remote}, true
	}
	return Answer{Err: &RemoteError{Code: CodeInternal, Message: "the request could not be answered"}}, true
}

func (s *Responder) call(ctx context.Context, r *kgo.Record) (parts [][]byte, err error) {
	defer func() {
		if v := recover(); v != nil {
			slog.Error("the handler panicked", "topic", r.Topic, "partition", r.Partition, "offset", r.Offset, "stack", string(debug.Stack()))
			parts, err = nil, &meter.PanicError{Value: v}
		}
	}()
	return s.handle(ctx, r)
}

// insist repeats what must not be passed over until it succeeds; false means that a stop or a rebalance came first.
func (s *Responder) insist(ctx context.Context, what string, do func() error) bool {
	for {
		err := do()
		s.meter.Check(what, ops.Readiness, err)
		if err == nil {
			return true
		}
		slog.Warn("cannot go on without it", "what", what, "error", err)
		if ctx.Err() != nil || s.yield.Load() || !pause(ctx, s.cfg.RetryAfter) {
			return false
		}
	}
}

// reply is what a request comes to, on its way.
type reply struct {
	request *kgo.Record
	outcome meter.Outcome
	dead    string // why it goes to the dead-letter topic
	records []*kgo.Record
	acks    chan ack // one for each record, and with room for all
}

type ack struct {
	part int
	err  error
}

// records are the parts of an answer. Their key is the correlation id: without a partition of the requester's they all go
// to the same one.
func (s *Responder) records(id string, to topicPartition, answer Answer) []*kgo.Record {
	parts := answer.Parts
	if answer.Err != nil || len(parts) == 0 {
		parts = [][]byte{nil}
	}
	out := make([]*kgo.Record, len(parts))
	for i, value := range parts {
		headers := []kgo.RecordHeader{{Key: HeaderCorrelationID, Value: []byte(id)}, {Key: HeaderResponder, Value: []byte(s.cfg.Name)}}
		if len(parts) > 1 {
			headers = append(headers, kgo.RecordHeader{Key: HeaderPart, Value: strconv.AppendInt(nil, int64(i), 10)})
			if i == len(parts)-1 {
				headers = append(headers, kgo.RecordHeader{Key: HeaderEnd, Value: []byte("true")})
			}
		}
		if answer.Err != nil {
			headers = append(headers, kgo.RecordHeader{Key: HeaderError, Value: []byte(answer.Err.Code)},
				kgo.RecordHeader{Key: HeaderErrorMessage, Value: []byte(answer.Err.Message)})
		}
		out[i] = &kgo.Record{Topic: to.topic, Partition: to.partition, Key: []byte(id), Value: value, Headers: headers}
	}
	return out
}

// send produces all parts, in order, and waits for none.
func (s *Responder) send(work context.Context, one *reply) {
	one.acks = make(chan ack, len(one.records))
	for i, r := range one.records {
		s.client.Produce(work, r, func(_ *kgo.Record, err error) { one.acks <- ack{i, err} })
	}
}

// durable waits until what a request comes to is stored by Kafka, and does again what failed and may succeed. false means
// that a stop came first: the request is not done with.
func (s *Responder) durable(ctx, work context.Context, one *reply) bool {
	for one.dead == "" {
		part, err := s.await(work, one)
		switch {
		case err == nil:
			return true
		case work.Err() != nil:
			return false
		case errors.Is(err, kerr.MessageTooLarge):
			s.tooLarge(one, part)
		case transient(err):
			s.meter.Check("replies", ops.Readiness, err)
			if !pause(ctx, s.cfg.RetryAfter) {
				return false
			}
		default:
			one.dead = fmt.Sprintf("%s: %s/%d: %v", HeaderReplyTo, one.records[0].Topic, one.records[0].Partition, err)
			continue
		}
		for _, r := range one.records { // a record belongs to the client until its promise; then it may be sent again
			r.Offset, r.Timestamp = 0, time.Time{}
		}
		s.send(work, one)
	}
	one.outcome = meter.Dead
	return s.insist(ctx, "dead_letter_topic", func() error {
		return s.client.ProduceSync(work, s.deadLetter(one)).FirstErr()
	})
}

// await returns the first failure, by part, when all parts have been acknowledged or refused.
func (s *Responder) await(work context.Context, one *reply) (part int, err error) {
	part = len(one.records)
	for range one.records {
		select {
		case a := <-one.acks:
			if a.err != nil && a.part < part {
				part, err = a.part, a.err
			}
		case <-work.Done():
			return 0, work.Err()
		}
	}
	if err == nil && len(one.records) > 0 {
		s.meter.Check("replies", ops.Readiness, nil)
	}
	return part, err
}

// tooLarge replaces the part that does not fit, and all behind it, by an error.
func (s *Responder) tooLarge(one *reply, part int) {
	r := one.records[part]
	r.Value = nil
	r.Headers = append(slices.DeleteFunc(r.Headers, func(h kgo.RecordHeader) bool {
		return h.Key == HeaderEnd || h.Key == HeaderErrorMessage || h.Key == HeaderError
	}),
		kgo.RecordHeader{Key: HeaderError, Value: []byte(CodeTooLarge)},
		kgo.RecordHeader{Key: HeaderErrorMessage, Value: []byte("the answer does not fit into a record")},
		kgo.RecordHeader{Key: HeaderEnd, Value: []byte("true")})
	one.records = []*kgo.Record{r}
}

// transient says whether a produce error may pass. The client has tried all that do for as long as it may.
func transient(err error) bool {
	switch {
	case errors.Is(err, kerr.UnknownTopicOrPartition), errors.Is(err, kerr.InvalidTopicException):
		return false
	case errors.Is(err, kgo.ErrRecordTimeout), errors.Is(err, kgo.ErrRecordRetries), errors.Is(err, kgo.ErrClientClosed), errors.Is(err, kgo.ErrAborting),
		errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return true
	}
	return kerr.IsRetriable(err)
}

func (s *Responder) deadLetter(one *reply) *kgo.Record {
	r := one.request
	return &kgo.Record{
		Topic: s.cfg.DeadLetterTopic, Partition: -1, Key: r.Key, Value: r.Value, Timestamp: r.Timestamp,
		Headers: append(slices.Clone(r.Headers),
			kgo.RecordHeader{Key: HeaderDeadReason, Value: []byte(one.dead)},
			kgo.RecordHeader{Key: HeaderDeadOrigin, Value: fmt.Appendf(nil, "%s/%d@%d", r.Topic, r.Partition, r.Offset)}),
	}
}

// partitioner obeys a partition that is set, and otherwise goes by key.
func partitioner(topic string) func(*kgo.Record, int) int {
	byKey := kgo.StickyKeyPartitioner(nil).ForTopic(topic)
	return func(r *kgo.Record, n int) int {
		if r.Partition >= 0 {
			return int(r.Partition)
		}
		return byKey.Partition(r, n)
	}
}

func (s *Responder) revoked(ctx context.Context, client *kgo.Client, gone map[string][]int32) {
	if err := client.CommitMarkedOffsets(ctx); err != nil {
		slog.Warn("the commit before giving partitions up failed", "group", s.cfg.Group, "error", err)
	}
	s.lost(ctx, client, gone)
}

func (s *Responder) lost(_ context.Context, _ *kgo.Client, gone map[string][]int32) {
	s.mu.Lock()
	for topic, partitions := range gone {
		for _, p := range partitions {
			delete(s.queues, topicPartition{topic, p})
		}
	}
	s.mu.Unlock()
	s.meter.Revoked(gone)
}

func (s *Responder) begin(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.working[id]++
}

func (s *Responder) end(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.working[id]--; s.working[id] == 0 {
		delete(s.working, id)
	}
}

// Stats returns a snapshot, from memory. Processed requests were answered, Filtered ones had expired, Dead ones are in the
// dead-letter topic; Failed counts handler errors, which are answers too. Extra has
//
//	expired         requests whose deadline had passed
//	stored_replies  requests that came again and got the stored answer
func (s *Responder) Stats() ops.Stats { return s.meter.Stats() }

// Health says whether the process should live and whether it may be relied on, from memory: the checks of ops/meter, and
// "store", "replies" and "dead_letter_topic", on readiness, while what they name keeps failing.
func (s *Responder) Health() ops.Health { return s.meter.Health() }

// ResetStats starts a new period, as [ops.Controls] describes.
func (s *Responder) ResetStats() { s.meter.ResetStats() }

// Pause stops fetching requests. Membership, and those in hand, go on.
func (s *Responder) Pause() { s.setPaused(true) }

// Resume ends a pause.
func (s *Responder) Resume() { s.setPaused(false) }

func (s *Responder) setPaused(paused bool) {
	s.mu.Lock()
	s.paused = paused
	client := s.client
	s.mu.Unlock()
	s.meter.SetPaused(paused)
	switch {
	case client == nil: // Run does it
	case paused:
		client.PauseFetchTopics(s.cfg.Topics...)
	default:
		client.ResumeFetchTopics(s.cfg.Topics...)
	}
}

// Answer is what a request came to, as it is stored: its parts, or an error.
type Answer struct {
	Parts [][]byte
	Err   *RemoteError
}

// Store keeps answers by correlation id, so that a request that comes again is answered again and not worked on again.
// To survive a crash it must be outside the process, best of all where the work has its effect, in one transaction with
// it. It is safe for concurrent use. An error is taken for one that passes.
type Store interface {
	Load(ctx context.Context, id string) (answer Answer, found bool, err error)
	Save(ctx context.Context, id string, answer Answer) error
}

// State is how far a submitted request is.
type State uint8

// The states.
const (
	StateUnknown State = iota // not begun, or forgotten by now
	StateWorking              // in work at this instance
	StateDone                 // answered
)

// Status is what is known of a request; Answer is set when it is StateDone.
type Status struct {
	State  State
	Answer Answer
}

// Status says how far a request is, by its correlation id: what a status page or a polling client is told. A finished one
// is known to every instance that shares the store; one in work to the instance that works on it.
func (s *Responder) Status(ctx context.Context, id string) (Status, error) {
	answer, found, err := s.store.Load(ctx, id)
	switch {
	case err != nil:
		return Status{}, err
	case found:
		return Status{StateDone, answer}, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.working[id] > 0 {
		return Status{State: StateWorking}, nil
	}
	return Status{}, nil
}

// MemoryStore is a Store for tests and for work that may be done twice: a restart forgets it. Its size is bounded; beyond
// it the oldest answers are forgotten.
type MemoryStore struct {
	mu      sync.Mutex
	answers map[string]Answer
	order   []string // a ring of ids, oldest at next when it is full
	next    int
	size    int
}

// NewMemoryStore makes a store of at most size answers; a size below 1 counts as 1.
func NewMemoryStore(size int) *MemoryStore {
	return &MemoryStore{answers: map[string]Answer{}, size: max(1, size)}
}

// Load returns the answer to a request.
func (m *MemoryStore) Load(_ context.Context, id string) (Answer, bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	a, found := m.answers[id]
	return a, found, nil
}

// Save keeps the answer to a request. A second answer to the same one replaces the first.
func (m *MemoryStore) Save(_ context.Context, id string, answer Answer) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, known := m.answers[id]; !known {
		if len(m.order) < m.size {
			m.order = append(m.order, id)
		} else {
			delete(m.answers, m.order[m.next])
			m.order[m.next] = id
			m.next = (m.next + 1) % m.size
		}
	}
	m.answers[id] = answer
	return nil
}
