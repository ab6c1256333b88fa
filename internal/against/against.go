// Package against measures a lesson's solution against what it costs to do without it: a bare poll loop of the client, on
// the same records of the same in-process cluster over loopback TCP, in turn.
package against

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
)

// Partitions are how many partitions a measured topic has, and Records how many records a round reads.
const (
	Partitions = 8
	Records    = 400_000
)

// A Handler is what every lesson's handler is.
type Handler func(context.Context, *kgo.Record) error

// Nothing is done at once.
func Nothing(context.Context, *kgo.Record) error { return nil }

// Raw compares draining by the lesson with draining by a bare loop, at 100 and at 1,000 bytes a record. It reports
// medians; "of-raw" is the throughput as a part of the bare loop's, and "of-raw-cpu" the same by processor time. drain reads
// Records records of the topic with a group of that name, and returns. others are topics of one partition that the lesson
// needs besides.
func Raw(b *testing.B, topic string, drain func(b *testing.B, opts []kgo.Opt, group string), others ...string) {
	for _, size := range []int{100, 1000} {
		b.Run(fmt.Sprintf("%dB", size), func(b *testing.B) {
			opts := Filled(b, topic, Records, size, others...)
			var raw, lesson sample
			for i := 0; b.Loop(); i++ {
				raw.take(func() { drainRaw(b, opts, topic, fmt.Sprintf("raw-%d", i)) })
				lesson.take(func() { drain(b, opts, fmt.Sprintf("group-%d", i)) })
			}
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(raw.time(), "raw-ns/record")
			b.ReportMetric(lesson.time(), "consumer-ns/record")
			b.ReportMetric(raw.allocs(), "raw-allocs/record")
			b.ReportMetric(lesson.allocs(), "consumer-allocs/record")
			b.ReportMetric(raw.time()/lesson.time(), "of-raw")
			if lesson.cpu() > 0 {
				b.ReportMetric(raw.cpu(), "raw-cpu-ns/record")
				b.ReportMetric(lesson.cpu(), "consumer-cpu-ns/record")
				b.ReportMetric(raw.cpu()/lesson.cpu(), "of-raw-cpu")
			}
		})
	}
}

// Filled is a cluster with n records of a size, spread over the topic's partitions, as options of its clients.
func Filled(b *testing.B, topic string, n, size int, others ...string) []kgo.Opt {
	b.Helper()
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(Partitions, topic), kfake.SeedTopics(1, others...))
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
		client.Produce(context.Background(), &kgo.Record{Topic: topic, Partition: int32(i % Partitions), Key: fmt.Append(nil, i), Value: value}, func(_ *kgo.Record, err error) {
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
func drainRaw(b *testing.B, opts []kgo.Opt, topic, group string) {
	client, err := kgo.NewClient(append(opts, kgo.ConsumerGroup(group), kgo.ConsumeTopics(topic),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.AutoCommitInterval(time.Second))...)
	if err != nil {
		b.Fatal(err)
	}
	defer client.Close()
	ctx, done := context.WithCancel(context.Background())
	handle := Counting(Nothing, Records, done)
	for ctx.Err() == nil {
		client.PollFetches(ctx).EachRecord(func(r *kgo.Record) {
			if err := handle(ctx, r); err != nil {
				b.Error(err)
			}
		})
	}
}

// Counting calls done after the n-th record.
func Counting(handle Handler, n int64, done func()) func(context.Context, *kgo.Record) error {
	var seen atomic.Int64
	return func(ctx context.Context, r *kgo.Record) error {
		err := handle(ctx, r)
		if seen.Add(1) == n {
			done()
		}
		return err
	}
}

// sample is what draining took, time and again: on the clock, of the processor by this process (the cluster's part
// included), which is what a busy machine tells most truly, and in allocations.
type sample struct{ took, worked, allocated []float64 }

func (s *sample) take(f func()) {
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	start, worked := time.Now(), ProcessorTime()
	f()
	s.took = append(s.took, float64(time.Since(start)))
	s.worked = append(s.worked, float64(ProcessorTime()-worked))
	runtime.ReadMemStats(&after)
	s.allocated = append(s.allocated, float64(after.Mallocs-before.Mallocs))
}

func (s *sample) time() float64   { return median(s.took) / Records }
func (s *sample) cpu() float64    { return median(s.worked) / Records }
func (s *sample) allocs() float64 { return median(s.allocated) / Records }

func median(xs []float64) float64 {
	xs = slices.Sorted(slices.Values(xs))
	return xs[len(xs)/2]
}
