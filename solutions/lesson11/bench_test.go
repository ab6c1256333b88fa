package lesson11_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	lesson11 "github.com/kafka-katas/kafka-katas/solutions/lesson11"
)

const (
	everyone = 100_000
	wanted   = 100 // every so manieth user wants it
)

// BenchmarkFanOut tells an audience of 100,000, of whom one in a hundred wants to hear of it, once by pages of 1,000 and
// once with the whole list in one page. "peak-MB" is how much the heap of the whole process grew at most, an in-process
// cluster included; "users-in-memory" is the longest page.
//
//	go test -run - -bench FanOut -benchtime 3x ./solutions/lesson11
func BenchmarkFanOut(b *testing.B) {
	for _, page := range []int{1000, everyone + 1} {
		b.Run(fmt.Sprintf("page=%d", page), func(b *testing.B) {
			var peak, longest float64
			for b.Loop() {
				p, l := fanOut(b, page, wanted)
				peak, longest = max(peak, p), max(longest, l)
			}
			b.ReportMetric(peak/1e6, "peak-MB")
			b.ReportMetric(longest, "users-in-memory")
			b.ReportMetric(everyone*float64(b.N)/b.Elapsed().Seconds(), "users/s")
		})
	}
}

// BenchmarkAgainstRaw sends 20,000 messages by a provider that does nothing, and puts that beside a bare loop that reads
// as many records and writes each to another topic: what a service must do at least that remembers what it has sent.
//
//	go test -run - -bench AgainstRaw -benchtime 3x ./solutions/lesson11
func BenchmarkAgainstRaw(b *testing.B) {
	const messages = everyone / 5
	var service, raw time.Duration
	for b.Loop() {
		start := time.Now()
		fanOut(b, 1000, 5)
		service += time.Since(start)
		raw += copyRaw(b, messages)
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(float64(service.Nanoseconds())/float64(b.N*messages), "service-ns/message")
	b.ReportMetric(float64(raw.Nanoseconds())/float64(b.N*messages), "raw-ns/message")
	b.ReportMetric(raw.Seconds()/service.Seconds(), "of-raw")
}

type list struct{ longest atomic.Int64 }

func (l *list) Page(_ context.Context, _, after string, limit int) (users []string, err error) {
	next := 0
	if after != "" {
		if _, err := fmt.Sscanf(after, "u%d", &next); err != nil {
			return nil, err
		}
		next++
	}
	for ; next < everyone && len(users) < limit; next++ {
		users = append(users, fmt.Sprintf("u%d", next))
	}
	l.longest.Store(max(l.longest.Load(), int64(len(users))))
	return users, nil
}

type counter struct {
	until int64
	done  func()
	heard atomic.Int64
}

func (c *counter) Send(context.Context, lesson11.Message) error {
	if c.heard.Add(1) == c.until {
		c.done()
	}
	return nil
}

// fanOut tells everyone, of whom one in every wants it, and returns how much the heap grew, and the longest page.
func fanOut(b *testing.B, page, every int) (peak, longest float64) {
	slog.SetDefault(slog.New(slog.NewTextHandler(io.Discard, nil)))
	cfg := lesson11.DefaultConfig()
	cfg.PageSize = page
	cfg.Email.PerSecond, cfg.Email.Concurrency = 0, 64
	topics := []string{cfg.Topics.Triggers, cfg.Topics.Preferences, cfg.Topics.Log, cfg.Topics.Receipts, cfg.Topics.Status, cfg.Topics.DeadLetters,
		cfg.Topics.Task(lesson11.Email, true), cfg.Topics.Task(lesson11.Email, false)}
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(4, topics...))
	require.NoError(b, err)
	defer cluster.Close()
	opts := []kgo.Opt{kgo.SeedBrokers(cluster.ListenAddrs()...), kgo.DisableClientMetrics()}
	client, err := kgo.NewClient(append(opts, kgo.ProducerBatchCompression(kgo.NoCompression()))...)
	require.NoError(b, err)
	defer client.Close()
	likes, _ := json.Marshal(lesson11.Preferences{Channels: map[string]lesson11.Contact{lesson11.Email: {Address: "a@example.org"}}})
	for i := 0; i < everyone; i += every {
		client.Produce(context.Background(), &kgo.Record{Topic: cfg.Topics.Preferences, Key: fmt.Appendf(nil, "u%d", i), Value: likes}, nil)
	}
	require.NoError(b, client.Flush(context.Background()))
	sale, _ := json.Marshal(lesson11.Trigger{Event: "sale", Template: "news", Audience: "everyone"})

	ctx, done := context.WithCancel(context.Background())
	audience := &list{}
	service, err := lesson11.New(cfg, lesson11.Parts{
		Channels:  map[string]lesson11.Channel{lesson11.Email: &counter{until: everyone / int64(every), done: done}},
		Templates: map[string]map[string]string{"news": {lesson11.Email: "{{.Event}} to {{.User}}"}},
		Audience:  audience,
	}, opts...)
	require.NoError(b, err)
	require.NoError(b, client.ProduceSync(ctx, &kgo.Record{Topic: cfg.Topics.Triggers, Value: sale}).FirstErr())
	runtime.GC()
	before := heap()
	peaks := make(chan float64)
	go func() {
		peak := 0.0
		for ctx.Err() == nil {
			peak = max(peak, heap()-before)
			time.Sleep(time.Millisecond)
		}
		peaks <- peak
	}()
	require.NoError(b, service.Run(ctx))
	return <-peaks, float64(audience.longest.Load())
}

func heap() float64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc)
}

// copyRaw reads n records and writes each to another topic, with one wait at the end of each poll.
func copyRaw(b *testing.B, n int) time.Duration {
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(4, "from", "to"))
	require.NoError(b, err)
	defer cluster.Close()
	client, err := kgo.NewClient(kgo.SeedBrokers(cluster.ListenAddrs()...), kgo.DisableClientMetrics(), kgo.ConsumerGroup("raw"), kgo.ConsumeTopics("from"),
		kgo.ProducerBatchCompression(kgo.NoCompression()))
	require.NoError(b, err)
	defer client.Close()
	for i := range n {
		client.Produce(context.Background(), &kgo.Record{Topic: "from", Key: fmt.Append(nil, i), Value: make([]byte, 100)}, nil)
	}
	require.NoError(b, client.Flush(context.Background()))
	start := time.Now()
	for seen := 0; seen < n; {
		fetches := client.PollFetches(context.Background())
		fetches.EachRecord(func(r *kgo.Record) {
			seen++
			client.Produce(context.Background(), &kgo.Record{Topic: "to", Key: r.Key, Value: r.Value}, nil)
		})
		require.NoError(b, client.Flush(context.Background()))
	}
	return time.Since(start)
}
