package lesson13

import (
	"context"
	"errors"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/kafka-katas/kafka-katas/ops"
)

// What a request can come to, beside a reply and a *RemoteError. Each says something else about the work: after
// ErrTooMany and ErrNotSent nobody has seen the request; after ErrTimeout and ErrClosed it may have been done.
var (
	// ErrTimeout: there was no reply by the deadline. If it was the deadline of the caller's context, the error is
	// context.DeadlineExceeded as well.
	ErrTimeout = errors.New("no reply in time")
	// ErrNotSent: the request could not be produced. The error wraps the client's as well.
	ErrNotSent = errors.New("the request could not be sent")
	// ErrTooMany: MaxInFlight requests wait for their replies already, and WhenFull is FullFails.
	ErrTooMany = errors.New("too many requests in flight")
	// ErrClosed: the requester was closed, or its Run has ended, before there was a reply.
	ErrClosed = errors.New("the requester is closed")
	// ErrDecode: there was a reply, and it is not what was expected.
	ErrDecode = errors.New("the reply cannot be decoded")
	// ErrTooSlow: more than StreamBuffer parts of a stream waited for their reader.
	ErrTooSlow = errors.New("the stream's reader is too slow")
)

// Request is a question.
type Request struct {
	Key, Value []byte
	Headers    []kgo.RecordHeader // further ones; those that a requester sets itself it may not contain
	Timeout    time.Duration      // how long to wait for the reply; 0 is RequesterConfig.Timeout
}

// Reply is an answer, or one part of it.
type Reply struct {
	Value     []byte
	Headers   []kgo.RecordHeader
	Responder string // who replied
	Err       error  // a *RemoteError if the reply is an error; only Gather returns such replies
}

// Requester sends requests and hands each reply to whoever waits for it. Its methods are safe for concurrent use.
type Requester struct {
	// TODO: the client, who waits for which correlation id, and a meter.Meter (see ops/meter) for Stats and Health.
}

// NewRequester makes a requester. It returns what Validate says of cfg, and an error for options that the client
// refuses. It does not wait for the network; Run makes the client. opts are the client's own (brokers, dialer, TLS …).
func NewRequester(cfg RequesterConfig, opts ...kgo.Opt) (*Requester, error) {
	// TODO: validate, then check the options by kgo.ValidateOpts. Run makes the client.
	return nil, errors.New("lesson13: NewRequester is not written yet")
}

// Run listens to the reply partition until ctx ends or Close is called, and returns nil. It begins at the partition's
// end: replies that are there already answer nobody who is here now. Requests wait until that place is known, within
// their timeouts. While Kafka is away, or the reply partition does not exist, Run tries again and Health says why.
// It belongs to no consumer group: every instance hears everything on its partition. Run may be called once.
func (q *Requester) Run(ctx context.Context) error {
	// TODO: find the end of the reply partition (kadm), consume it from there without a group, hand out each reply.
	return errors.New("lesson13: Requester.Run is not written yet")
}

// Close ends Run and waits until it has returned. Whoever waits for a reply gets ErrClosed at once, as does every later
// request. It may be called more than once, and without Run.
func (q *Requester) Close() {
	// TODO: whoever waits is told at once.
}

// Ask sends a request and waits for its reply: the first part of an answer that comes. Its timeout runs from the call and
// covers everything: listening that has not begun, a wait for one of MaxInFlight places, the request's way and the
// reply's.
//
// The error is a *RemoteError if that is what was replied, ErrTimeout at the deadline (the timeout's or that of ctx,
// whichever is earlier), context.Canceled when ctx is cancelled, or one of ErrNotSent, ErrTooMany, ErrClosed: each as
// soon as it is so. Whatever it comes to, nothing of the request is left behind: what comes later is dropped.
func (q *Requester) Ask(ctx context.Context, request Request) (Reply, error) {
	// TODO: register, then send, then wait; whatever happens, forget.
	return Reply{}, errors.New("lesson13: Requester.Ask is not written yet")
}

// AskJSON asks and decodes the reply's value as JSON into a T. A value that is none is an error that is ErrDecode.
func AskJSON[T any](ctx context.Context, q *Requester, request Request) (T, error) {
	// TODO: ask, then decode.
	var none T
	return none, errors.New("lesson13: AskJSON is not written yet")
}

// Waiting is how many requests wait for a reply now.
func (q *Requester) Waiting() int {
	// TODO
	return 0
}

// Stats returns a snapshot, from memory. Its records are replies: Processed reached a caller, Filtered reached nobody.
// Latency is that of requests that were replied to, from the call to its return; a remote error is a reply. Extra has
//
//	requests            calls of Ask, Gather, Stream and Submit that have ended; the next eight add up to it
//	replied             with a reply (Gather: with all; Submit: sent)
//	remote_errors       with a *RemoteError
//	timeouts            with ErrTimeout, or a gathering that is not complete
//	cancelled           because the caller's context was cancelled
//	not_sent, rejected  with ErrNotSent, with ErrTooMany
//	closed              with ErrClosed
//	failed              with anything else, such as ErrTooSlow or the error of a stream's reader
//	unawaited_replies   replies to this requester that nobody waited for: too late, or once more
//	foreign_replies     replies to others, or to an earlier life of this one
//	waiting             requests that wait for their reply now
func (q *Requester) Stats() ops.Stats {
	// TODO: the meter's, the latencies, and what is waiting.
	return ops.Stats{}
}

// ResetStats starts a new period, as [ops.Controls] describes.
func (q *Requester) ResetStats() {
	// TODO
}

// Health says whether the process should live and whether it may be relied on, from memory: the checks of ops/meter for a
// service without a group, and
//
//	"replies"  readiness: the place to listen from is known, so that requests can be sent
func (q *Requester) Health() ops.Health {
	// TODO: the meter's.
	return ops.Health{}
}

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
