package badprograms

import (
	"context"
	"os"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/kafka-katas/kafka-katas/harness"
)

// Panics does so in a goroutine of its own, where nobody can recover it.
func Panics(s Setup) (harness.Runner, error) {
	return newConsumer(s, func(c *Consumer, ctx context.Context, r *kgo.Record) error {
		go func() {
			c.counts[string(r.Key)]++ // panic: here
		}()
		pause(ctx, time.Second)
		return nil
	})
}

// PanicsInHandler does so in the handler's own goroutine.
func PanicsInHandler(s Setup) (harness.Runner, error) {
	return newConsumer(s, func(c *Consumer, _ context.Context, r *kgo.Record) error {
		c.counts[string(r.Key)]++ // handler panic: here
		return nil
	})
}

// Exits ends the whole process.
func Exits(s Setup) (harness.Runner, error) {
	return newConsumer(s, func(*Consumer, context.Context, *kgo.Record) error {
		os.Exit(3) // exit: here
		return nil
	})
}

// ReturnsAtOnce does its work in the background and forgets to wait.
func ReturnsAtOnce(s Setup) (harness.Runner, error) {
	c, err := newConsumer(s, func(*Consumer, context.Context, *kgo.Record) error { return nil })
	if err != nil {
		return nil, err
	}
	return harness.RunFunc(func(ctx context.Context) error {
		go c.Run(ctx)
		return nil
	}), nil
}

// ReturnsNothing constructs neither a program nor an error.
func ReturnsNothing(Setup) (harness.Runner, error) { return nil, nil }

// ReturnsNilPointer constructs a pointer that points nowhere.
func ReturnsNilPointer(Setup) (harness.Runner, error) {
	var c *Consumer
	return c, nil
}

// ClosesChannel closes a channel that is not its own.
func ClosesChannel(s Setup) (harness.Runner, error) {
	c, err := newConsumer(s, func(*Consumer, context.Context, *kgo.Record) error { return nil })
	if err != nil {
		return nil, err
	}
	return harness.RunFunc(func(ctx context.Context) error {
		defer close(c.done)
		return c.Run(ctx)
	}), nil
}

// ClosesTwice closes its own channel for every record.
func ClosesTwice(s Setup) (harness.Runner, error) {
	ready := make(chan struct{})
	return newConsumer(s, func(*Consumer, context.Context, *kgo.Record) error {
		close(ready) // twice: here
		return nil
	})
}

// ClosesListener opens its port and closes it again while others still call.
func ClosesListener(s Setup) (harness.Runner, error) {
	l, err := s.Process.Listen("shop:80")
	if err != nil {
		return nil, err
	}
	return harness.RunFunc(func(ctx context.Context) error {
		l.Close()
		<-ctx.Done()
		return nil
	}), nil
}
