package lesson07

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/kafka-katas/kafka-katas/harness"
	"github.com/kafka-katas/kafka-katas/ops"
)

func TestMain(m *testing.M) {
	slog.SetDefault(slog.New(slog.NewTextHandler(io.Discard, nil))) // what a service logs is not judged
	harness.Main(m)
}

// member is one consumer of a story: the process, and the consumer that runs in it.
type member struct {
	*harness.Process
	*Consumer
}

// start starts a member that works for a group as configured.
func start(w *harness.World, name string, cfg Config, handle Handler, opts ...kgo.Opt) *member {
	m := &member{}
	m.Process = w.Start(name, func(p *harness.Process) (harness.Runner, error) {
		c, err := New(cfg, p.Handler(handle), append(p.Options(), opts...)...)
		m.Consumer = c
		if c == nil {
			return nil, err
		}
		return c, err
	})
	return m
}

// often has a client ask for records ten times a second. By default it asks once in 5 s while nothing new comes, and a
// partition that is added just after it asked waits for that long.
var often = kgo.FetchMaxWait(100 * time.Millisecond)

// restart begins the next life of a member.
func (m *member) restart() *member {
	m.Process = m.Process.Restart()
	return m
}

// config is the default configuration for a group on these topics, changed as the story needs it.
func config(g *harness.Group, topic *harness.Topic, changes ...func(*Config)) Config {
	cfg := DefaultConfig()
	cfg.Group, cfg.Topics = g.Name, []string{topic.Name}
	for _, change := range changes {
		change(&cfg)
	}
	return cfg
}

// atOnce is a handler that is done at once.
func atOnce(context.Context, *kgo.Record) error { return nil }

// takes is a handler that works that long on each record, and gives up when it is told to.
func takes(d time.Duration) Handler {
	return func(ctx context.Context, _ *kgo.Record) error {
		select {
		case <-time.After(d):
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// slowOn is a handler that needs that long for records of one partition and nothing for others.
func slowOn(partition int32, d time.Duration) Handler {
	slow := takes(d)
	return func(ctx context.Context, r *kgo.Record) error {
		if r.Partition != partition {
			return nil
		}
		return slow(ctx, r)
	}
}

// hangs is a handler that works until it is told to give up.
func hangs(ctx context.Context, _ *kgo.Record) error {
	<-ctx.Done()
	return ctx.Err()
}

var errFlaky = errors.New("the order service is away")

// failsFirst is a handler whose first n attempts fail.
func failsFirst(n int) Handler {
	attempts := make(chan struct{}, n)
	return func(context.Context, *kgo.Record) error {
		select {
		case attempts <- struct{}{}:
			return errFlaky
		default:
			return nil
		}
	}
}

// reported claims that what a member reports is true. What happened to it lately is shown.
//
//go:noinline
func (m *member) reported(check func() error) harness.Claim {
	return func(w *harness.World) error {
		return harness.Shown(harness.Reported(check)(w), m.lately(w)...)
	}
}

// lately is what a member's reports should speak of: what was done to it, and the last that it did.
func (m *member) lately(w *harness.World) []harness.Event {
	last := func(n int, filters ...func(harness.Event) bool) []harness.Event {
		events := w.Journal().Events(filters...)
		return events[max(0, len(events)-n):]
	}
	return harness.Merge(
		last(2, harness.Of(harness.Disturbed)),
		last(2, harness.By(m.Name), harness.Of(harness.Isolated, harness.Healed, harness.Refused, harness.Left)),
		last(1, harness.By(m.Name), harness.Of(harness.Assigned)),
		last(2, harness.By(m.Name), harness.Of(harness.Failed)),
		last(1, harness.By(m.Name), harness.Of(harness.Committed)),
		last(2, harness.By(m.Name), harness.Of(harness.Began, harness.Handled)),
	)
}

// counts claims that a member's totals are these.
//
//go:noinline
func (m *member) counts(what string, want int64, pick func(ops.Counts) int64) harness.Claim {
	return m.reported(func() error {
		if got := pick(m.Stats().Totals); got != want {
			return fmt.Errorf("%s reports %d %s; it should be %d", m.Name, got, what, want)
		}
		return nil
	})
}

// healthy claims what a member's health says of liveness and readiness.
//
//go:noinline
func (m *member) healthy(live, ready bool) harness.Claim {
	return func(w *harness.World) error {
		return m.reported(func() error {
			h := m.Health()
			if of := ops.HealthOf(h.Checks...); of.Live != h.Live || of.Ready != h.Ready {
				return fmt.Errorf("%s says live=%t and ready=%t; by its checks it is live=%t and ready=%t: %+v", m.Name, h.Live, h.Ready, of.Live, of.Ready, h.Checks)
			}
			if h.Live == live && h.Ready == ready {
				return nil
			}
			cause := h.Cause()
			if cause == "" {
				cause = "no check fails"
			}
			return fmt.Errorf("at %v %s says live=%t and ready=%t (%s); it should be live=%t and ready=%t", w.Now(), m.Name, h.Live, h.Ready, cause, live, ready)
		})(w)
	}
}

func processes(members ...*member) []*harness.Process {
	var out []*harness.Process
	for _, m := range members {
		out = append(out, m.Process)
	}
	return out
}

// neverMoreThan claims that a member never had more than n records in work at once.
//
//go:noinline
func (m *member) neverMoreThan(n int) harness.Claim {
	return func(w *harness.World) error {
		_, most := m.InWork()
		if most <= n {
			return nil
		}
		var open []harness.Event
		for _, e := range w.Journal().Events(harness.By(m.Name), harness.Of(harness.Began, harness.Handled, harness.Failed)) {
			if open = slices.DeleteFunc(open, func(b harness.Event) bool { return b.Call == e.Call }); e.Kind == harness.Began {
				open = append(open, e)
			}
			if len(open) > n {
				break
			}
		}
		return harness.Shown(harness.Broke[harness.Overlapped]("more at once than was asked for takes the ground from under limits, pools and partners",
			"%s had %d records in work at once; Concurrency allows %d", m.Name, most, n), open...)
	}
}

// failed claims that a member's handler has failed n times at least.
//
//go:noinline
func failed(m *member, n int) harness.Claim {
	return func(w *harness.World) error {
		if got := len(w.Journal().Events(harness.Of(harness.Failed), harness.By(m.Name))); got < n {
			return harness.Broke[harness.Stuck]("a failed record must come again", "the handler of %s has failed %d times; it should be %d by now", m.Name, got, n)
		}
		return nil
	}
}
