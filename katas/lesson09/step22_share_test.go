package lesson09

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/kafka-katas/kafka-katas/harness"
	"github.com/kafka-katas/kafka-katas/ops"
)

// sharing starts a member of a share group.
func sharing(w *harness.World, name string, cfg Config, handle Handler) *member {
	m := &member{}
	m.Process = w.Start(name, func(p *harness.Process) (harness.Runner, error) {
		c, err := NewShare(cfg, p.Handler(handle), p.Options()...)
		if c == nil {
			return nil, err
		}
		m.service = c
		return c, err
	})
	return m
}

// fromTheStart has a share group begin at the oldest record; by default one begins at the newest.
func fromTheStart(w *harness.World, g *harness.Group) {
	w.Helper()
	req := kmsg.NewPtrIncrementalAlterConfigsRequest()
	resource := kmsg.NewIncrementalAlterConfigsRequestResource()
	resource.ResourceType, resource.ResourceName = kmsg.ConfigResourceTypeGroupConfig, g.Name
	config := kmsg.NewIncrementalAlterConfigsRequestResourceConfig()
	config.Name, config.Value = "share.auto.offset.reset", kmsg.StringPtr("earliest")
	resource.Configs = append(resource.Configs, config)
	req.Resources = append(req.Resources, resource)
	client := w.Client()
	defer client.Close()
	resp, err := req.RequestWith(w.Context(), client)
	given(w, err)
	for _, r := range resp.Resources {
		given(w, kerr.ErrorForCode(r.ErrorCode))
	}
}

// everyOnce claims that each of n numbered records was handled, and none twice.
//
//go:noinline
func everyOnce(topic string, n int) harness.Claim {
	return func(w *harness.World) error {
		for i := range n {
			key := fmt.Sprintf("%s-%d", topic, i)
			done := w.Journal().Events(harness.Of(harness.Handled), harness.Keyed(key))
			if len(done) == 0 {
				return harness.Shown(harness.Broke[harness.Lost]("what is accepted without being handled is not delivered again", "%s was never handled", key), w.Attempts(key)()...)
			}
			if len(done) > 1 {
				return harness.Shown(harness.Broke[harness.Duplicated]("what is accepted is not delivered again", "%s was handled %d times", key, len(done)), done...)
			}
		}
		return nil
	}
}

// Members of a share group share the records themselves, of a single partition too. What is accepted is done with.
func TestStep22_MembersShareTheRecordsOfAPartition(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		transfers, queue := w.Topic("transfers", 1), w.Group("queue")
		fromTheStart(w, queue)
		transfers.Send(0, 20)
		few := func(c *Config) { c.Concurrency = 2 }

		a := sharing(w, "a", config(queue, transfers, few), takes(time.Second))
		b := sharing(w, "b", config(queue, transfers, few), takes(time.Second))

		w.Sleep(2 * time.Minute)
		w.Claim(everyOnce("transfers", 20), worked(a), worked(b))
	})
}

// worked claims that a member has handled something.
//
//go:noinline
func worked(m *member) harness.Claim {
	return func(w *harness.World) error {
		if len(w.Journal().Events(harness.Of(harness.Handled), harness.By(m.Name))) == 0 {
			return harness.Broke[harness.Unbalanced]("a queue has as many workers as it has members; one that takes all records at once keeps them from the others", "%s has handled nothing", m.Name)
		}
		return nil
	}
}

// A record that is released comes again, to anybody; one that is rejected does not; and one that is released too often
// is archived, so that it does not come for ever.
func TestStep22_ReleasedComesAgainRejectedDoesNot(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		transfers, queue := w.Topic("transfers", 1), w.Group("queue")
		fromTheStart(w, queue)
		transfers.Send(0, 6)
		once, panics := failsOn("transfers-1", Nack(time.Second, errFlaky), errFlaky), panicsOnce("transfers-5")

		a := sharing(w, "a", config(queue, transfers), func(ctx context.Context, r *kgo.Record) error {
			switch string(r.Key) {
			case "transfers-3":
				return fmt.Errorf("core: %w", Reject(errFlaky))
			case "transfers-4":
				return errFlaky
			case "transfers-5":
				return panics(ctx, r)
			}
			return once(ctx, r)
		})

		w.Sleep(3 * time.Minute)
		w.Claim(handled("transfers-0", "transfers-1", "transfers-2", "transfers-5"),
			deliveries("transfers-1", 3), deliveries("transfers-3", 1), deliveries("transfers-4", 5), deliveries("transfers-5", 2),
			a.accounts(ops.Counts{Received: 13, Processed: 4, Dead: 1, Released: 8, Failed: 9, Redelivered: 7}))
	})
}

// deliveries claims how often a record was delivered.
//
//go:noinline
func deliveries(key string, want int) harness.Claim {
	return func(w *harness.World) error {
		seen := w.Attempts(key)()
		switch got := len(seen); {
		case got > want:
			return harness.Shown(harness.Broke[harness.Duplicated]("who rejects a record, or has had it often enough, does not want it again", "%s was delivered %d times; it should be %d", key, got, want), seen...)
		case got < want:
			return harness.Shown(harness.Broke[harness.Lost]("who releases a record wants it delivered again", "%s was delivered %d times; it should be %d", key, got, want), seen...)
		}
		return nil
	}
}

// A member that stops finishes what it has in work, if it can within DrainTimeout.
func TestStep22_AMemberThatStopsFinishesItsWork(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		transfers, queue := w.Topic("transfers", 1), w.Group("queue")
		fromTheStart(w, queue)
		transfers.Send(0, 4)
		a := sharing(w, "a", config(queue, transfers), takes(5*time.Second))
		w.Until(a.Busy(4))

		a.Stop()
		sharing(w, "b", config(queue, transfers), atOnce)

		w.Sleep(time.Minute)
		w.Claim(everyOnce("transfers", 4), finished())
	})
}

// A member that stops hands back what it has not done, at once; one that crashes has it taken away.
func TestStep22_WhatAMemberHasNotDoneComesAgain(t *testing.T) {
	for _, end := range []func(m *member){
		func(m *member) { m.AskToStop() },
		func(m *member) { m.Crash() },
	} {
		harness.Run(t, func(w *harness.World) {
			transfers, queue := w.Topic("transfers", 1), w.Group("queue")
			fromTheStart(w, queue)
			transfers.Send(0, 4)
			a := sharing(w, "a", config(queue, transfers, func(c *Config) { c.DrainTimeout = 5 * time.Second }), takes(time.Hour))
			w.Until(a.Busy(4))

			end(a)
			sharing(w, "b", config(queue, transfers), atOnce)

			w.Sleep(time.Minute)
			w.Claim(everyOnce("transfers", 4))
		})
	}
}
