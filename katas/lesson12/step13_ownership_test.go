package lesson12

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/kafka-katas/kafka-katas/harness"
	"github.com/kafka-katas/kafka-katas/harness/httpfake"
	"github.com/kafka-katas/kafka-katas/ops"
)

// A call that hangs when its partition is given up is cancelled and not committed. The next owner asks again, under the
// same key.
func TestStep13_ACallIsCancelledWhenItsPartitionGoes(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		s, shipping := calling(w, 2)
		s.cfg.Outbound.Timeout = 2 * time.Minute // it is the rebalance that ends the call
		shipping.Next("POST /shipments/o-1", httpfake.DoneButSilent()).Next("POST /shipments/o-2", httpfake.DoneButSilent())
		a := s.start("a")
		s.calls.To(0, shipment("o-1"))
		s.calls.To(1, shipment("o-2"))
		w.Until(a.Busy(2))

		b := s.start("b")
		w.Within(30*time.Second, s.group.Balanced([]*harness.Process{a.Process, b.Process}, s.calls))
		w.Within(10*time.Second, s.group.Member(b.Process))
		w.Sleep(5 * time.Second)
		w.Claim(s.group.CommitSafe(s.calls), s.group.OneAtATime(s.calls), s.dead.Holds())

		w.Within(5*time.Minute, s.group.Drained(s.calls))
		w.Claim(shipping.Effects().Once("POST /shipments/o-1", "POST /shipments/o-2"), s.group.CommitSafe(s.calls), s.group.OneAtATime(s.calls), s.dead.Holds())
	})
}

// A service that stops finishes what it has begun, if that takes no longer than it may, and commits it.
func TestStep13_AStopFinishesWhatItHasBegun(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		s, shipping := calling(w, 1)
		shipping.Next("POST /shipments/o-1", httpfake.OK("").After(4*time.Second))
		a := s.start("a")
		s.calls.Produce(shipment("o-1"), shipment("o-2"), shipment("o-3"))
		w.Until(a.Busy(1))
		w.Sleep(time.Second)

		began := w.Now()
		a.Stop()
		w.Claim(harness.AtMost("stopping", w.Now()-began, 3*time.Second+3*time.Second), s.group.CommittedAt(s.calls, 0, 1), shipping.AtMost(0, "POST /shipments/o-2"),
			a.accountsReleased(1))
		s.start("b")

		w.Until(s.group.Drained(s.calls))
		w.Claim(s.group.HandledOnce(s.calls), shipping.Effects().Once("POST /shipments/o-1", "POST /shipments/o-2", "POST /shipments/o-3"), s.group.CommitSafe(s.calls))
	})
}

// accountsReleased claims that what was not begun was handed back, and the sum holds.
//
//go:noinline
func (m *member) accountsReleased(processed int64) harness.Claim {
	return harness.Reported(func() error {
		got := m.Stats().Totals
		if got.Unaccounted() != 0 || got.Processed != processed || got.Failed != 0 || got.Dead != 0 || got.InFlight != 0 {
			return fmt.Errorf("%s reports %+v; it processed %d, and released the others", m.Name, got, processed)
		}
		return nil
	})
}

// So it is with a delivery: the partner has acted on it before it answers, and the next owner does not repeat it. What it
// finds that was handled but not committed adds nothing.
func TestStep13_ADeliveryEndsBeforeItsPartitionGoes(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		s := set(w)
		s.hooks = w.Topic("shop-events", 2)
		s.cfg.Webhooks.Topic, s.cfg.Webhooks.Endpoints = s.hooks.Name, []Endpoint{{"billing", "http://billing.example/hooks", secretOf("billing")}}
		told := map[string]int{}
		s.site("billing", http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			text, _ := io.ReadAll(r.Body)
			s.mu.Lock()
			told[string(text)]++
			s.mu.Unlock()
			time.Sleep(4 * time.Second)
		}))
		a := s.start("a")
		w.Sleep(5 * time.Second)
		a.Fault(harness.Fail(harness.OffsetCommit, kerr.RebalanceInProgress).Times(1000))
		events := news(8)
		s.hooks.To(0, events[:4]...)
		s.hooks.To(1, events[4:]...)
		w.Sleep(time.Second)

		b := s.start("b") // takes one of the two over
		w.Within(20*time.Second, s.group.Balanced([]*harness.Process{a.Process, b.Process}, s.hooks))
		w.Sleep(6 * time.Second)
		a.Stop()
		w.Sleep(time.Minute)

		w.Claim(func(*harness.World) error {
			s.mu.Lock()
			defer s.mu.Unlock()
			for _, r := range events {
				switch n := told[string(r.Value)]; {
				case n == 0:
					return harness.Broke[harness.Lost]("a partner that is not told never asks", "billing was not told of %s", r.Value)
				case n > 1:
					return harness.Broke[harness.Duplicated]("a partner that is told twice has to sort it out", "billing was told of %s %d times; no process has crashed", r.Value, n)
				}
			}
			return nil
		}, s.group.Drained(s.hooks), s.group.CommitSafe(s.hooks))
	})
}

// What takes longer is cancelled: neither a failure, nor a dead letter, nor done.
func TestStep13_AStopCancelsWhatTakesTooLong(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		s, shipping := calling(w, 1)
		s.cfg.Outbound.Timeout = 2 * time.Minute
		shipping.Next("POST /shipments/o-1", httpfake.Hang())
		a := s.start("a")
		s.calls.Produce(shipment("o-1"), shipment("o-2"))
		w.Until(a.Busy(1))

		began := w.Now()
		a.Stop()
		w.Claim(harness.AtMost("stopping", w.Now()-began, s.cfg.DrainTimeout+5*time.Second), s.group.CommitSafe(s.calls), a.accountsReleased(0), s.dead.Holds())
		s.start("b")

		w.Until(s.group.Drained(s.calls))
		w.Claim(shipping.Effects().Once("POST /shipments/o-1", "POST /shipments/o-2"))
	})
}

// A service that waits for a next attempt, or for a partner, does not wait when it is to stop; nor with Kafka away.
func TestStep13_AStopWaitsForNoRetry(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		s, shipping := calling(w, 1)
		billing := s.partner("billing")
		s.hooks = w.Topic("shop-events", 1)
		s.cfg.Webhooks.Topic, s.cfg.Webhooks.Endpoints = s.hooks.Name, []Endpoint{{"billing", "http://billing.example/hooks", secretOf("billing")}}
		shipping.Always("POST", httpfake.TooMany(10*time.Minute))
		billing.Always("POST", httpfake.Status(http.StatusInternalServerError))
		a := s.start("a")
		s.calls.Produce(shipment("o-1"))
		s.hooks.Produce(news(1)...)
		w.Sleep(time.Minute)

		w.Kafka().Down()
		w.Sleep(2 * time.Second)
		began := w.Now()
		a.Stop()

		w.Claim(harness.AtMost("stopping", w.Now()-began, s.cfg.DrainTimeout+5*time.Second), s.group.CommitSafe(s.calls, s.hooks))
		w.Kafka().Up()
	})
}

// While it stops nobody is told that a command is accepted that is not.
func TestStep13_WhileItStopsNothingIsAccepted(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		s := inventory(w, 1)
		s.db.delay = time.Second // its last update takes a while
		a := s.start("a")
		w.Sleep(20 * time.Second)
		w.Claim(s.ask(a, http.MethodGet, "/commands/none", "", "").answered(http.StatusNotFound))
		s.commands.Produce(asJSON("book", Command{ID: "c-1", Type: "restock", SKU: "book", Quantity: 5}))
		w.Until(a.Busy(1))

		a.AskToStop()
		w.Sleep(time.Millisecond)
		late := s.ask(a, http.MethodPost, "/commands", "", restock5)
		a.AwaitStop()

		w.Claim(func(*harness.World) error {
			if late.code == http.StatusAccepted && len(s.commands.Records()) < 2 {
				return harness.Broke[harness.Lost]("who has heard 202 throws his copy away", "a command was answered with 202 while the service stopped, and the broker never got it")
			}
			return nil
		}, refusedOrGone(late), s.group.CommitSafe(s.commands), s.group.CommittedAt(s.commands, 0, 1))
	})
}

// refusedOrGone claims that a service that stops refuses, or does not listen any more.
//
//go:noinline
func refusedOrGone(e talk) harness.Claim {
	if e.code == 0 {
		return func(*harness.World) error { return nil }
	}
	return e.answered(http.StatusServiceUnavailable)
}

// A partner that is down is no reason to restart the service, nor to take it out: it says what is wrong, and to whom.
func TestStep14_APartnersTroubleIsReportedAndIsNotTheServices(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		s, shipping := calling(w, 1)
		shipping.Always("POST", httpfake.Status(http.StatusServiceUnavailable))
		s.cfg.Outbound.RetryCap = 4 * time.Second
		s.cfg.StallAfter = time.Minute
		a := s.start("a")
		w.Sleep(5 * time.Second)
		s.calls.Produce(shipment("o-1"), shipment("o-2"))

		w.Sleep(3 * time.Minute)
		w.Claim(a.healthy(true, true), a.alerted("handler_failures", ops.Firing), a.explains(shipping))
		shipping.Always("POST", httpfake.OK(""))
		w.Sleep(5 * time.Minute)

		w.Claim(a.healthy(true, true), a.alerted("handler_failures", ops.Inactive), a.accounts(ops.Counts{Received: 2, Processed: 2}))
	})
}

// explains claims that failed attempts are counted and grouped, and that no sample quotes the event.
//
//go:noinline
func (m *member) explains(p *httpfake.Partner) harness.Claim {
	return harness.Reported(func() error {
		stats := m.Stats()
		var n int64
		for _, g := range stats.Errors {
			n += g.Count
		}
		attempts := int64(len(p.Requests("")))
		if stats.Totals.Failed != attempts || n != attempts || stats.Totals.Retried < attempts-1 || stats.Totals.InFlight != 2 {
			return fmt.Errorf("%s reports %+v and %d errors; %d attempts have failed, and 2 records are in flight", m.Name, stats.Totals, n, attempts)
		}
		return nil
	})
}

// A broker that is down makes the service unready and leaves it alive; statistics and health answer all the same, and
// nothing that was accepted is lost.
func TestStep14_WithoutABrokerItIsAliveAndNotReady(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		s := inventory(w, 1)
		a := s.start("a")
		s.commands.Produce(asJSON("book", Command{ID: "c-1", Type: "restock", SKU: "book", Quantity: 5}))
		w.Within(time.Minute, s.group.Drained(s.commands))
		w.Claim(a.healthy(true, true))

		w.Kafka().Down()
		w.Sleep(time.Minute)
		w.Claim(a.healthy(true, false), a.accounts(ops.Counts{Received: 1, Processed: 1}))
		w.Kafka().Up()
		s.commands.Produce(asJSON("book", Command{ID: "c-2", Type: "restock", SKU: "book", Quantity: 5}))

		w.Within(3*time.Minute, s.group.Drained(s.commands))
		w.Sleep(time.Minute)
		w.Claim(a.healthy(true, true), s.told(
			Event{Type: StockChanged, CausationID: "c-1", CorrelationID: "c-1", SKU: "book", OnHand: 5, Version: 1},
			Event{Type: StockChanged, CausationID: "c-2", CorrelationID: "c-2", SKU: "book", OnHand: 10, Version: 2}))
	})
}

// A partition that waits for a partner does not fill the memory: it is fetched no further.
func TestStep14_WhatWaitsIsBounded(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		s, shipping := calling(w, 1)
		s.cfg.MaxQueued, s.cfg.Outbound.RetryBase, s.cfg.Outbound.RetryCap = 5, 5*time.Minute, 5*time.Minute
		shipping.Next("POST", httpfake.Status(http.StatusServiceUnavailable))
		a := s.start("a")
		w.Sleep(5 * time.Second)

		for i := range 10 {
			for n := range 4 {
				s.calls.Produce(shipment(fmt.Sprintf("o-%d-%d", i, n)))
			}
			w.Sleep(time.Second)
		}

		w.Claim(harness.Reported(func() error {
			if n := a.Stats().Totals.InFlight; n > 10 {
				return fmt.Errorf("%d records of a partition are in flight; with a MaxQueued of 5 it should be at most 10", n)
			}
			return nil
		}))
		w.Within(10*time.Minute, s.group.Drained(s.calls))
		w.Claim(s.group.InOrder(s.calls), s.group.HandledOnce(s.calls), s.dead.Holds())
	}, harness.Deadline(30*time.Minute))
}

// Pause takes nothing more in and is no illness; reset begins a new period.
func TestStep14_AnOperatorCanPauseAndReset(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		s := inventory(w, 1)
		a := s.start("a")
		s.commands.Produce(asJSON("book", Command{ID: "c-1", Type: "restock", SKU: "book", Quantity: 5}))
		w.Within(time.Minute, s.group.Drained(s.commands))

		a.Pause()
		w.Sleep(10 * time.Second)
		a.ResetStats()
		s.commands.Produce(asJSON("book", Command{ID: "c-2", Type: "restock", SKU: "book", Quantity: 5}))
		w.Sleep(time.Minute)
		w.Claim(a.healthy(true, true), a.accounts(ops.Counts{}), s.group.CommittedAt(s.commands, 0, 1), harness.Reported(func() error {
			if !a.Stats().Paused {
				return errors.New("it is paused, and does not say so")
			}
			return nil
		}))
		a.Resume()

		w.Within(time.Minute, s.group.Drained(s.commands))
		w.Claim(a.accounts(ops.Counts{Received: 1, Processed: 1}), s.stands("c-2", 10, 2))
	})
}
