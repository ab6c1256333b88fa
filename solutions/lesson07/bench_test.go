package lesson07_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	lesson07 "github.com/kafka-katas/kafka-katas/solutions/lesson07"
)

// The price of the promises: the same records from the same in-process cluster over loopback TCP, once through a bare poll
// loop and once through the consumer. One operation is one record.
//
//	go test -run - -bench Throughput -benchmem ./solutions/lesson07
func BenchmarkThroughput(b *testing.B) {
	for _, size := range []int{100, 1000} {
		b.Run(fmt.Sprintf("%dB/raw", size), func(b *testing.B) { benchRaw(b, size) })
		b.Run(fmt.Sprintf("%dB/consumer", size), func(b *testing.B) {
			benchConsumer(b, size, 1, func(context.Context, *kgo.Record) error { return nil })
		})
	}
}

// A handler that takes time gets faster with concurrency, up to one call for each partition.
func BenchmarkConcurrency(b *testing.B) {
	for _, n := range []int{1, 2, 4, 8} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			benchConsumer(b, 100, n, func(context.Context, *kgo.Record) error {
				time.Sleep(time.Millisecond)
				return nil
			})
		})
	}
}

const benchPartitions = 8

// filled is a cluster with n records of a size, spread over the partitions.
func filled(b *testing.B, n, size int) []kgo.Opt {
	b.Helper()
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(benchPartitions, "orders"))
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
		client.Produce(context.Background(), &kgo.Record{Topic: "orders", Partition: int32(i % benchPartitions), Key: fmt.Append(nil, i), Value: value}, func(_ *kgo.Record, err error) {
			if err != nil {
				b.Error(err)
			}
		})
	}
	if err := client.Flush(context.Background()); err != nil {
		b.Fatal(err)
	}
	if ends, err := kadm.NewClient(client).ListEndOffsets(context.Background(), "orders"); err != nil || ends.Error() != nil {
		b.Fatal(err, ends.Error())
	}
	return opts
}

func benchRaw(b *testing.B, size int) {
	opts := filled(b, b.N, size)
	b.SetBytes(int64(size))
	b.ReportAllocs()
	b.ResetTimer()
	client, err := kgo.NewClient(append(opts, kgo.ConsumerGroup("raw"), kgo.ConsumeTopics("orders"),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.AutoCommitInterval(time.Second))...)
	if err != nil {
		b.Fatal(err)
	}
	seen := 0
	for seen < b.N {
		client.PollFetches(context.Background()).EachRecord(func(*kgo.Record) { seen++ })
	}
	b.StopTimer()
	client.Close()
}

func benchConsumer(b *testing.B, size, concurrency int, handle lesson07.Handler) {
	opts := filled(b, b.N, size)
	b.SetBytes(int64(size))
	b.ReportAllocs()
	b.ResetTimer()
	cfg := lesson07.DefaultConfig()
	cfg.Concurrency = concurrency
	var seen atomic.Int64
	all := make(chan struct{})
	consumer, err := lesson07.New(cfg, func(ctx context.Context, r *kgo.Record) error {
		err := handle(ctx, r)
		if seen.Add(1) == int64(b.N) {
			close(all)
		}
		return err
	}, opts...)
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- consumer.Run(ctx) }()
	<-all
	b.StopTimer()
	cancel()
	if err := <-ended; err != nil {
		b.Fatal(err)
	}
}
