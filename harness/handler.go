package harness

import (
	"context"

	"github.com/twmb/franz-go/pkg/kgo"
)

// Handler journals a handler: when it was called with which record, and how that ended. A crashed process's handler is
// not called, and what it returns is not seen. The handler's context also ends when the process is gone, so that a
// handler that waits never outlives its story.
//
//go:noinline
func (p *Process) Handler(handle func(ctx context.Context, r *kgo.Record) error) func(ctx context.Context, r *kgo.Record) error {
	within := (*life)(p)
	return within.handler(handle, within.group)
}

// Handler is [Process.Handler] for a program that is in several groups: it handles records of this one.
//
//go:noinline
func (g *Group) Handler(p *Process, handle func(ctx context.Context, r *kgo.Record) error) func(ctx context.Context, r *kgo.Record) error {
	return (*life)(p).handler(handle, func() string { return g.Name })
}

//go:noinline
func (p *life) handler(handle func(ctx context.Context, r *kgo.Record) error, of func() string) func(ctx context.Context, r *kgo.Record) error {
	return func(ctx context.Context, r *kgo.Record) (err error) {
		if p.point(Before, Handle) {
			return errCrashed
		}
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		defer context.AfterFunc(p.gone, cancel)()

		group := of()
		event := Event{
			Kind: Began, Process: p.Name, Group: group, Call: p.w.nextCall(),
			Topic: r.Topic, Partition: r.Partition, Offset: r.Offset, Key: string(r.Key),
		}
		if !p.witness(event) {
			return errCrashed
		}
		returned := false
		defer func() {
			event.Kind, event.Err = Handled, err
			if !returned { // it panics: the program decides what becomes of that
				event.Kind, event.Text = Failed, "panicked"
			} else if err != nil {
				event.Kind = Failed
			}
			if !p.witness(event) || p.point(After, Handle) {
				err = errCrashed
			}
		}()
		err = handle(ctx, r)
		returned = true
		return err
	}
}

func (w *World) nextCall() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.calls++
	return w.calls
}
