package badprograms

import (
	"context"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/kafka-katas/kafka-katas/harness"
)

// LeavesGoroutine starts one for each record that waits for what never comes.
func LeavesGoroutine(s Setup) (harness.Runner, error) {
	return newConsumer(s, func(c *Consumer, _ context.Context, r *kgo.Record) error {
		go c.audit(r) // started: here
		return nil
	})
}

func (c *Consumer) audit(r *kgo.Record) {
	c.results <- string(r.Key) // audit: here
}

// LeavesClient returns without closing its client.
func LeavesClient(s Setup) (harness.Runner, error) {
	client, err := kgo.NewClient(s.options()...) // client: here
	if err != nil {
		return nil, err
	}
	c := &Consumer{client: client, handle: s.Process.Handler(func(context.Context, *kgo.Record) error { return nil })}
	return harness.RunFunc(func(ctx context.Context) error {
		for ctx.Err() == nil {
			c.poll(ctx)
			c.client.AllowRebalance()
		}
		return nil
	}), nil
}

// StartsWithoutEnd starts goroutines as fast as it can.
func StartsWithoutEnd(s Setup) (harness.Runner, error) {
	return newConsumer(s, func(_ *Consumer, ctx context.Context, _ *kgo.Record) error {
		for {
			go func() { <-ctx.Done() }() // goroutines: here
		}
	})
}

// KeepsWithoutEnd keeps all that it ever saw, and more.
func KeepsWithoutEnd(s Setup) (harness.Runner, error) {
	var kept [][]byte
	return newConsumer(s, func(*Consumer, context.Context, *kgo.Record) error {
		for {
			page := make([]byte, 16<<20) // memory: here
			for i := 0; i < len(page); i += 4096 {
				page[i] = 1
			}
			kept = append(kept, page)
		}
	})
}
