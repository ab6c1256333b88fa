package harness

import (
	"context"

	"github.com/twmb/franz-go/pkg/kgo"
)

// Handler journals a handler: when it was called with which record, and how that ended. A crashed process's handler is
// not called, and what it returns is not seen. The handler's context also ends when the process is gone, so that a
// handler that waits never outlives its story.
func (p *Process) Handler(handle func(ctx context.Context, r *kgo.Record) error) func(ctx context.Context, r *kgo.Record) error {
	return func(ctx context.Context, r *kgo.Record) (err error) {
		if p.point(Before, Handle) {
			return errCrashed
		}
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		defer context.AfterFunc(p.gone, cancel)()

		group := p.group()
		event := Event{
			Kind: Began, Process: p.Name, Group: group, Call: p.w.nextCall(),
			Topic: r.Topic, Partition: r.Partition, Offset: r.Offset, Key: string(r.Key),
		}
		p.w.journal.add(event)
		returned := false
		defer func() {
			if p.isDead() {
				err = errCrashed
				return
			}
			event.Kind, event.Err = Handled, err
			if !returned { // it panics: the program decides what becomes of that
				event.Kind, event.Text = Failed, "panicked"
			} else if err != nil {
				event.Kind = Failed
			}
			p.w.journal.add(event)
			if p.point(After, Handle) {
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
