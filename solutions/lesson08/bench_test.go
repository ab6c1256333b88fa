package lesson08_test

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

	lesson08 "github.com/kafka-katas/kafka-katas/solutions/lesson08"
)

const (
	benchPartitions = 8
	benchRecords    = 400_000
)

// BenchmarkAgainstRaw states the price of the promises: the same records from the same in-process cluster over loopback
// TCP, in turn through a bare poll loop and through the service, with a handler that does nothing. It
// reports medians; "of-raw" is the throughput as a part of the bare loop's.
//
//	go test -run - -bench AgainstRaw -benchtime 9x ./solutions/lesson08
func BenchmarkAgainstRaw(b *testing.B) {
	for _, size := range []int{100, 1000} {
		b.Run(fmt.Sprintf("%dB", size), func(b *testing.B) {
			opts := filled(b, benchRecords, size)
			var raw, service sample
			for i := 0; b.Loop(); i++ {
				raw.take(func() { drainRaw(b, opts, fmt.Sprintf("raw-%d", i)) })
				service.take(func() { drain(b, opts, fmt.Sprintf("group-%d", i)) })
			}
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(raw.time(), "raw-ns/record")
			b.ReportMetric(service.time(), "service-ns/record")
			b.ReportMetric(raw.allocs(), "raw-allocs/record")
			b.ReportMetric(service.allocs(), "service-allocs/record")
			b.ReportMetric(raw.time()/service.time(), "of-raw")
		})
	}
}

// filled is a cluster with n records of a size, spread over the partitions.
func filled(b *testing.B, n, size int) []kgo.Opt {
	b.Helper()
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(benchPartitions, "payments"), kfake.SeedTopics(1, "payments-dlt"))
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
		client.Produce(context.Background(), &kgo.Record{Topic: "payments", Partition: int32(i % benchPartitions), Key: fmt.Append(nil, i), Value: value}, func(_ *kgo.Record, err error) {
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
	client, err := kgo.NewClient(append(opts, kgo.ConsumerGroup(group), kgo.ConsumeTopics("payments"),
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

// drain reads everything with the service.
func drain(b *testing.B, opts []kgo.Opt, group string) {
	cfg := lesson08.DefaultConfig()
	cfg.Group = group
	ctx, done := context.WithCancel(context.Background())
	service, err := lesson08.New(cfg, counting(nothing, benchRecords, done), opts...)
	if err != nil {
		b.Fatal(err)
	}
	if err := service.Run(ctx); err != nil {
		b.Fatal(err)
	}
}

func nothing(context.Context, *kgo.Record) error { return nil }

// counting calls done after the n-th record.
func counting(handle lesson08.Handler, n int64, done func()) lesson08.Handler {
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
