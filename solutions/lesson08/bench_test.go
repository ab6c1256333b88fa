package lesson08_test

import (
	"context"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/kafka-katas/kafka-katas/internal/against"
	lesson08 "github.com/kafka-katas/kafka-katas/solutions/lesson08"
)

// BenchmarkAgainstRaw states the price of the promises: the same records from the same in-process cluster over loopback
// TCP, in turn through a bare poll loop and through the service, with a handler that does nothing. It reports
// medians; "of-raw" is the throughput as a part of the bare loop's.
//
//	go test -run - -bench AgainstRaw -benchtime 9x ./solutions/lesson08
func BenchmarkAgainstRaw(b *testing.B) {
	against.Raw(b, "payments", drain, "payments-dlt")
}

// drain reads everything with the service.
func drain(b *testing.B, opts []kgo.Opt, group string) {
	cfg := lesson08.DefaultConfig()
	cfg.Group = group
	ctx, done := context.WithCancel(context.Background())
	service, err := lesson08.New(cfg, against.Counting(against.Nothing, against.Records, done), opts...)
	if err != nil {
		b.Fatal(err)
	}
	if err := service.Run(ctx); err != nil {
		b.Fatal(err)
	}
}
