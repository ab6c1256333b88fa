package lesson09_test

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	lesson09 "github.com/kafka-katas/kafka-katas/solutions/lesson09"
)

const (
	benchPartitions = 8
	benchRecords    = 400_000
)

// BenchmarkAgainstRaw states the price of the promises: the same records from the same in-process cluster over loopback
// TCP, in turn through a bare poll loop and through the consumer with deduplication in memory, one worker and nothing to
// apply. It
// reports medians; "of-raw" is the throughput as a part of the bare loop's.
//
//	go test -run - -bench AgainstRaw -benchtime 9x ./solutions/lesson09
func BenchmarkAgainstRaw(b *testing.B) {
	for _, size := range []int{100, 1000} {
		b.Run(fmt.Sprintf("%dB", size), func(b *testing.B) {
			opts := filled(b, benchRecords, size)
			var raw, consumer sample
			for i := 0; b.Loop(); i++ {
				raw.take(func() { drainRaw(b, opts, fmt.Sprintf("raw-%d", i)) })
				consumer.take(func() { drain(b, opts, fmt.Sprintf("group-%d", i), 1, benchRecords, deduplicated(b)) })
			}
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(raw.time(), "raw-ns/record")
			b.ReportMetric(consumer.time(), "consumer-ns/record")
			b.ReportMetric(raw.allocs(), "raw-allocs/record")
			b.ReportMetric(consumer.allocs(), "consumer-allocs/record")
			b.ReportMetric(raw.time()/consumer.time(), "of-raw")
		})
	}
}

// BenchmarkConcurrency shows that a handler that takes time gets faster with concurrency.
func BenchmarkConcurrency(b *testing.B) {
	opts := filled(b, 1000, 100)
	for _, n := range []int{1, 2, 4, 8} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			for i := 0; b.Loop(); i++ {
				drain(b, opts, fmt.Sprintf("group-%d-%d", n, i), n, 1000, func(context.Context, *kgo.Record) error {
					time.Sleep(time.Millisecond)
					return nil
				})
			}
			b.ReportMetric(float64(b.N)*1000/b.Elapsed().Seconds(), "records/s")
		})
	}
}

// filled is a cluster with n records of a size, spread over the partitions.
func filled(b *testing.B, n, size int) []kgo.Opt {
	b.Helper()
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(benchPartitions, "transfers"))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(cluster.Close)
	opts := []kgo.Opt{kgo.SeedBrokers(cluster.ListenAddrs()...), kgo.DisableClientMetrics()}
	client, err := kgo.NewClient(append(opts, kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerBatchCompression(kgo.NoCompression()))...)
	if err != nil {
		b.Fatal(err)
	}
	defer client.Close()
	value := make([]byte, size)
	for i := range n {
		client.Produce(context.Background(), &kgo.Record{Topic: "transfers", Partition: int32(i % benchPartitions), Key: fmt.Append(nil, i), Value: value}, func(_ *kgo.Record, err error) {
			if err != nil {
				b.Error(err)
			}
		})
	}
	if err := client.Flush(context.Background()); err != nil {
		b.Fatal(err)
	}
	return opts
}

// drainRaw reads everything with a bare poll loop.
func drainRaw(b *testing.B, opts []kgo.Opt, group string) {
	client, err := kgo.NewClient(append(opts, kgo.ConsumerGroup(group), kgo.ConsumeTopics("transfers"),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.AutoCommitInterval(time.Second))...)
	if err != nil {
		b.Fatal(err)
	}
	defer client.Close()
	ctx, done := context.WithCancel(context.Background())
	handle := counting(nothing, benchRecords, done)
	for ctx.Err() == nil {
		client.PollFetches(ctx).EachRecord(func(r *kgo.Record) {
			if err := handle(ctx, r); err != nil {
				b.Error(err)
			}
		})
	}
}

// drain reads n records with the consumer.
func drain(b *testing.B, opts []kgo.Opt, group string, concurrency int, n int64, handle lesson09.Handler) {
	cfg := lesson09.DefaultConfig()
	cfg.Group, cfg.Concurrency = group, concurrency
	ctx, done := context.WithCancel(context.Background())
	consumer, err := lesson09.New(cfg, counting(handle, n, done), opts...)
	if err != nil {
		b.Fatal(err)
	}
	if err := consumer.Run(ctx); err != nil {
		b.Fatal(err)
	}
}

// deduplicated is an inbox with a store in memory.
func deduplicated(b *testing.B) lesson09.Handler {
	store, err := lesson09.NewMemoryStore(lesson09.DefaultConfig().Deduplication)
	if err != nil {
		b.Fatal(err)
	}
	inbox, err := lesson09.NewInbox(store, func(r *kgo.Record) (string, error) { return string(r.Key), nil },
		func(context.Context, *kgo.Record) (lesson09.Write, error) { return nil, nil })
	if err != nil {
		b.Fatal(err)
	}
	return inbox.Handle
}

func nothing(context.Context, *kgo.Record) error { return nil }

// counting calls done after the n-th record.
func counting(handle lesson09.Handler, n int64, done func()) lesson09.Handler {
	var seen atomic.Int64
	return func(ctx context.Context, r *kgo.Record) error {
		err := handle(ctx, r)
		if seen.Add(1) == n {
			done()
		}
		return err
	}
}

// sample is what draining took, time and again.
type sample struct{ took, allocated []float64 }

func (s *sample) take(f func()) {
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	start := time.Now()
	f()
	s.took = append(s.took, float64(time.Since(start)))
	runtime.ReadMemStats(&after)
	s.allocated = append(s.allocated, float64(after.Mallocs-before.Mallocs))
}

func (s *sample) time() float64   { return median(s.took) / benchRecords }
func (s *sample) allocs() float64 { return median(s.allocated) / benchRecords }

func median(xs []float64) float64 {
	xs = slices.Sorted(slices.Values(xs))
	return xs[len(xs)/2]
}
