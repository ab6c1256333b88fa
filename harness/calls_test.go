package harness

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"
)

func TestCallersAreJudgedByTheirAnswersAndTheirWaits(t *testing.T) {
	errNo := errors.New("no")
	Run(t, func(w *World) {
		calls := w.Call("question", 3, func(ctx context.Context, i int) error {
			time.Sleep(time.Duration(i+1) * time.Second)
			return errNo
		})
		w.Sleep(1500 * time.Millisecond)
		require.ErrorContains(w, calls.Done()(w), "STUCK: question 1, made at 0.00s, has not returned")
		w.Until(calls.Done())
		w.Claim(calls.Returned(errNo), calls.Within(3*time.Second))
		require.ErrorContains(w, calls.Returned(nil)(w), "BROKEN: question 0, made at 0.00s, returned no at 1.00s; it should be success")
		require.ErrorContains(w, calls.Within(2*time.Second)(w), "MISTIMED: question took 3s; it may be 2s at most")
		require.ErrorContains(w, calls.Took(time.Second)(w), "MISTIMED: question took 2s; it should be 1s")

		own := w.Call("question", 2, func(_ context.Context, i int) error {
			if i == 1 {
				return Broke[Misrouted]("", "it was told something else")
			}
			return errNo
		})
		w.Until(own.Done())
		require.ErrorContains(w, own.Returned(nil)(w), "MISROUTED: it was told something else")

		bad := w.Call("question", 1, func(context.Context, int) error { panic("oh") })
		w.Until(bad.Done())
		require.ErrorContains(w, bad.Returned(nil)(w), "BROKEN: a caller panicked: oh")
	})
}

// Whoever waits for what a caller was to do is told that the caller panicked, not that nothing came.
func TestACallersPanicEndsTheWaitForItsWork(t *testing.T) {
	out := verdict(t, func(w *World) {
		w.Call("question", 1, func(context.Context, int) error { panic("oh") })
		w.Within(time.Second, func(*World) error { return Broke[Stuck]("", "nothing was asked") })
	})
	require.ErrorContains(t, out.err, "BROKEN: a caller panicked: oh")
}

func TestAStoryBeginsAtATimeOfDay(t *testing.T) {
	noon := time.Date(2001, 2, 3, 12, 0, 0, 0, time.UTC)
	Run(t, func(w *World) {
		require.Zero(w, w.Now())
		require.Equal(w, noon, time.Now().UTC())
		w.SleepUntil(w.At(noon.Add(time.Hour)))
		w.Claim(Took("the wait", w.Now(), time.Hour))
	}, Begins(noon), Lasts(time.Hour))
}

func TestATopicIsReadAsATable(t *testing.T) {
	Run(t, func(w *World) {
		prices := w.Topic("prices", 3)
		prices.Produce(kgo.KeyStringRecord("book", "3"), kgo.KeyStringRecord("pen", "1"), kgo.KeyStringRecord("book", "4"), &kgo.Record{Key: []byte("pen")})
		w.Claim(prices.AsTable(map[string]string{"book": "4"}))
		require.ErrorContains(w, prices.AsTable(map[string]string{"book": "3"})(w), `MISROUTED: prices says "4" of book; it should say "3"`)
		require.ErrorContains(w, prices.AsTable(map[string]string{"book": "4", "pen": "1"})(w), `LOST: prices says nothing of pen; it should say "1"`)
		require.ErrorContains(w, prices.AsTable(nil)(w), `MISROUTED: prices says "4" of book; nothing in this story asks for it`)
	})
}

// One process, a client in each of two groups: what it handles, commits and owns is told apart.
func TestAProcessIsInSeveralGroups(t *testing.T) {
	Run(t, func(w *World) {
		orders, mail, text := w.Topic("orders", 2), w.Group("mail"), w.Group("text")
		orders.Fill(3)
		p := w.Start("notifier", func(p *Process) (Runner, error) {
			var all []*consumer
			for _, g := range []*Group{mail, text} {
				client, err := kgo.NewClient(append(p.Options(), kgo.ConsumerGroup(g.Name), kgo.ConsumeTopics(orders.Name), kgo.DisableAutoCommit(),
					kgo.BlockRebalanceOnPoll(), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))...)
				if err != nil {
					return nil, err
				}
				all = append(all, &consumer{client: client, handle: g.Handler(p, func(context.Context, *kgo.Record) error { return nil })})
			}
			return RunFunc(func(ctx context.Context) error {
				w.Call("consumer", 1, func(context.Context, int) error { return all[0].Run(ctx) })
				return all[1].Run(ctx)
			}), nil
		})
		w.Until(All(mail.Drained(orders), text.Drained(orders)))
		for _, g := range []*Group{mail, text} {
			w.Claim(g.Handled(orders), g.HandledOnce(orders), g.CommitSafe(orders), g.InOrder(orders), g.Balanced([]*Process{p}, orders))
		}
		p.Crash()
		w.Sleep(time.Minute)
		require.Len(w, mail.events(Expired), 1)
		require.Len(w, text.events(Expired), 1)
	})
}
