package badprograms

import (
	"context"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/kafka-katas/kafka-katas/harness"
)

// Eager commits before it handles: right until a crash comes in between.
func Eager(s Setup) (harness.Runner, error) {
	client, err := kgo.NewClient(s.options()...)
	if err != nil {
		return nil, err
	}
	handle := s.Process.Handler(func(ctx context.Context, _ *kgo.Record) error {
		pause(ctx, 50*time.Millisecond)
		return ctx.Err()
	})
	return harness.RunFunc(func(ctx context.Context) error {
		defer client.CloseAllowingRebalance()
		for ctx.Err() == nil {
			records := client.PollRecords(ctx, 5).Records()
			if len(records) > 0 && client.CommitRecords(ctx, records...) == nil {
				for _, r := range records {
					handle(ctx, r)
				}
			}
			client.AllowRebalance()
		}
		return nil
	}), nil
}
