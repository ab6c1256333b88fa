package badprograms

import (
	"bufio"
	"context"
	"net"
	"os"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/kafka-katas/kafka-katas/harness"
)

// Deadlocks sends to a channel that nobody receives from.
func Deadlocks(s Setup) (harness.Runner, error) {
	return newConsumer(s, func(c *Consumer, _ context.Context, r *kgo.Record) error {
		c.results <- string(r.Key) // deadlock: here
		return nil
	})
}

// Spins waits for a flag that nobody sets, without ever letting go of the processor.
func Spins(s Setup) (harness.Runner, error) {
	var ready atomic.Bool
	return newConsumer(s, func(*Consumer, context.Context, *kgo.Record) error {
		for !ready.Load() { // spin: here
		}
		return nil
	})
}

// HoldsMutex sleeps while it holds the mutex that its statistics need.
func HoldsMutex(s Setup) (harness.Runner, error) {
	c, err := newConsumer(s, func(c *Consumer, ctx context.Context, _ *kgo.Record) error {
		return c.add(ctx)
	})
	if err != nil {
		return nil, err
	}
	return harness.RunFunc(func(ctx context.Context) error {
		go func() {
			for ctx.Err() == nil {
				pause(ctx, 100*time.Millisecond)
				c.Total()
			}
		}()
		return c.Run(ctx)
	}), nil
}

func (c *Consumer) add(ctx context.Context) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	pause(ctx, 2*time.Second) // holder: here
	c.total++
	return nil
}

// Total is how many records were handled.
func (c *Consumer) Total() int {
	c.mu.Lock() // total: here
	defer c.mu.Unlock()
	return c.total
}

// ReadsInput asks the person at the keyboard.
func ReadsInput(s Setup) (harness.Runner, error) {
	return newConsumer(s, func(*Consumer, context.Context, *kgo.Record) error {
		_, err := bufio.NewReader(os.Stdin).ReadString('\n') // stdin: here
		return err
	})
}

// IgnoresContext goes on when it is asked to stop.
func IgnoresContext(s Setup) (harness.Runner, error) {
	c, err := newConsumer(s, func(*Consumer, context.Context, *kgo.Record) error { return nil })
	if err != nil {
		return nil, err
	}
	return harness.RunFunc(func(context.Context) error {
		for {
			c.poll(context.Background()) // ignores: here
			c.client.AllowRebalance()
		}
	}), nil
}

// NeverAllows blocks rebalances while it works and never allows them again, not even when it closes.
func NeverAllows(s Setup) (harness.Runner, error) {
	c, err := newConsumer(s, func(*Consumer, context.Context, *kgo.Record) error { return nil })
	if err != nil {
		return nil, err
	}
	return harness.RunFunc(func(ctx context.Context) error {
		defer c.client.Close() // close: here
		for ctx.Err() == nil {
			c.poll(ctx)
		}
		return nil
	}), nil
}

// DialsAway makes a client of its own mind, without the options that it was given.
func DialsAway(s Setup) (harness.Runner, error) {
	client, err := kgo.NewClient(append(s.consuming(), kgo.SeedBrokers("127.0.0.1:1"))...) // away: here
	if err != nil {
		return nil, err
	}
	return &Consumer{client: client, handle: s.Process.Handler(func(context.Context, *kgo.Record) error { return nil })}, nil
}

// silent is a real port at which nobody ever answers.
var silent, _ = net.Listen("tcp", "127.0.0.1:0")

// CallsAway asks a real host over the real network.
func CallsAway(s Setup) (harness.Runner, error) {
	return newConsumer(s, func(*Consumer, context.Context, *kgo.Record) error {
		conn, err := net.Dial("tcp", silent.Addr().String())
		if err != nil {
			return err
		}
		defer conn.Close()
		_, err = conn.Read(make([]byte, 1)) // real: here
		return err
	})
}
