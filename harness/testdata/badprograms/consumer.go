// Package badprograms holds one program for each classic way to break the process that it runs in, and one good program.
// The harness's own tests run them, to see that each gets the right verdict and that the tests after it run.
//
// The line that a diagnosis must name is marked "// name: here".
package badprograms

import (
	"context"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/kafka-katas/kafka-katas/harness"
)

// A Consumer handles and then commits, as a program should. The bad ones differ from it in one thing each.
type Consumer struct {
	client *kgo.Client
	handle func(ctx context.Context, r *kgo.Record) error

	mu      sync.Mutex
	total   int
	results chan string
	done    chan struct{}
	counts  map[string]int
}

// Setup is what a specification gives a program.
type Setup struct {
	Process *harness.Process
	Group   string
	Topic   string
	Done    chan struct{} // the specification's own: it closes it at the end of its story
}

// options are those of a group consumer.
func (s Setup) options(more ...kgo.Opt) []kgo.Opt {
	return append(append(s.Process.Options(), s.consuming()...), more...)
}

func (s Setup) consuming() []kgo.Opt {
	return []kgo.Opt{
		kgo.ConsumerGroup(s.Group), kgo.ConsumeTopics(s.Topic), kgo.DisableAutoCommit(), kgo.BlockRebalanceOnPoll(),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
	}
}

// newConsumer returns the good consumer with a handler.
func newConsumer(s Setup, handle func(c *Consumer, ctx context.Context, r *kgo.Record) error) (*Consumer, error) {
	client, err := kgo.NewClient(s.options()...)
	if err != nil {
		return nil, err
	}
	c := &Consumer{client: client, results: make(chan string), done: s.Done}
	c.handle = s.Process.Handler(func(ctx context.Context, r *kgo.Record) error { return handle(c, ctx, r) })
	return c, nil
}

// Good is a program without fault.
func Good(s Setup) (harness.Runner, error) {
	return newConsumer(s, func(*Consumer, context.Context, *kgo.Record) error { return nil })
}

// Run consumes until the context ends.
func (c *Consumer) Run(ctx context.Context) error {
	defer c.client.CloseAllowingRebalance()
	for ctx.Err() == nil {
		c.poll(ctx)
		c.client.AllowRebalance()
	}
	return nil
}

func (c *Consumer) poll(ctx context.Context) {
	records := c.client.PollRecords(ctx, 10).Records()
	for _, r := range records {
		if c.handle(ctx, r) != nil {
			return
		}
	}
	if len(records) > 0 {
		c.client.CommitRecords(ctx, records...)
	}
}

// pause sleeps, and wakes when the context ends.
func pause(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}
