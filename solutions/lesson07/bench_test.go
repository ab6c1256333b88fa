package lesson07_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/kafka-katas/kafka-katas/internal/against"
	lesson07 "github.com/kafka-katas/kafka-katas/solutions/lesson07"
)

// BenchmarkAgainstRaw states the price of the promises: the same records from the same in-process cluster over loopback
// TCP, in turn through a bare poll loop and through the consumer at concurrency 1, with a handler that does nothing. It reports
// medians; "of-raw" is the throughput as a part of the bare loop's.
//
//	go test -run - -bench AgainstRaw -benchtime 9x ./solutions/lesson07
func BenchmarkAgainstRaw(b *testing.B) {
	against.Raw(b, "orders", func(b *testing.B, opts []kgo.Opt, group string) {
		drain(b, opts, group, 1, against.Records, against.Nothing)
	})
}

// BenchmarkConcurrency shows that a handler that takes time gets faster with concurrency, up to one call a partition.
func BenchmarkConcurrency(b *testing.B) {
	opts := against.Filled(b, "orders", 1000, 100)
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

// drain reads n records with the consumer.
func drain(b *testing.B, opts []kgo.Opt, group string, concurrency int, n int64, handle lesson07.Handler) {
	cfg := lesson07.DefaultConfig()
	cfg.Group, cfg.Concurrency = group, concurrency
	ctx, done := context.WithCancel(context.Background())
	consumer, err := lesson07.New(cfg, against.Counting(against.Handler(handle), n, done), opts...)
	if err != nil {
		b.Fatal(err)
	}
	if err := consumer.Run(ctx); err != nil {
		b.Fatal(err)
	}
}
