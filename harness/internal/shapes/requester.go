package shapes

import (
	"context"
	"encoding/binary"
	"fmt"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// The mistakes that lesson 13's story must catch.
const (
	entryStays     = "an entry stays at the timeout"
	goroutineStays = "a goroutine stays at the timeout"
	repliesInTurn  = "replies are handed out in turn"
)

const (
	headerCorrelation = "correlation-id"
	headerReplyTo     = "reply-to"
)

// requester asks over one topic and hears over one partition of another. It is in no test file, so that the harness takes
// it for a learner's program.
type requester struct {
	client    *kgo.Client
	requests  string
	replies   string
	partition int32
	mistake   string
	ready     chan struct{} // closed when positioned: no reply can be missed from then on

	mu      sync.Mutex
	next    uint64
	waiting map[uint64]chan string
}

func newRequester(requests, replies string, partition int32, mistake string, opts ...kgo.Opt) (*requester, error) {
	client, err := kgo.NewClient(append(opts, kgo.ProducerLinger(0), kgo.MetadataMinAge(100*time.Millisecond))...)
	return &requester{
		client: client, requests: requests, replies: replies, partition: partition, mistake: mistake,
		ready: make(chan struct{}), waiting: map[uint64]chan string{},
	}, err
}

func (q *requester) Run(ctx context.Context) error {
	defer q.client.Close()
	for {
		ends, err := kadm.NewClient(q.client).ListEndOffsets(ctx, q.replies)
		if end, ok := ends.Lookup(q.replies, q.partition); ok && err == nil && end.Err == nil {
			q.client.AddConsumePartitions(map[string]map[int32]kgo.Offset{q.replies: {q.partition: kgo.NewOffset().At(end.Offset)}})
			break
		}
		if !waited(ctx, time.Second) {
			return nil
		}
	}
	close(q.ready)
	for ctx.Err() == nil {
		q.client.PollFetches(ctx).EachRecord(q.hear)
	}
	return nil
}

func (q *requester) hear(r *kgo.Record) {
	id := correlationOf(r)
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.mistake == repliesInTurn {
		for id = 1; q.waiting[id] == nil && id <= q.next; id++ {
		}
	}
	if reply, ok := q.waiting[id]; ok {
		delete(q.waiting, id)
		reply <- string(r.Value) // has room for one, and gets one
	}
}

// Ask waits for the reply until ctx ends.
func (q *requester) Ask(ctx context.Context, question string) (string, error) {
	select {
	case <-q.ready:
	case <-ctx.Done():
		return "", ctx.Err()
	}
	reply := make(chan string, 1)
	q.mu.Lock()
	q.next++
	id := q.next
	q.waiting[id] = reply // before sending: the reply may be faster
	q.mu.Unlock()
	if q.mistake != entryStays {
		defer q.forget(id)
	}
	q.client.Produce(ctx, &kgo.Record{Topic: q.requests, Value: []byte(question), Headers: []kgo.RecordHeader{
		{Key: headerCorrelation, Value: binary.BigEndian.AppendUint64(nil, id)},
		{Key: headerReplyTo, Value: fmt.Appendf(nil, "%s/%d", q.replies, q.partition)},
	}}, nil)
	if q.mistake == goroutineStays {
		in, out := reply, make(chan string)
		go func() { out <- <-in }()
		reply = out
	}
	select {
	case text := <-reply:
		return text, nil
	case <-ctx.Done():
		return "", ctx.Err()
	}
}

func (q *requester) forget(id uint64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	delete(q.waiting, id)
}

// Waiting is how many requests have no reply yet.
func (q *requester) Waiting() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.waiting)
}

func correlationOf(r *kgo.Record) (id uint64) {
	for _, h := range r.Headers {
		if h.Key == headerCorrelation && len(h.Value) == 8 {
			id = binary.BigEndian.Uint64(h.Value)
		}
	}
	return id
}

// waited is false if ctx ended first.
func waited(ctx context.Context, d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-ctx.Done():
		return false
	}
}
