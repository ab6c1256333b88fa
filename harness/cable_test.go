package harness

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// A member that goes while the coordinator has it wait for the others leaves the group like any other: Kafka counts its
// session from the answer on that it does not get any more.
func TestWhoGoesWhileItWaitsToJoinIsExpelled(t *testing.T) {
	for how, goes := range map[string]func(*Process){
		"it crashes":               (*Process).Crash,
		"it is isolated":           (*Process).Isolate,
		"it is isolated, and dies": func(p *Process) { p.Isolate(); p.w.Sleep(100 * time.Millisecond); p.Crash() },
		"it comes back too late":   func(p *Process) { p.Isolate(); p.w.Sleep(2 * time.Minute); p.Heal(); p.Crash() },
		"it gives up":              func(p *Process) { p.w.Sleep(time.Second) }, // as impatient does by itself
		"Kafka is down":            func(p *Process) { p.w.Kafka().Down(); p.w.Sleep(time.Second); p.w.Kafka().Up() },
	} {
		tell := func(t *testing.T, opts ...Option) {
			Run(t, func(w *World) {
				orders, bank := w.Topic("orders", 4), w.Group("bank")
				a := w.Start("a", idle(bank, orders))
				w.Until(bank.Owns(a, 4, orders))
				w.SleepUntil(10 * time.Second) // a heartbeats about every 3 s, and hears of b by that
				b := w.Start("b", impatient(bank))
				w.Sleep(200 * time.Millisecond)
				w.Claim(joining(bank))

				goes(b)

				w.Within(3*time.Minute, soleMember(bank, "a"))
				w.Within(10*time.Second, bank.Owns(a, 4, orders))
			}, opts...)
		}
		t.Run(how, func(t *testing.T) { tell(t) })
		t.Run(how+" over TLS", func(t *testing.T) {
			server, client := certified(t)
			tell(t, Cluster(kfake.TLS(server)), TLS(client))
		})
	}
}

// impatient asks to join, gives up after half a second, and lives on without a connection.
func impatient(g *Group) func(*Process) (Runner, error) {
	return func(p *Process) (Runner, error) {
		client, err := kgo.NewClient(p.Options()...)
		return RunFunc(func(ctx context.Context) error {
			defer client.Close()
			limit, cancel := context.WithTimeout(ctx, 500*time.Millisecond)
			defer cancel()
			join := kmsg.NewPtrJoinGroupRequest()
			join.Group, join.ProtocolType, join.SessionTimeoutMillis, join.RebalanceTimeoutMillis = g.Name, "consumer", 45000, 60000
			meta := kmsg.NewConsumerMemberMetadata()
			join.Protocols = []kmsg.JoinGroupRequestProtocol{{Name: "range", Metadata: meta.AppendTo(nil)}}
			for limit.Err() == nil {
				if resp, err := join.RequestWith(limit, client); err == nil {
					join.MemberID = resp.MemberID
				}
			}
			client.Close()
			<-ctx.Done()
			return nil
		}), err
	}
}

// joining claims that a second member has asked to join and waits.
func joining(g *Group) Claim {
	return func(w *World) error {
		groups, err := w.admin().DescribeGroups(w.ctx, g.Name)
		if got := groups[g.Name]; err == nil && (got.State != "PreparingRebalance" || len(got.Members) != 2) {
			err = fmt.Errorf("the group is %s with %d members", got.State, len(got.Members))
		}
		return err
	}
}

// idle is a member that takes part in rebalances, and no more.
func idle(g *Group, topic *Topic) func(*Process) (Runner, error) {
	return func(p *Process) (Runner, error) {
		client, err := kgo.NewClient(append(p.Options(), kgo.ConsumerGroup(g.Name), kgo.ConsumeTopics(topic.Name), kgo.Balancers(kgo.RangeBalancer()))...)
		return RunFunc(func(ctx context.Context) error {
			defer client.Close()
			for ctx.Err() == nil {
				client.PollFetches(ctx)
			}
			return nil
		}), err
	}
}

// soleMember claims that the group is stable and has one member, by what the cluster says.
func soleMember(g *Group, name string) Claim {
	return func(w *World) error {
		groups, err := w.admin().DescribeGroups(w.ctx, g.Name)
		if err != nil {
			return err
		}
		got := groups[g.Name]
		if got.State != "Stable" || len(got.Members) != 1 || got.Members[0].ClientID != name {
			return fmt.Errorf("the group is %s with %d members", got.State, len(got.Members))
		}
		return nil
	}
}
