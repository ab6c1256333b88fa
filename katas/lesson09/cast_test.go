package lesson09

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
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

// member is one consumer of a story: the process, and the service that runs in it.
type member struct {
	*harness.Process
	service ops.Source
	store   Store // the teller's own, if it has one
}

// start starts a consumer that works for a group as configured.
func start(w *harness.World, name string, cfg Config, handle Handler) *member {
	m := &member{}
	m.Process = w.Start(name, func(p *harness.Process) (harness.Runner, error) {
		c, err := New(cfg, p.Handler(handle), p.Options()...)
		if c == nil {
			return nil, err
		}
		m.service = c
		return c, err
	})
	return m
}

// teller starts a consumer that applies transfers once, by an inbox with this store, which several tellers may share.
func teller(w *harness.World, name string, cfg Config, store Store, apply Apply) *member {
	return opening(w, name, cfg, func(*harness.Process) (Store, error) { return lent{store}, nil }, func(*member) Apply { return apply })
}

// lent is a store that outlives those who use it.
type lent struct{ Store }

func (lent) Close() error { return nil }

// opening starts a teller that opens a store of its own.
func opening(w *harness.World, name string, cfg Config, open func(p *harness.Process) (Store, error), apply func(m *member) Apply) *member {
	m := &member{}
	m.Process = w.Start(name, func(p *harness.Process) (harness.Runner, error) {
		store, err := open(p)
		if err != nil {
			return nil, err
		}
		m.store = store
		own := &member{Process: p, store: store} // m has its process only when it runs already
		inbox, err := NewInbox(store, IDHeader("transfer-id"), apply(own))
		if err != nil {
			return nil, err
		}
		c, err := New(cfg, p.Handler(inbox.Handle), p.Options()...)
		if c == nil {
			return nil, err
		}
		m.service = c
		return harness.RunFunc(func(ctx context.Context) error {
			defer store.Close()
			return c.Run(ctx)
		}), err
	})
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

// given ends the story if something that it needs could not be had.
func given(w *harness.World, err error) {
	w.Helper()
	if err != nil {
		w.Claim(func(*harness.World) error { return err })
	}
}

// memory is a store of the story's, with the default limits unless others are given.
func memory(w *harness.World, limits ...Deduplication) Store {
	w.Helper()
	limits = append(limits, DefaultConfig().Deduplication)
	store, err := NewMemoryStore(limits[0])
	given(w, err)
	return store
}

// transfer is the message that asks for a transfer; the same id is the same transfer.
func transfer(id string) *kgo.Record {
	return &kgo.Record{Key: []byte(id), Value: []byte("30 from anna to bob"), Headers: []kgo.RecordHeader{{Key: "transfer-id", Value: []byte(id)}}}
}

// transfers are n of them, with ids of their own.
func transfers(n int) (out []*kgo.Record) {
	for i := range n {
		out = append(out, transfer(fmt.Sprintf("t-%d", i)))
	}
	return out
}

// ids are the ids of n transfers.
func ids(n int) (out []string) {
	for i := range n {
		out = append(out, fmt.Sprintf("t-%d", i))
	}
	return out
}

// post is what a transfer comes to: its entry in the ledger. One that is made again is there again.
func post(_ context.Context, r *kgo.Record) (Write, error) { return enter(string(r.Key)), nil }

func enter(id string) Write {
	return func(tx Tx) error {
		before, err := tx.Get("entry/" + id)
		if err != nil {
			return err
		}
		return tx.Put("entry/"+id, append(before, '|'))
	}
}

// entries are the transfers in a store's ledger, each as often as it was entered.
func entries(store Store) func() []string {
	return func() (out []string) {
		err := store.Update(context.Background(), func(tx Tx) error {
			keys, err := tx.Keys("entry/")
			for _, key := range keys {
				value, err := tx.Get(key)
				if err != nil {
					return err
				}
				out = append(out, slices.Repeat([]string{strings.TrimPrefix(key, "entry/")}, len(value))...)
			}
			return err
		})
		if err != nil {
			out = append(out, "cannot be read: "+err.Error())
		}
		return out
	}
}

// ledger claims that exactly these transfers were entered, each once.
//
//go:noinline
func ledger(store Store, want ...string) harness.Claim {
	return harness.Once("transfers in the ledger", entries(store), want...)
}

// atOnce is a handler that is done at once.
func atOnce(context.Context, *kgo.Record) error { return nil }

// takes is a handler that works that long on each record, and gives up when it is told to.
func takes(d time.Duration) Handler {
	return func(ctx context.Context, _ *kgo.Record) error { return wait(ctx, d) }
}

func wait(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

var errFlaky = errors.New("the bank's core is away")

// slowOn is a handler that needs that long for records with this key, and nothing for others.
func slowOn(key string, d time.Duration) Handler {
	return func(ctx context.Context, r *kgo.Record) error {
		if string(r.Key) != key {
			return nil
		}
		return wait(ctx, d)
	}
}

// failsOn is a handler that fails on records with this key with these errors, one after the other; nil and after the last
// is success.
func failsOn(key string, errs ...error) Handler {
	left := make(chan error, len(errs))
	for _, err := range errs {
		left <- err
	}
	return func(_ context.Context, r *kgo.Record) error {
		if string(r.Key) != key {
			return nil
		}
		select {
		case err := <-left:
			return err
		default:
			return nil
		}
	}
}

// always is a handler that always fails on records with this key.
func always(key string, err error) Handler {
	return func(_ context.Context, r *kgo.Record) error {
		if string(r.Key) == key {
			return err
		}
		return nil
	}
}

// handled claims that each of these keys was handled to its end.
//
//go:noinline
func handled(keys ...string) harness.Claim {
	return func(w *harness.World) error {
		done := w.Journal().Events(harness.Of(harness.Handled))
		for _, key := range keys {
			if !slices.ContainsFunc(done, func(e harness.Event) bool { return e.Key == key }) {
				return harness.Shown(harness.Broke[harness.Lost]("at least once means: each record is handled, whatever crashes", "%s was never handled", key), w.Attempts(key)()...)
			}
		}
		return nil
	}
}

// begun claims that a record with that key is, or has been, in work that many times.
//
//go:noinline
func begun(key string, n int) harness.Claim {
	return func(w *harness.World) error {
		if got := len(w.Attempts(key)()); got < n {
			return harness.Broke[harness.Stuck]("nothing stands in its way", "%s has been begun %d times by %v; it should be %d times", key, got, w.Now(), n)
		}
		return nil
	}
}

// reported claims that what a member reports is true. What happened to it lately is shown.
//
//go:noinline
func (m *member) reported(check func() error) harness.Claim {
	return func(w *harness.World) error {
		last := func(n int, filters ...func(harness.Event) bool) []harness.Event {
			events := w.Journal().Events(filters...)
			return events[max(0, len(events)-n):]
		}
		return harness.Shown(harness.Reported(check)(w), harness.Merge(
			last(2, harness.By(m.Name), harness.Of(harness.Failed)),
			last(1, harness.By(m.Name), harness.Of(harness.Committed)),
			last(2, harness.By(m.Name), harness.Of(harness.Began, harness.Handled)),
		)...)
	}
}

// extra claims a counter of the lesson's own.
//
//go:noinline
func (m *member) extra(name string, want int64) harness.Claim {
	return m.reported(func() error {
		if got := m.service.Stats().Extra[name]; got != want {
			return fmt.Errorf("%s reports %d %s; it should be %d", m.Name, got, name, want)
		}
		return nil
	})
}

// accounts claims a member's totals, and that they add up.
//
//go:noinline
func (m *member) accounts(want ops.Counts) harness.Claim {
	return m.reported(func() error {
		got := m.service.Stats().Totals
		if n := got.Unaccounted(); n != 0 {
			return fmt.Errorf("%s received %d records and its other columns add up to %d: %+v", m.Name, got.Received, got.Received-n, got)
		}
		if got != want {
			return fmt.Errorf("%s's totals are wrong:\n  should be %+v\n  reported  %+v", m.Name, want, got)
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
			h := m.service.Health()
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
