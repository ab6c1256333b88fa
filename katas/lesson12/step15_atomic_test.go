package lesson12

import (
	"errors"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/kafka-katas/kafka-katas/harness"
	"github.com/kafka-katas/kafka-katas/harness/httpfake"
)

// The store in a file changes all at once or not at all, keeps it, and is one process's at a time.
func TestStep15_TheEmbeddedStoreChangesAllOrNothing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "shop.db")
	harness.Run(t, func(w *harness.World) {
		w.Claim(configured("state and message are atomic only if the store is", func() error {
			db, err := OpenStore(path)
			if err != nil {
				return err
			}
			errHalf := errors.New("half way")
			good := db.Update(func(tx Tx) error {
				return errors.Join(tx.Put("a/2", []byte("two")), tx.Put("a/1", []byte("one")), tx.Put("b/1", []byte("other")), tx.Put("a/10", nil))
			})
			bad := db.Update(func(tx Tx) error {
				return errors.Join(tx.Put("a/3", []byte("three")), tx.Delete("a/1"), errHalf)
			})
			if good != nil || !errors.Is(bad, errHalf) {
				return fmt.Errorf("Update returns %v and %v; it should be nil, and the error of the change", good, bad)
			}
			if _, err := OpenStore(path); err == nil {
				return errors.New("a second process may open it")
			}
			if err := db.Close(); err != nil {
				return err
			}
			if db, err = OpenStore(path); err != nil {
				return err
			}
			defer db.Close()
			var keys []string
			enough := errors.New("enough")
			err = db.View(func(tx Tx) error {
				if string(tx.Get("a/1")) != "one" || tx.Get("a/3") != nil || tx.Put("c", nil) == nil || tx.Delete("b/1") == nil {
					return fmt.Errorf("a/1 is %q, a/3 is %q; they should be one and nothing, and a View changes nothing", tx.Get("a/1"), tx.Get("a/3"))
				}
				first := tx.Scan("a/", func(string, []byte) error { return enough })
				if !errors.Is(first, enough) {
					return fmt.Errorf("Scan returns %v; it should be the error of its function", first)
				}
				return tx.Scan("a/", func(key string, value []byte) error {
					keys = append(keys, key+"="+string(value))
					return nil
				})
			})
			if diff := cmp.Diff([]string{"a/1=one", "a/10=", "a/2=two"}, keys); err != nil || diff != "" {
				return fmt.Errorf("Scan of a/ goes wrong (%v; - should be, + is): %s", err, diff)
			}
			return nil
		}))
	})
}

// Nothing is announced that has not happened, and what has happened is announced: with the database away, and with Kafka.
func TestStep15_NothingIsAnnouncedThatHasNotHappened(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		s := inventory(w, 1)
		a := s.start("a")
		w.Sleep(5 * time.Second)

		s.db.refuses(5)
		s.commands.Produce(asJSON("book", Command{ID: "c-1", Type: "restock", SKU: "book", Quantity: 5}))
		w.Sleep(2500 * time.Millisecond)
		w.Claim(s.told(), s.group.CommitSafe(s.commands))
		w.Within(time.Minute, s.group.Drained(s.commands))
		a.Fault(harness.Fail(harness.Produce, kerr.TopicAuthorizationFailed).Times(3))
		s.commands.Produce(asJSON("book", Command{ID: "c-2", Type: "reserve", SKU: "book", Quantity: 2}))

		w.Within(time.Minute, s.group.Drained(s.commands))
		w.Claim(s.toldAtLeastOnce(
			Event{Type: StockChanged, CausationID: "c-1", CorrelationID: "c-1", SKU: "book", OnHand: 5, Version: 1},
			Event{Type: StockChanged, CausationID: "c-2", CorrelationID: "c-2", SKU: "book", OnHand: 3, Version: 2},
		), s.group.CommitSafe(s.commands))
	})
}

// A record that Kafka delivers again is no repeat by its sender: it adds nothing.
func TestStep15_ARecordThatIsDeliveredAgainAddsNothing(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		s := inventory(w, 1)
		a := s.start("a")
		w.Sleep(5 * time.Second)
		a.Fault(harness.Fail(harness.OffsetCommit, kerr.RebalanceInProgress).Times(1000))
		s.commands.Produce(asJSON("book", Command{ID: "c-1", Type: "restock", SKU: "book", Quantity: 5}))
		w.Sleep(5 * time.Second)
		w.Claim(s.published("c-1", 1))

		a.Stop()
		b := s.start("b")

		w.Within(time.Minute, s.group.Drained(s.commands))
		w.Claim(s.told(Event{Type: StockChanged, CausationID: "c-1", CorrelationID: "c-1", SKU: "book", OnHand: 5, Version: 1}), b.extra("duplicate_commands", 0))
	})
}

// So it is with a partner's delivery and an order's step: what the database or Kafka refuses for a moment is tried again.
func TestStep15_WhatIsRefusedForAMomentIsTriedAgain(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		s := ordering(w, 1)
		s.hooks = w.Topic("shop-events", 1)
		billing := s.partner("billing")
		s.cfg.Webhooks.Topic, s.cfg.Webhooks.Endpoints = s.hooks.Name, []Endpoint{{"billing", "http://billing.example/hooks", secretOf("billing")}}
		ps := s.participants()
		ps.on("o-1/reserve", conduct{after: 2 * time.Second}).on("o-1/ship", conduct{fails: true, silent: true})
		billing.Always("POST", httpfake.OK("").After(2*time.Second))
		a := s.start("a")
		w.Sleep(5 * time.Second)
		refused := harness.Fail(harness.Produce, kerr.TopicAuthorizationFailed)

		s.db.refuses(1)
		s.hooks.Produce(news(1)...)
		w.Sleep(2 * time.Second) // it is stored by now, and being delivered
		s.db.refuses(1)
		w.Sleep(5 * time.Second)
		w.Claim(heard(billing, news(1)...))

		s.db.refuses(1)
		s.orders.Produce(placed("o-1"))
		w.Until(ps.waitsFor("o-1/reserve"))
		a.Fault(refused.Times(1))
		w.Within(20*time.Second, ps.waitsFor("o-1/ship"))
		w.SleepUntil(ps.first("o-1/ship") + s.cfg.Workflow.StepTimeout - time.Second)
		a.Fault(refused.Times(1)) // when its time is over
		s.db.hides(1)

		w.Sleep(10 * time.Second)
		w.Claim(s.ended(true, map[string]string{"o-1": Cancelled}), ps.effects.Once("o-1/reserve", "o-1/charge", "o-1/refund", "o-1/release"), a.extra("ignored_replies", 0))
	})
}

// Wherever the process crashes, there is never a change without its event, nor an event without its change.
func TestStep15_ACrashAnywhereNeverShowsOneWithoutTheOther(t *testing.T) {
	harness.Sweep(t, "a", func(w *harness.World) {
		s := inventory(w, 1)
		s.commands.Produce(
			asJSON("book", Command{ID: "c-1", Type: "restock", SKU: "book", Quantity: 5}),
			asJSON("book", Command{ID: "c-2", Type: "reserve", SKU: "book", Quantity: 2}),
			asJSON("book", Command{ID: "c-2", Type: "reserve", SKU: "book", Quantity: 3}),
			asJSON("book", Command{ID: "c-3", Type: "reserve", SKU: "book", Quantity: 9}),
		)
		s.start("a").RestartAfter(time.Second)
		w.Until(s.group.Drained(s.commands))
		s.commands.Produce(asJSON("book", Command{ID: "c-4", Type: "release", SKU: "book", Quantity: 1}))
		w.Until(s.group.Drained(s.commands))

		w.Claim(s.toldAtLeastOnce(
			Event{Type: StockChanged, CausationID: "c-1", CorrelationID: "c-1", SKU: "book", OnHand: 5, Version: 1},
			Event{Type: StockChanged, CausationID: "c-2", CorrelationID: "c-2", SKU: "book", OnHand: 3, Version: 2},
			Event{Type: CommandRejected, CausationID: "c-2", CorrelationID: "c-2", SKU: "book", Reason: ReasonConflict, Fields: []FieldProblem{{Field: "id"}}},
			Event{Type: CommandRejected, CausationID: "c-3", CorrelationID: "c-3", SKU: "book", OnHand: 3, Version: 2, Reason: ReasonInsufficient, Fields: []FieldProblem{{Field: "quantity"}}},
			Event{Type: StockChanged, CausationID: "c-4", CorrelationID: "c-4", SKU: "book", OnHand: 4, Version: 3},
		), s.group.CommitSafe(s.commands))
	})
}
