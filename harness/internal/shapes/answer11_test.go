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
	nineHours     = "a night has nine hours"
	impatient     = "a throttled send is tried again after a second"
	sendsAllAgain = "a failed channel sends the whole event again"
)

// tooMany is what a provider says that wants to be spared.
type tooMany struct{ retryAfter time.Duration }

func (e tooMany) Error() string {
	return fmt.Sprintf("too many requests, retry after %v", e.retryAfter)
}

// channel is one way to reach a user.
type channel struct {
	send     func(ctx context.Context, user, event string) error
	atNight  bool // may wake people up
	consumer *kgo.Client
}

// notifier has a consumer group for each channel: what one waits for is no business of the others.
type notifier struct {
	channels []*channel
	mistake  string
}

func notifierOf(triggers *harness.Topic, mail, text *harness.Effects, mistake string) func(p *harness.Process) (harness.Runner, error) {
	return func(p *harness.Process) (harness.Runner, error) {
		n := &notifier{mistake: mistake}
		for _, e := range []*harness.Effects{mail, text} {
			client, err := kgo.NewClient(append(p.Options(), kgo.ConsumerGroup(fmt.Sprintf("notify-by-%d", len(n.channels))), kgo.ConsumeTopics(triggers.Name),
				kgo.DisableAutoCommit(), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))...)
			if err != nil {
				return nil, err
			}
			n.channels = append(n.channels, &channel{atNight: e == mail, consumer: client, send: func(_ context.Context, user, event string) error {
				return e.Do(p, event+" to "+user, nil)
			}})
		}
		return n, nil
	}
}

func (n *notifier) Run(ctx context.Context) error {
	var all errgroup.Group
	for _, c := range n.channels {
		all.Go(func() error {
			defer c.consumer.Close()
			if n.mistake == oneQueue || n.mistake == sendsAllAgain {
				if c != n.channels[0] {
					return nil
				}
				return n.consume(ctx, c.consumer, n.channels...)
			}
			return n.consume(ctx, c.consumer, c)
		})
	}
	return all.Wait()
}

func (n *notifier) consume(ctx context.Context, client *kgo.Client, channels ...*channel) error {
	for ctx.Err() == nil {
		for _, r := range client.PollRecords(ctx, 10).Records() {
			for _, c := range channels {
				if !n.deliver(ctx, c, r, channels) {
					return nil
				}
			}
			// The sends before the commit: a crash between them repeats a send, and the provider knows its key.
			if client.CommitRecords(ctx, r) != nil {
				return nil
			}
		}
	}
	return nil
}

// deliver sends over one channel, as late as it has to be; false if ctx ended first.
func (n *notifier) deliver(ctx context.Context, c *channel, r *kgo.Record, all []*channel) bool {
	for {
		if !c.atNight && !waited(ctx, n.night(time.Now())) {
			return false
		}
		err := c.send(ctx, string(r.Key), string(r.Value))
		var throttled tooMany
		switch {
		case err == nil:
			return true
		case !errors.As(err, &throttled) || n.mistake == impatient:
			throttled.retryAfter = time.Second
		}
		if !waited(ctx, throttled.retryAfter) {
			return false
		}
		if n.mistake == sendsAllAgain {
			for _, other := range all {
				if other != c && other.send(ctx, string(r.Key), string(r.Value)) != nil {
					return false
				}
			}
		}
	}
}

// night is how long nobody may be woken up: from 22:00 to 07:00 by the user's clock, however many hours that is.
func (n *notifier) night(now time.Time) time.Duration {
	zone, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		return 0
	}
	now = now.In(zone)
	ends := time.Date(now.Year(), now.Month(), now.Day(), 7, 0, 0, 0, zone)
	if now.Hour() >= 22 {
		ends = time.Date(now.Year(), now.Month(), now.Day()+1, 7, 0, 0, 0, zone)
		if n.mistake == nineHours {
			ends = time.Date(now.Year(), now.Month(), now.Day(), 22, 0, 0, 0, zone).Add(9 * time.Hour)
		}
	}
	if now.Hour() >= 22 || now.Hour() < 7 {
		return ends.Sub(now)
	}
	return 0
}
