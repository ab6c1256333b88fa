package shapes

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"golang.org/x/sync/errgroup"

	"github.com/kafka-katas/kafka-katas/harness"
)

const (
	oneQueue      = "one queue for both channels"
	threeHours    = "a night has three hours"
	impatient     = "a throttled send is tried again after a second"
	sendsAllAgain = "a failed channel sends the whole event again"
)

// tooMany is what a provider says that wants to be spared.
type tooMany struct{ retryAfter time.Duration }

func (e tooMany) Error() string {
	return fmt.Sprintf("too many requests, retry after %v", e.retryAfter)
}

// queue is one way to reach a user, with a consumer group of its own: what one waits for is no business of the others.
type queue struct {
	send    func(user, event string) error
	atNight bool // may wake people up
	client  *kgo.Client
	handle  func(context.Context, *kgo.Record) error
}

type notifier struct {
	queues  []*queue
	mistake string
}

func notifierOf(triggers *harness.Topic, mail, text channel, mistake string) func(p *harness.Process) (harness.Runner, error) {
	return func(p *harness.Process) (harness.Runner, error) {
		n := &notifier{mistake: mistake}
		for _, c := range []channel{mail, text} {
			client, err := kgo.NewClient(append(p.Options(), kgo.ConsumerGroup(c.Name), kgo.ConsumeTopics(triggers.Name),
				kgo.DisableAutoCommit(), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))...)
			if err != nil {
				return nil, err
			}
			q := &queue{client: client, atNight: c == mail}
			q.send = func(user, event string) error { return c.Do(p, event+" to "+user, nil) }
			q.handle = c.Handler(p, func(ctx context.Context, r *kgo.Record) error { return n.deliver(ctx, q, r) })
			n.queues = append(n.queues, q)
		}
		return n, nil
	}
}

func (n *notifier) Run(ctx context.Context) error {
	var all errgroup.Group
	for i, q := range n.queues {
		all.Go(func() error {
			defer q.client.Close()
			switch {
			case n.mistake != oneQueue && n.mistake != sendsAllAgain:
				return q.consume(ctx, q.handle)
			case i == 0:
				return q.consume(ctx, n.queues[0].handle, n.queues[1].handle)
			}
			return nil
		})
	}
	return all.Wait()
}

func (q *queue) consume(ctx context.Context, handlers ...func(context.Context, *kgo.Record) error) error {
	for ctx.Err() == nil {
		for _, r := range q.client.PollRecords(ctx, 10).Records() {
			for _, handle := range handlers {
				if handle(ctx, r) != nil {
					return nil
				}
			}
			// The sends before the commit: a crash between them repeats a send, and the provider knows its key.
			if q.client.CommitRecords(ctx, r) != nil {
				return nil
			}
		}
	}
	return nil
}

// deliver sends as late as it has to be sent; an error means that ctx ended first.
func (n *notifier) deliver(ctx context.Context, q *queue, r *kgo.Record) error {
	for {
		if !q.atNight && !waited(ctx, n.night(time.Now())) {
			return ctx.Err()
		}
		err := q.send(string(r.Key), string(r.Value))
		var throttled tooMany
		switch {
		case err == nil:
			return nil
		case !errors.As(err, &throttled) || n.mistake == impatient:
			throttled.retryAfter = time.Second
		}
		if !waited(ctx, throttled.retryAfter) {
			return ctx.Err()
		}
		if n.mistake == sendsAllAgain {
			for _, other := range n.queues {
				if other != q && other.send(string(r.Key), string(r.Value)) != nil {
					return ctx.Err()
				}
			}
		}
	}
}

// night is how long nobody may be woken up: from 01:00 to 04:00 by the user's clock, however many hours that is.
func (n *notifier) night(now time.Time) time.Duration {
	zone, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		return 0
	}
	now = now.In(zone)
	if now.Hour() < 1 || now.Hour() >= 4 {
		return 0
	}
	ends := time.Date(now.Year(), now.Month(), now.Day(), 4, 0, 0, 0, zone)
	if n.mistake == threeHours {
		ends = time.Date(now.Year(), now.Month(), now.Day(), 1, 0, 0, 0, zone).Add(3 * time.Hour)
	}
	return ends.Sub(now)
}
