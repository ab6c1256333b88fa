package shapes

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/kafka-katas/kafka-katas/harness"
)

// Header names of a record that waits for its retry, and of a dead letter.
const (
	headerAttempts = "x-attempts"
	headerDue      = "x-due"
	headerOrigin   = "x-origin"
)

// tier is one retry topic and how long its records wait.
type tier struct {
	topic string
	delay time.Duration
}

// retrier handles payments; one that fails waits in a tier's topic, and dies after the last.
type retrier struct {
	client  *kgo.Client
	main    string
	tiers   []tier
	dead    string
	handle  func(context.Context, *kgo.Record) error
	queues  map[harness.TopicPartition][]*kgo.Record
	mistake string
	memory  map[string]int // attempts, for the mistake of keeping them here alone
}

func (r *retrier) Run(ctx context.Context) error {
	defer r.client.CloseAllowingRebalance()
	for {
		due, cancel := context.WithTimeout(ctx, r.untilDue())
		fetches := r.client.PollRecords(due, 100)
		cancel()
		if ctx.Err() != nil {
			return nil
		}
		fetches.EachRecord(func(rec *kgo.Record) {
			tp := harness.TopicPartition{Topic: rec.Topic, Partition: rec.Partition}
			r.queues[tp] = append(r.queues[tp], rec)
		})
		for tp := range r.queues {
			if err := r.work(ctx, tp); err != nil {
				return err
			}
		}
		r.client.AllowRebalance()
	}
}

// untilDue is how long nothing that is held here is due.
func (r *retrier) untilDue() time.Duration {
	wait := time.Hour
	for _, queue := range r.queues {
		if len(queue) > 0 {
			wait = min(wait, time.Until(dueOf(queue[0])))
		}
	}
	return max(wait, 0)
}

// work handles what is due of a partition, and pauses it alone while it waits.
func (r *retrier) work(ctx context.Context, tp harness.TopicPartition) error {
	at := map[string][]int32{tp.Topic: {tp.Partition}}
	for len(r.queues[tp]) > 0 {
		rec := r.queues[tp][0]
		if wait := time.Until(dueOf(rec)); wait > 0 {
			if r.mistake == "sleeps" {
				time.Sleep(wait)
				continue
			}
			r.client.PauseFetchPartitions(at)
			return nil
		}
		if err := r.handle(ctx, rec); err != nil {
			if ctx.Err() != nil {
				return nil // a shutdown is no failure of the payment
			}
			if err := r.pass(ctx, rec); err != nil {
				return nil //nolint:nilerr // not passed on, so not committed: delivered again
			}
		}
		// Pass on before committing: a crash in between repeats the payment, the other order loses it.
		if err := r.client.CommitRecords(ctx, rec); err != nil {
			return nil //nolint:nilerr // delivered again
		}
		r.queues[tp] = r.queues[tp][1:]
	}
	r.client.ResumeFetchPartitions(at)
	return nil
}

// pass hands a failed record on to its next tier, or to the dead letters.
func (r *retrier) pass(ctx context.Context, rec *kgo.Record) error {
	attempts := attemptsOf(rec) + 1
	if r.mistake == "memory" {
		r.memory[string(rec.Key)]++
		attempts = r.memory[string(rec.Key)]
	}
	next := &kgo.Record{Key: rec.Key, Value: rec.Value, Timestamp: rec.Timestamp, Headers: slices.Clone(rec.Headers)}
	if rec.Topic == r.main {
		set(next, headerOrigin, fmt.Sprintf("%d@%d", rec.Partition, rec.Offset))
	}
	set(next, headerAttempts, strconv.Itoa(attempts))
	if attempts > len(r.tiers) {
		next.Topic = r.dead
		next.Headers = slices.DeleteFunc(next.Headers, func(h kgo.RecordHeader) bool { return h.Key == headerDue })
	} else {
		t := r.tiers[attempts-1]
		next.Topic = t.topic
		set(next, headerDue, time.Now().Add(t.delay).Format(time.RFC3339Nano))
	}
	return r.client.ProduceSync(ctx, next).FirstErr()
}

func (r *retrier) dropped(_ context.Context, _ *kgo.Client, gone map[string][]int32) {
	for topic, partitions := range gone {
		for _, p := range partitions {
			delete(r.queues, harness.TopicPartition{Topic: topic, Partition: p})
		}
	}
}

func set(r *kgo.Record, name, value string) {
	r.Headers = slices.DeleteFunc(r.Headers, func(h kgo.RecordHeader) bool { return h.Key == name })
	r.Headers = append(r.Headers, kgo.RecordHeader{Key: name, Value: []byte(value)})
}

func header(r *kgo.Record, name string) string {
	for _, h := range r.Headers {
		if h.Key == name {
			return string(h.Value)
		}
	}
	return ""
}

func attemptsOf(r *kgo.Record) int {
	n, _ := strconv.Atoi(header(r, headerAttempts))
	return n
}

func dueOf(r *kgo.Record) time.Time {
	due, err := time.Parse(time.RFC3339Nano, header(r, headerDue))
	if err != nil {
		return time.Time{}
	}
	return due
}

var errRefused = errors.New("the provider refuses it")

// paymentShop is the cast of lesson 08: the topics, the group and the provider.
type paymentShop struct {
	w              *harness.World
	payments, dead *harness.Topic
	retries        []*harness.Topic
	desk           *harness.Group
	tiers          []tier
	mistake        string
}

func openPaymentShop(w *harness.World, mistake string, delays ...time.Duration) *paymentShop {
	s := &paymentShop{w: w, payments: w.Topic("payments", 1), dead: w.Topic("payments-dlt", 1), desk: w.Group("desk"), mistake: mistake}
	for i, d := range delays {
		t := w.Topic(fmt.Sprintf("payments-retry-%d", i+1), 1)
		s.retries, s.tiers = append(s.retries, t), append(s.tiers, tier{t.Name, d})
	}
	return s
}

func (s *paymentShop) topics() []*harness.Topic {
	return append([]*harness.Topic{s.payments}, s.retries...)
}

// start opens a desk whose provider refuses each payment as often as told.
func (s *paymentShop) start(name string, refusals map[string]int) *harness.Process {
	provider := func(_ context.Context, r *kgo.Record) error {
		if refusals[string(r.Key)]--; refusals[string(r.Key)] >= 0 {
			return errRefused
		}
		return nil
	}
	return s.w.Start(name, func(p *harness.Process) (harness.Runner, error) {
		r := &retrier{
			main: s.payments.Name, tiers: s.tiers, dead: s.dead.Name, handle: p.Handler(provider), mistake: s.mistake,
			queues: map[harness.TopicPartition][]*kgo.Record{}, memory: map[string]int{},
		}
		topics := []string{s.payments.Name}
		for _, t := range s.tiers {
			topics = append(topics, t.topic)
		}
		var err error
		r.client, err = kgo.NewClient(append(p.Options(), kgo.ConsumerGroup(s.desk.Name), kgo.ConsumeTopics(topics...),
			kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.DisableAutoCommit(), kgo.BlockRebalanceOnPoll(),
			kgo.SessionTimeout(6*time.Second), kgo.HeartbeatInterval(time.Second), kgo.ProducerLinger(0),
			kgo.RecordPartitioner(kgo.UniformBytesPartitioner(1, false, false, nil)),
			kgo.OnPartitionsRevoked(r.dropped), kgo.OnPartitionsLost(r.dropped))...)
		return r, err
	})
}

// payment is one as it comes in, with a header that is there twice.
func payment(id string) *kgo.Record {
	return &kgo.Record{Key: []byte(id), Value: []byte("pay " + id), Headers: []kgo.RecordHeader{
		{Key: "trace", Value: []byte("a")}, {Key: "trace", Value: []byte("b")},
	}}
}

// with is a record with one more header.
func with(r *kgo.Record, name, value string) *kgo.Record {
	r.Headers = append(r.Headers, kgo.RecordHeader{Key: name, Value: []byte(value)})
	return r
}
