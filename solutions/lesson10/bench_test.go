package lesson10_test

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

	lesson10 "github.com/kafka-katas/kafka-katas/solutions/lesson10"
)

const (
	benchPartitions = 8
	benchRecords    = 200_000
)

// BenchmarkAgainstRaw states the price of the stages: the same records from the same in-process cluster over loopback
// TCP, in turn through a bare loop that polls, produces, waits and commits, in batches of the same size, and through the
// pipeline with normalising, two filters, a reference table, two routes and a default. It reports medians; "of-raw" is
// the throughput as a part of the bare loop's.
//
//	go test -run - -bench AgainstRaw -benchtime 9x ./solutions/lesson10
func BenchmarkAgainstRaw(b *testing.B) {
	opts := filled(b)
	var raw, pipeline sample
	for i := 0; b.Loop(); i++ {
		raw.take(func() { copyRaw(b, opts, fmt.Sprintf("raw-%d", i)) })
		pipeline.take(func() { transform(b, opts, fmt.Sprintf("group-%d", i)) })
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(raw.time(), "raw-ns/record")
	b.ReportMetric(pipeline.time(), "pipeline-ns/record")
	b.ReportMetric(raw.time()/pipeline.time(), "of-raw")
}

// BenchmarkNormalise is the most of what the stages cost.
func BenchmarkNormalise(b *testing.B) {
	value := event(7)
	b.ReportAllocs()
	for b.Loop() {
		e, err := lesson10.Normalise(value)
		if err != nil {
			b.Fatal(err)
		}
		_ = e.Encode()
	}
}

func event(i int) []byte {
	return fmt.Appendf(nil, `{"id":"e-%d","type":"order.placed","customer":"c-%d","name":"Ada Lovelace","email":"ada@example.com","country":"AT","at":"2026-03-29T03:30:00Z","amount":"12.50","currency":"EUR","channel":"web"}`, i, i%1000)
}

var topics = []string{"customer-events-audit", "customer-events-dlt", "customer-events-gold", "customer-events-business", "customer-events-other", "copy"}

// filled is a cluster with the records, spread over the partitions, and a table with every customer.
func filled(b *testing.B) []kgo.Opt {
	b.Helper()
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(benchPartitions, append(topics, "customer-events-raw")...), kfake.SeedTopics(1, "segments"))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(cluster.Close)
	opts := []kgo.Opt{kgo.SeedBrokers(cluster.ListenAddrs()...), kgo.DisableClientMetrics(), kgo.ProducerBatchCompression(kgo.NoCompression())}
	client, err := kgo.NewClient(append(opts, kgo.RecordPartitioner(kgo.ManualPartitioner()))...)
	if err != nil {
		b.Fatal(err)
	}
	defer client.Close()
	produce := func(r *kgo.Record) {
		client.Produce(context.Background(), r, func(_ *kgo.Record, err error) {
			if err != nil {
				b.Error(err)
			}
		})
	}
	for i := range 1000 {
		segment := "silver"
		if i%4 == 0 {
			segment = "gold"
		}
		produce(&kgo.Record{Topic: "segments", Key: fmt.Appendf(nil, "c-%d", i), Value: []byte(segment)})
	}
	for i := range benchRecords {
		produce(&kgo.Record{Topic: "customer-events-raw", Partition: int32(i % benchPartitions), Key: fmt.Appendf(nil, "c-%d", i%1000), Value: event(i)})
	}
	if err := client.Flush(context.Background()); err != nil {
		b.Fatal(err)
	}
	return opts
}

// copyRaw copies everything with a bare loop.
func copyRaw(b *testing.B, opts []kgo.Opt, group string) {
	client, err := kgo.NewClient(append(opts, kgo.ConsumerGroup(group), kgo.ConsumeTopics("customer-events-raw"),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.DisableAutoCommit(), kgo.ProducerLinger(0))...)
	if err != nil {
		b.Fatal(err)
	}
	defer client.Close()
	ctx := context.Background()
	committed := time.Now()
	for n := 0; n < benchRecords; {
		records := client.PollRecords(ctx, lesson10.DefaultConfig().MaxBatch).Records()
		n += len(records)
		for _, r := range records {
			client.Produce(ctx, &kgo.Record{Topic: "copy", Key: r.Key, Value: r.Value, Headers: r.Headers, Timestamp: r.Timestamp}, func(_ *kgo.Record, err error) {
				if err != nil {
					b.Error(err)
				}
			})
		}
		if err := client.Flush(ctx); err != nil {
			b.Fatal(err)
		}
		if time.Since(committed) > time.Second || n == benchRecords {
			committed = time.Now()
			if err := client.CommitUncommittedOffsets(ctx); err != nil {
				b.Fatal(err)
			}
		}
	}
}

// transform takes everything through the pipeline.
func transform(b *testing.B, opts []kgo.Opt, group string) {
	cfg := lesson10.DefaultConfig()
	cfg.Group, cfg.Reference = group, "segments"
	ctx, done := context.WithCancel(context.Background())
	var written atomic.Int64
	p, err := lesson10.New(cfg, lesson10.ShopRules(), nil, append(opts, kgo.WithHooks(&acknowledged{&written, done}))...)
	if err != nil {
		b.Fatal(err)
	}
	if err := p.Run(ctx); err != nil {
		b.Fatal(err)
	}
	if s := p.Stats().Totals; s.Processed != benchRecords {
		b.Fatalf("%+v", s)
	}
}

// acknowledged calls done when everything is acknowledged.
type acknowledged struct {
	n    *atomic.Int64
	done func()
}

func (a *acknowledged) OnProduceRecordUnbuffered(_ *kgo.Record, err error) {
	if err == nil && a.n.Add(1) == benchRecords {
		a.done()
	}
}

// sample is what a run took, time and again.
type sample struct{ took []float64 }

func (s *sample) take(f func()) {
	runtime.GC()
	start := time.Now()
	f()
	s.took = append(s.took, float64(time.Since(start)))
}

func (s *sample) time() float64 {
	xs := slices.Sorted(slices.Values(s.took))
	return xs[len(xs)/2] / benchRecords
}
