package harness

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// What a process had sent when it crashed is done by the broker, although the process never hears of it: the journal must.
func TestACommitThatACrashOvertakesIsJournalled(t *testing.T) {
	for range 20 { // whether the commit or the crash comes first is the scheduler's choice
		Run(t, func(w *World) {
			orders, validation := w.Topic("orders", 6), w.Group("validation")
			orders.Fill(10)
			p := w.Start("p", patient(validation, orders))
			w.Await("a first record", Of(Handled))

			p.Crash()
			w.Sleep(time.Second)

			w.Claim(journalled(validation, orders))
		})
	}
}

// journalled claims that the journal has the commits that the group has.
func journalled(g *Group, topic *Topic) Claim {
	return func(w *World) error {
		truth, err := w.admin().FetchOffsets(w.ctx, g.Name)
		if err != nil {
			return err
		}
		for p := range topic.Partitions() {
			want := int64(-1)
			if o, ok := truth.Lookup(topic.Name, p); ok {
				want = o.At
			}
			if got := g.Committed(topic, p); got != want {
				return fmt.Errorf("the journal has commit %d of partition %d, the group %d", got, p, want)
			}
		}
		return nil
	}
}

// A heartbeat and a commit leave at the same instant, on one connection; the process crashes with the reply to the former,
// and the reply to the latter is behind it.
func TestACommitThatACrashAfterAHeartbeatOvertakesIsJournalled(t *testing.T) {
	for range 40 { // whether the commit or the heartbeat comes first is the scheduler's choice
		Run(t, func(w *World) {
			orders, validation := w.Topic("orders", 1), w.Group("validation")
			p := w.Start("p", func(p *Process) (Runner, error) {
				client, err := kgo.NewClient(append(p.Options(), kgo.ConsumerGroup(validation.Name), kgo.ConsumeTopics(orders.Name),
					kgo.AutoCommitMarks(), kgo.AutoCommitInterval(500*time.Millisecond), kgo.HeartbeatInterval(3*time.Second))...)
				if err != nil {
					return nil, err
				}
				return RunFunc(func(ctx context.Context) error {
					defer client.Close()
					for ctx.Err() == nil {
						client.MarkCommitRecords(client.PollFetches(ctx).Records()...)
					}
					return nil
				}), nil
			})
			w.SleepUntil(3200 * time.Millisecond)
			orders.Fill(10)

			p.CrashAfter(Heartbeat)
			w.Within(time.Minute, Gone("p"))
			w.Sleep(time.Second)

			w.Claim(journalled(validation, orders))
		})
	}
}
