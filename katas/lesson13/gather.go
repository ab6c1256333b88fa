package lesson13

import (
	"context"
	"errors"
	"time"
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
	// TODO: like Ask, for n replies.
	return Gathered{}, errors.New("lesson13: Requester.Gather is not written yet")
}

// Stream sends a request and calls each with the parts of its answer, in order, none twice and none left out, until the
// last one. Its timeout is for the whole stream. The error is that of Ask, what each returned, or ErrTooSlow: each is
// called by the goroutine that called Stream, and while it works parts wait, at most StreamBuffer of them.
func (q *Requester) Stream(ctx context.Context, request Request, each func(Reply) error) error {
	// TODO: like Ask, part by part.
	return errors.New("lesson13: Requester.Stream is not written yet")
}

// Submit sends a request and returns its correlation id as soon as the request is durable. Nobody waits for the answer:
// it goes to CallbackTopic, if there is one, under that id, and is what Responder.Status tells of it. The request has a
// deadline only if request.Timeout is set. ctx bounds the sending; the errors are ErrNotSent, ErrTimeout (ctx's deadline:
// it is not known whether it was sent), context.Canceled and ErrClosed.
func (q *Requester) Submit(ctx context.Context, request Request) (id string, err error) {
	// TODO: send without waiting for a reply; wait for the acknowledgement.
	return "", errors.New("lesson13: Requester.Submit is not written yet")
}

// Poll asks lookup for the status of a submitted request, at once and then every interval, until it is StateDone, and
// returns the answer's parts or its *RemoteError. A lookup that fails is repeated at the next interval like one that is
// not done. When ctx ends, Poll returns ctx's error, joined with that of the last lookup if it failed.
func Poll(ctx context.Context, id string, every time.Duration, lookup func(ctx context.Context, id string) (Status, error)) ([][]byte, error) {
	// TODO: look, wait, look again.
	return nil, errors.New("lesson13: Poll is not written yet")
}
