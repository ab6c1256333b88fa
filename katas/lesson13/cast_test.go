package lesson13

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/kafka-katas/kafka-katas/harness"
)

func TestMain(m *testing.M) {
	slog.SetDefault(slog.New(slog.NewTextHandler(io.Discard, nil))) // what a service logs is not judged
	harness.Main(m)
}

// shop is a process that asks.
type shop struct {
	*harness.Process
	*Requester
}

// startShop starts a requester as configured.
func startShop(w *harness.World, name string, cfg RequesterConfig) *shop {
	s := &shop{}
	s.Process = w.Start(name, func(p *harness.Process) (harness.Runner, error) {
		q, err := NewRequester(cfg, p.Options()...)
		s.Requester = q
		if q == nil {
			return nil, err
		}
		return q, err
	})
	return s
}

// desk is the other side, as the story plays it: it reads the requests that were sent and replies as the story wishes.
type desk struct {
	w                 *harness.World
	requests, replies *harness.Topic
}

func newDesk(w *harness.World) *desk {
	return &desk{w, w.Topic("price-requests", 1), w.Topic("price-replies", 2)}
}

// config is the default configuration for a requester at this desk, changed as the story needs it.
func (d *desk) config(changes ...func(*RequesterConfig)) RequesterConfig {
	cfg := DefaultRequesterConfig()
	cfg.Topic, cfg.ReplyTopic = d.requests.Name, d.replies.Name
	for _, change := range changes {
		change(&cfg)
	}
	return cfg
}

// asked waits until n requests have been sent, and returns them in the order in which they were.
func (d *desk) asked(n int) []*kgo.Record {
	d.w.Within(30*time.Second, sent(d.requests, n))
	return d.requests.Records()
}

// sent claims that at least n records were written to a topic.
//
//go:noinline
func sent(t *harness.Topic, n int) harness.Claim {
	return func(w *harness.World) error {
		if got := len(w.Journal().Events(harness.Of(harness.Produced), on(t))); got < n {
			return harness.Broke[harness.Stuck]("whoever waits for a record that is never sent waits for ever", "%d records were written to %s; there should be %d", got, t, n)
		}
		return nil
	}
}

// on picks the events of a topic.
func on(t *harness.Topic) func(harness.Event) bool {
	return func(e harness.Event) bool { return e.Topic == t.Name }
}

// reply writes a reply to a request where it asks for it.
func (d *desk) reply(request *kgo.Record, value string, headers ...string) {
	partition, _ := Header(request, HeaderReplyPartition)
	n, _ := strconv.Atoi(partition)
	d.replies.To(int32(n), replyTo(request, value, headers...))
}

// replyTo is a reply to a request; headers come in pairs.
func replyTo(request *kgo.Record, value string, headers ...string) *kgo.Record {
	id, _ := Header(request, HeaderCorrelationID)
	return record("", value, append([]string{HeaderCorrelationID, id}, headers...)...)
}

// record makes a record; headers come in pairs.
func record(key, value string, headers ...string) *kgo.Record {
	r := &kgo.Record{Value: []byte(value)}
	if key != "" {
		r.Key = []byte(key)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		r.Headers = append(r.Headers, kgo.RecordHeader{Key: headers[i], Value: []byte(headers[i+1])})
	}
	return r
}

// asks is a caller who wants the price of a numbered thing, and of no other.
func (s *shop) asks(thing string, timeout time.Duration) func(context.Context, int) error {
	return func(ctx context.Context, i int) error {
		name := fmt.Sprintf("%s-%d", thing, i)
		reply, err := s.Ask(ctx, Request{Key: []byte(name), Value: []byte(name), Timeout: timeout})
		return misrouted(name, reply, err)
	}
}

// misrouted is err, or that the reply is somebody else's.
func misrouted(thing string, reply Reply, err error) error {
	if want := "price of " + thing; err == nil && string(reply.Value) != want {
		return harness.Broke[harness.Misrouted]("a reply belongs to whoever asked for it: another's is a wrong price in a stranger's basket",
			"who asked for %s was told %q", thing, reply.Value)
	}
	return err
}

// priceOf replies to a request what its value asks for.
func (d *desk) priceOf(requests ...*kgo.Record) {
	for _, r := range requests {
		d.reply(r, "price of "+string(r.Value))
	}
}

// nobodyWaits claims that nothing of the requests that are over is left.
//
//go:noinline
func (s *shop) nobodyWaits() harness.Claim {
	return func(w *harness.World) error {
		if n := s.Waiting(); n != 0 {
			return harness.Broke[harness.Leaked]("an entry for each request that nobody answers is a slow way to run out of memory",
				"at %v %s waits for %d replies; nobody does", w.Now(), s.Name, n)
		}
		return nil
	}
}

// counted claims what a requester's Extra says under some names, such as "timeouts=1 foreign_replies=2".
//
//go:noinline
func (s *shop) counted(want string) harness.Claim { return extra(s.Name, s.Stats, want) }

// remote claims that a call's error is a *RemoteError with this code, and nothing else.
func remote(err error, code string) error {
	var e *RemoteError
	switch {
	case unwritten(err):
		return err
	case !errors.As(err, &e):
		return harness.Broke[harness.Misreported]("who takes a refusal for an outage asks again, and is refused again", "the other side replied the error %s; the caller was told: %v", code, err)
	case e.Code != code:
		return harness.Broke[harness.Misreported]("a program decides by the code", "the other side replied the error %s; the caller was told %s", code, e.Code)
	case errors.Is(err, ErrTimeout), errors.Is(err, ErrDecode), errors.Is(err, ErrNotSent), errors.Is(err, ErrClosed):
		return harness.Broke[harness.Misreported]("each kind of failure asks for something else to be done", "the other side replied the error %s; the caller's error is another kind as well: %v", code, err)
	}
	return nil
}

func unwritten(err error) bool {
	return err != nil && strings.Contains(err.Error(), "is not written yet")
}

// pricing is a process that answers.
type pricing struct {
	*harness.Process
	*Responder
}

// priced is what a handler under test is: it is told its process, for effects.
type priced func(p *harness.Process, ctx context.Context, request *kgo.Record) ([][]byte, error)

// startPricing starts a responder as configured; without a shelf it keeps its answers in memory.
func startPricing(w *harness.World, name string, cfg ResponderConfig, shelf *shelf, handle priced) *pricing {
	s := &pricing{}
	s.Process = w.Start(name, func(p *harness.Process) (harness.Runner, error) {
		var store Store
		if shelf != nil {
			store = access{shelf, p}
		}
		r, err := NewResponder(cfg, store, journalled(p, handle), p.Options()...)
		s.Responder = r
		if r == nil {
			return nil, err
		}
		return r, err
	})
	return s
}

type answerKey struct{}

// journalled is a handler whose calls are in the story's journal.
func journalled(p *harness.Process, handle priced) Handler {
	journal := p.Handler(func(ctx context.Context, r *kgo.Record) (err error) {
		parts := ctx.Value(answerKey{}).(*[][]byte)
		*parts, err = handle(p, ctx, r)
		return err
	})
	return func(ctx context.Context, r *kgo.Record) ([][]byte, error) {
		var parts [][]byte
		err := journal(context.WithValue(ctx, answerKey{}, &parts), r)
		return parts, err
	}
}

// quote is a handler that prices what the request's value names, at once.
func quote(_ *harness.Process, _ context.Context, r *kgo.Record) ([][]byte, error) {
	return [][]byte{[]byte("price of " + string(r.Value))}, nil
}

// quoteOnce is a handler that has an effect for each request, by its value, and then prices it.
func quoteOnce(work *harness.Effects) priced {
	return func(p *harness.Process, ctx context.Context, r *kgo.Record) ([][]byte, error) {
		if err := work.Do(p, string(r.Value), nil); err != nil {
			return nil, err
		}
		return quote(p, ctx, r)
	}
}

// takes is a handler that needs that long for each request, and gives up when it is told to.
func takes(d time.Duration) priced {
	return func(p *harness.Process, ctx context.Context, r *kgo.Record) ([][]byte, error) {
		select {
		case <-time.After(d):
			return quote(p, ctx, r)
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// counterpart is the topics of a story about responders.
type counterpart struct {
	*desk
	dead  *harness.Topic
	group *harness.Group
}

func newCounterpart(w *harness.World) *counterpart {
	return &counterpart{newDesk(w), w.Topic("price-requests-dlt", 1), w.Group("pricing")}
}

// answering is the default configuration for a responder here, changed as the story needs it.
func (c *counterpart) answering(changes ...func(*ResponderConfig)) ResponderConfig {
	cfg := DefaultResponderConfig()
	cfg.Group, cfg.Topics, cfg.ReplyTopics, cfg.DeadLetterTopic = c.group.Name, []string{c.requests.Name}, []string{c.replies.Name}, c.dead.Name
	for _, change := range changes {
		change(&cfg)
	}
	return cfg
}

// request is a request for the price of a thing, which wants its reply on partition 1. Further headers come in pairs; one
// that is given replaces the usual one, and "" as its value leaves it out.
func (c *counterpart) request(thing string, headers ...string) *kgo.Record {
	all := []string{HeaderCorrelationID, "id-" + thing, HeaderReplyTo, c.replies.Name, HeaderReplyPartition, "1"}
	for i := 0; i+1 < len(headers); i += 2 {
		if at := slices.Index(all, headers[i]); at >= 0 {
			all = slices.Delete(all, at, at+2)
		}
		if headers[i+1] != "" {
			all = append(all, headers[i], headers[i+1])
		}
	}
	return record(thing, thing, all...)
}

// ask writes requests for the prices of things.
func (c *counterpart) ask(things ...string) {
	for _, thing := range things {
		c.requests.To(0, c.request(thing))
	}
}

// repliedTo are the replies on a topic, by the thing that was asked for.
func repliedTo(t *harness.Topic, thing string) (out []*kgo.Record) {
	for _, r := range t.Records() {
		if id, _ := Header(r, HeaderCorrelationID); id == "id-"+thing {
			out = append(out, r)
		}
	}
	return out
}

// replied claims that each of these has a reply with its price on partition 1 of the reply topic.
//
//go:noinline
func (c *counterpart) replied(things ...string) harness.Claim {
	return func(*harness.World) error {
		for _, thing := range things {
			replies := repliedTo(c.replies, thing)
			if len(replies) == 0 {
				return harness.Broke[harness.Lost]("a request without a reply is a caller who waits until its deadline for nothing", "nobody has replied to the request for %s", thing)
			}
			for _, r := range replies {
				if r.Partition != 1 {
					return harness.Broke[harness.Misrouted]("who listens to one partition hears nothing of another", "the reply about %s went to partition %d; its %s says 1", thing, r.Partition, HeaderReplyPartition)
				}
				if want := "price of " + thing; string(r.Value) != want {
					return harness.Broke[harness.Misrouted]("a reply belongs to its request", "the reply about %s says %q", thing, r.Value)
				}
			}
		}
		return nil
	}
}

// repliedOnce claims that each of these has exactly one reply.
//
//go:noinline
func (c *counterpart) repliedOnce(things ...string) harness.Claim {
	return harness.All(c.replied(things...), func(*harness.World) error {
		for _, thing := range things {
			if n := len(repliedTo(c.replies, thing)); n != 1 {
				return harness.Broke[harness.Duplicated]("nothing has gone wrong here that a second reply would be the price of", "the request for %s was replied to %d times", thing, n)
			}
		}
		return nil
	})
}

// shelf is a store outside every process, as a database is. It can be away.
type shelf struct {
	stores  *harness.Effects
	mu      sync.Mutex
	answers map[string]Answer
	saved   int
	away    error
}

func newShelf(w *harness.World) *shelf {
	return &shelf{stores: w.Effects("stored"), answers: map[string]Answer{}}
}

// is makes the shelf away, or there again.
func (s *shelf) is(away error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.away = away
}

// access is a process's way to the shelf. Between the two the process can crash.
type access struct {
	*shelf
	p *harness.Process
}

// Load returns what was saved.
func (s access) Load(_ context.Context, id string) (Answer, bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a, found := s.answers[id]
	return a, found && s.away == nil, s.away
}

// Save keeps an answer.
func (s access) Save(_ context.Context, id string, a Answer) error {
	return s.stores.Do(s.p, id, func() error {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.away == nil {
			s.answers[id] = a
			s.saved++
		}
		return s.away
	})
}
