package harness

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

func TestMain(m *testing.M) { Main(m) }

// consumer is a plain right answer: handle, then commit.
type consumer struct {
	client      *kgo.Client
	handle      func(context.Context, *kgo.Record) error
	commitFirst bool
}

func (c *consumer) Run(ctx context.Context) error {
	defer c.client.CloseAllowingRebalance()
	for {
		fetches := c.client.PollRecords(ctx, 5)
		if ctx.Err() != nil {
			return nil
		}
		if fetches.Err() != nil { // a dropped topic stays dropped: do not ask again at once
			time.Sleep(time.Second)
		}
		records := fetches.Records()
		if c.commitFirst {
			c.client.CommitRecords(ctx, records...)
		}
		for _, r := range records {
			if err := c.handle(ctx, r); err != nil {
				return err
			}
		}
		for !c.commitFirst && len(records) > 0 && ctx.Err() == nil {
			err := c.client.CommitRecords(ctx, records...)
			if !errors.Is(err, kerr.RebalanceInProgress) {
				break
			}
			time.Sleep(time.Second)
		}
		c.client.AllowRebalance()
	}
}

func consume(g *Group, commitFirst bool, topics ...*Topic) func(p *Process) (Runner, error) {
	return func(p *Process) (Runner, error) {
		var names []string
		for _, t := range topics {
			names = append(names, t.Name)
		}
		client, err := kgo.NewClient(append(p.Options(), kgo.ConsumerGroup(g.Name), kgo.ConsumeTopics(names...), kgo.DisableAutoCommit(),
			kgo.BlockRebalanceOnPoll(), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))...)
		if err != nil {
			return nil, err
		}
		return &consumer{client, p.Handler(func(ctx context.Context, r *kgo.Record) error {
			select {
			case <-time.After(50 * time.Millisecond):
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		}), commitFirst}, nil
	}
}

func TestAStoryIsToldToItsEnd(t *testing.T) {
	Run(t, func(w *World) {
		orders := w.Topic("orders", 6)
		bank := w.Group("bank")
		orders.Fill(10)
		a := w.Start("a", consume(bank, false, orders))
		w.Until(bank.Drained(orders))
		w.Start("b", consume(bank, false, orders))
		orders.Fill(10)
		w.Sleep(20 * time.Second)
		a.Crash()
		w.Until(bank.Drained(orders))
		w.Claim(bank.Handled(orders), bank.HandledOnce(orders), bank.CommitSafe(orders), bank.InOrder(orders))
	})
}

// verdict tells a story as Run does, and returns how it ended instead of reporting it.
func verdict(t *testing.T, story func(*World), opts ...Option) outcome {
	o := defaults()
	for _, opt := range opts {
		opt(&o)
	}
	return begin(t, caller()).play(o, story, nil)
}

func TestASweepCrashesAtEveryPoint(t *testing.T) {
	Sweep(t, "a", func(w *World) {
		orders, bank := w.Topic("orders", 1), w.Group("bank")
		orders.Fill(20)
		w.Start("a", consume(bank, false, orders))
		w.Until(Any(bank.Drained(orders), Gone("a")))
		w.Start("b", consume(bank, false, orders))
		w.Until(bank.Drained(orders))
		w.Claim(bank.Handled(orders), bank.CommitSafe(orders), bank.RedeliveredOnlyUncommitted(orders))
	})
}

func TestCommittingFirstIsCaught(t *testing.T) {
	out := verdict(t, func(w *World) {
		orders, bank := w.Topic("orders", 1), w.Group("bank")
		orders.Fill(20)
		w.Start("a", consume(bank, true, orders)).CrashAfter(Handle)
		w.Until(Gone("a"))
		w.Start("b", consume(bank, true, orders))
		w.Sleep(time.Minute)
		w.Claim(bank.CommitSafe(orders))
	})
	require.Equal(t, "COMMITTED TOO EARLY", Word(out.err), "%v", out.err)
}
