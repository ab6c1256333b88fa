package lesson13_test

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	lesson13 "github.com/kafka-katas/kafka-katas/solutions/lesson13"
)

const (
	callers   = 64
	perRound  = 20_000
	leakAfter = 100_000
)

// BenchmarkAgainstRaw states the price of the promises: 64 callers who ask one question after the other, over the same
// in-process cluster and loopback TCP, in turn by a bare produce and consume (the same headers, all but one constant; a
// slice of channels, no timer, no filter) and by a Requester. The other side is the same for both: a bare loop that sends back what it gets. It reports
// medians; "of-raw" is the rate as a part of the bare one's.
//
//	go test -tags synctests -run - -bench AgainstRaw -benchtime 9x ./solutions/lesson13
func BenchmarkAgainstRaw(b *testing.B) {
	opts := cluster(b)
	defer echo(b, opts)()
	ask, stop := requester(b, opts)
	defer stop()
	askRaw, stopRaw := raw(b, opts)
	defer stopRaw()
	load(b, 1000, ask)
	load(b, 1000, askRaw)

	var bare, ours sample
	for b.Loop() {
		bare.add(load(b, perRound, askRaw))
		ours.add(load(b, perRound, ask))
	}
	b.ReportMetric(0, "ns/op")
	bare.report(b, "raw")
	ours.report(b, "requester")
	b.ReportMetric(ours.rate()/bare.rate(), "of-raw")
}

// BenchmarkResponder is a Requester and a Responder together, with a handler that does nothing.
func BenchmarkResponder(b *testing.B) {
	opts := cluster(b)
	cfg := lesson13.DefaultResponderConfig()
	s, err := lesson13.NewResponder(cfg, nil, func(_ context.Context, r *kgo.Record) ([][]byte, error) { return [][]byte{r.Value}, nil }, opts...)
	if err != nil {
		b.Fatal(err)
	}
	defer run(b, s.Run)()
	ask, stop := requester(b, opts)
	defer stop()
	load(b, 1000, ask)

	var ours sample
	for b.Loop() {
		ours.add(load(b, perRound, ask))
	}
	b.ReportMetric(0, "ns/op")
	ours.report(b, "both")
}

// After 100,000 requests nothing is left of them.
func BenchmarkNothingIsLeft(b *testing.B) {
	opts := cluster(b)
	defer echo(b, opts)()
	cfg := lesson13.DefaultRequesterConfig()
	q, err := lesson13.NewRequester(cfg, opts...)
	if err != nil {
		b.Fatal(err)
	}
	defer run(b, q.Run)()
	ask := func(ctx context.Context, i int) error {
		_, err := q.Ask(ctx, lesson13.Request{Value: strconv.AppendInt(nil, int64(i), 10)})
		return err
	}
	load(b, 1000, ask)
	before := runtime.NumGoroutine()
	for b.Loop() {
		load(b, leakAfter, ask)
		n, entries := runtime.NumGoroutine(), q.Waiting()
		for range 50 { // the client's own come and go
			if n <= before && entries == 0 {
				break
			}
			time.Sleep(100 * time.Millisecond)
			n, entries = runtime.NumGoroutine(), q.Waiting()
		}
		if n > before || entries > 0 {
			b.Fatalf("after %d requests there are %d goroutines, before there were %d, and %d entries", leakAfter, n, before, entries)
		}
	}
}

// cluster is one broker with the topics.
func cluster(b *testing.B) []kgo.Opt {
	b.Helper()
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "price-requests", "price-replies", "raw-replies", "price-requests-dlt"))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(c.Close)
	return []kgo.Opt{kgo.SeedBrokers(c.ListenAddrs()...), kgo.DisableClientMetrics(), kgo.ProducerBatchCompression(kgo.NoCompression()), kgo.ProducerLinger(0)}
}

// run runs a service until the function that it returns is called.
func run(b *testing.B, service func(context.Context) error) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := service(ctx); err != nil {
			b.Error(err)
		}
	}()
	return func() { cancel(); <-done }
}

// echo sends each request's value back where it asks for it.
func echo(b *testing.B, opts []kgo.Opt) (stop func()) {
	client, err := kgo.NewClient(append(slices.Clone(opts), kgo.ConsumeTopics("price-requests"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))...)
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			client.PollFetches(ctx).EachRecord(func(r *kgo.Record) {
				to, _ := lesson13.Header(r, lesson13.HeaderReplyTo)
				id, _ := lesson13.Header(r, lesson13.HeaderCorrelationID)
				client.Produce(ctx, &kgo.Record{Topic: to, Value: r.Value, Headers: []kgo.RecordHeader{{Key: lesson13.HeaderCorrelationID, Value: []byte(id)}}}, nil)
			})
		}
	}()
	return func() { cancel(); <-done; client.Close() }
}

// requester is a caller of a Requester.
func requester(b *testing.B, opts []kgo.Opt) (ask func(context.Context, int) error, stop func()) {
	q, err := lesson13.NewRequester(lesson13.DefaultRequesterConfig(), opts...)
	if err != nil {
		b.Fatal(err)
	}
	return func(ctx context.Context, i int) error {
		value := strconv.AppendInt(nil, int64(i), 10)
		reply, err := q.Ask(ctx, lesson13.Request{Value: value})
		if err == nil && string(reply.Value) != string(value) {
			err = fmt.Errorf("who asked %s was told %s", value, reply.Value)
		}
		return err
	}, run(b, q.Run)
}

// raw is a caller of a bare client: the value is the correlation.
func raw(b *testing.B, opts []kgo.Opt) (ask func(context.Context, int) error, stop func()) {
	// The topic is new: its start is its end, and nothing is missed, however soon it is asked.
	client, err := kgo.NewClient(append(slices.Clone(opts), kgo.ConsumeTopics("raw-replies"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))...)
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	waiting := make([]chan struct{}, leakAfter)
	for i := range waiting {
		waiting[i] = make(chan struct{}, 1)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			client.PollFetches(ctx).EachRecord(func(r *kgo.Record) {
				if i, err := strconv.Atoi(string(r.Value)); err == nil {
					waiting[i] <- struct{}{}
				}
			})
		}
	}()
	replyTo := kgo.RecordHeader{Key: lesson13.HeaderReplyTo, Value: []byte("raw-replies")}
	partition := kgo.RecordHeader{Key: lesson13.HeaderReplyPartition, Value: []byte("0")}
	deadline := kgo.RecordHeader{Key: lesson13.HeaderDeadline, Value: []byte(lesson13.FormatDeadline(time.Now()))}
	return func(ctx context.Context, i int) error {
		value := strconv.AppendInt(nil, int64(i), 10)
		client.Produce(ctx, &kgo.Record{Topic: "price-requests", Value: value, Headers: []kgo.RecordHeader{
			{Key: lesson13.HeaderCorrelationID, Value: value}, replyTo, partition, deadline,
		}}, nil)
		<-waiting[i]
		return nil
	}, func() { cancel(); <-done; client.Close() }
}

// load has the callers ask n questions, and returns how long each took, sorted, and all of them.
func load(b *testing.B, n int, ask func(context.Context, int) error) (each []time.Duration, all time.Duration) {
	runtime.GC()
	each = make([]time.Duration, n)
	var next atomic.Int64
	var wg sync.WaitGroup
	began := time.Now()
	for range callers {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				from := time.Now()
				if err := ask(context.Background(), i); err != nil {
					b.Error(err)
					return
				}
				each[i] = time.Since(from)
			}
		})
	}
	wg.Wait()
	all = time.Since(began)
	slices.Sort(each)
	return each, all
}

// sample is what rounds took.
type sample struct{ rates, p50, p99 []float64 }

func (s *sample) add(each []time.Duration, all time.Duration) {
	s.rates = append(s.rates, float64(len(each))/all.Seconds())
	s.p50 = append(s.p50, float64(each[len(each)/2].Microseconds()))
	s.p99 = append(s.p99, float64(each[len(each)*99/100].Microseconds()))
}

func (s *sample) rate() float64 { return median(s.rates) }

func (s *sample) report(b *testing.B, name string) {
	b.ReportMetric(median(s.rates), name+"-requests/s")
	b.ReportMetric(median(s.p50), name+"-p50-µs")
	b.ReportMetric(median(s.p99), name+"-p99-µs")
}

func median(xs []float64) float64 {
	xs = slices.Sorted(slices.Values(xs))
	return xs[len(xs)/2]
}
