package lesson13

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// Gathered is what several services replied to one request.
type Gathered struct {
	Replies []Reply // in the order in which they came; one that is an error has Err
	Missing int     // how many did not come in time: 0 is complete
}

// Gather sends one request and waits for the replies of n different responders. A second reply of the same responder
// does not count. At the deadline it returns what there is, with Missing above 0 and no error, also if there is nothing:
// what to do with a part is for the caller to say. Other errors are those of Ask, with what came before.
func (q *Requester) Gather(ctx context.Context, request Request, n int) (Gathered, error) {
	if n < 1 {
		return Gathered{}, fmt.Errorf("lesson13: Gather of %d replies: must be at least 1", n)
	}
	var g Gathered
	err := q.ask(ctx, request, &waiter{wants: n, from: map[string]bool{}}, func(r Reply) error {
		g.Replies = append(g.Replies, r)
		return nil
	})
	g.Missing = n - len(g.Replies)
	if errors.Is(err, ErrTimeout) {
		err = nil
	}
	return g, err
}

// Stream sends a request and calls each with the parts of its answer, in order, none twice and none left out, until the
// last one. Its timeout is for the whole stream. The error is that of Ask, what each returned, or ErrTooSlow: each is
// called by the goroutine that called Stream, and while it works parts wait, at most StreamBuffer of them.
func (q *Requester) Stream(ctx context.Context, request Request, each func(Reply) error) error {
	return q.ask(ctx, request, &waiter{stream: true, limit: q.cfg.StreamBuffer}, func(r Reply) error {
		if r.Err != nil {
			return r.Err
		}
		return each(r)
	})
}

// acceptPart takes the next part of a stream. One that was there already (a responder that crashed in the middle sends
// all of them again) is dropped, and so is one with a gap in front of it: whoever sends again sends that one too.
func (w *waiter) acceptPart(r *kgo.Record, reply Reply) bool {
	part, numbered := Header(r, HeaderPart)
	if n, err := strconv.Atoi(part); numbered && (err != nil || n != w.taken) {
		return false
	}
	if len(w.replies) >= w.limit {
		w.done, w.err = true, ErrTooSlow
		return true
	}
	w.replies = append(w.replies, reply)
	w.taken++
	_, last := Header(r, HeaderEnd)
	w.done = last || !numbered || reply.Err != nil
	return true
}

// Submit sends a request and returns its correlation id as soon as the request is durable. Nobody waits for the answer:
// it goes to CallbackTopic, if there is one, under that id, and is what Responder.Status tells of it. The request has a
// deadline only if request.Timeout is set. ctx bounds the sending; the errors are ErrNotSent, ErrTimeout (ctx's deadline:
// it is not known whether it was sent), context.Canceled and ErrClosed.
func (q *Requester) Submit(ctx context.Context, request Request) (id string, err error) {
	began := time.Now()
	defer func() { q.count(began, err) }()
	select {
	case <-q.ready:
	case <-q.closed:
		return "", ErrClosed
	case <-ctx.Done():
		return "", q.gaveUp(ctx)
	}
	id = q.prefix + strconv.FormatUint(q.last.Add(1), 10)
	r := q.record(request, id)
	if q.cfg.CallbackTopic != "" {
		r.Headers = append(r.Headers, kgo.RecordHeader{Key: HeaderReplyTo, Value: []byte(q.cfg.CallbackTopic)})
	}
	if request.Timeout > 0 {
		r.Headers = append(r.Headers, kgo.RecordHeader{Key: HeaderDeadline, Value: []byte(FormatDeadline(began.Add(request.Timeout)))})
	}
	sent := make(chan error, 1)
	q.client.TryProduce(context.WithoutCancel(ctx), r, func(_ *kgo.Record, err error) { sent <- err })
	select {
	case err = <-sent:
		if err == nil {
			return id, nil
		}
		if errors.Is(err, kgo.ErrClientClosed) {
			return "", ErrClosed
		}
		return "", fmt.Errorf("%w: %w", ErrNotSent, err)
	case <-q.closed:
		return "", ErrClosed
	case <-ctx.Done():
		return "", q.gaveUp(ctx)
	}
}

// Poll asks lookup for the status of a submitted request, at once and then every interval, until it is StateDone, and
// returns the answer's parts or its *RemoteError. A lookup that fails is repeated at the next interval like one that is
// not done. When ctx ends, Poll returns ctx's error, joined with that of the last lookup if it failed.
func Poll(ctx context.Context, id string, every time.Duration, lookup func(ctx context.Context, id string) (Status, error)) ([][]byte, error) {
	if every <= 0 {
		return nil, fmt.Errorf("lesson13: Poll every %v: must be longer than 0s", every)
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		status, err := lookup(ctx, id)
		if err == nil && status.State == StateDone {
			if status.Answer.Err != nil {
				return nil, status.Answer.Err
			}
			return status.Answer.Parts, nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil, errors.Join(ctx.Err(), err)
		}
	}
}
