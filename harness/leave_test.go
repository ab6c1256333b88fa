package harness

import (
	"context"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// hasty is a right program that gives up leaving after a second and then closes: kgo leaves a goroutine of its own
// behind when the group does not answer in that time.
type hasty struct{ client *kgo.Client }

func (h *hasty) Run(ctx context.Context) error {
	for ctx.Err() == nil {
		h.client.PollFetches(ctx)
	}
	limit, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	h.client.LeaveGroupContext(limit)
	h.client.CloseAllowingRebalance()
	return nil
}

func TestALeaveThatIsGivenUpIsNoLeak(t *testing.T) {
	Run(t, func(w *World) {
		orders, bank := w.Topic("orders", 1), w.Group("bank")
		orders.Fill(1)
		start := func(name string) *Process {
			return w.Start(name, func(p *Process) (Runner, error) {
				client, err := kgo.NewClient(append(p.Options(), kgo.ConsumerGroup(bank.Name), kgo.ConsumeTopics(orders.Name),
					kgo.BlockRebalanceOnPoll())...)
				return &hasty{client}, err
			})
		}
		a := start("a") // polls a record and never allows a rebalance
		w.Until(bank.Member(a))
		w.Sleep(time.Second)
		b := start("b")
		w.Sleep(10 * time.Second)
		b.Crash()
		a.Crash()
	})
}
