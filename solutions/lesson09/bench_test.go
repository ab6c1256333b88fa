package lesson09_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/kafka-katas/kafka-katas/internal/against"
	lesson09 "github.com/kafka-katas/kafka-katas/solutions/lesson09"
)

// BenchmarkAgainstRaw states the price of the promises: the same records from the same in-process cluster over loopback
// TCP, in turn through a bare poll loop and through the consumer with deduplication in memory, one worker and nothing to
// apply. It reports medians; "of-raw" is the throughput as a part of the bare loop's. The window holds several fetches
// (one brings a megabyte of each partition), so that the client fetches while the worker works.
//
//	go test -run - -bench AgainstRaw -benchtime 9x ./solutions/lesson09
func BenchmarkAgainstRaw(b *testing.B) {
	against.Raw(b, "transfers", func(b *testing.B, opts []kgo.Opt, group string) {
		drain(b, opts, group, 1, against.Records, deduplicated(b))
	})
}

// BenchmarkConcurrency shows that a handler that takes time gets faster with concurrency.
func BenchmarkConcurrency(b *testing.B) {
	opts := against.Filled(b, "transfers", 1000, 100)
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
func drain(b *testing.B, opts []kgo.Opt, group string, concurrency int, n int64, handle lesson09.Handler) {
	cfg := lesson09.DefaultConfig()
	cfg.Group, cfg.Concurrency = group, concurrency
	cfg.Window, cfg.CommitEvery = 5000, 5000
	ctx, done := context.WithCancel(context.Background())
	consumer, err := lesson09.New(cfg, against.Counting(against.Handler(handle), n, done), opts...)
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
