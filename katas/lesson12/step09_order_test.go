package lesson12

import (
	"context"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/kafka-katas/kafka-katas/harness"
	"github.com/kafka-katas/kafka-katas/ops"
)

// The commands of one sku are carried out in their order, also when one of them has to wait for the database.
func TestStep09_CommandsOfOneSKUKeepTheirOrder(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		s := inventory(w, 2)
		s.db.delay = 10 * time.Millisecond
		var want []Event
		for i := range 6 {
			for _, sku := range []string{"book", "pen", "mug"} {
				id := fmt.Sprintf("%s-%d", sku, i+1)
				s.commands.Produce(asJSON(sku, Command{ID: id, Type: "restock", SKU: sku, Quantity: 1}))
				want = append(want, Event{Type: StockChanged, CausationID: id, CorrelationID: id, SKU: sku, OnHand: int64(i + 1), Version: int64(i + 1)})
			}
		}
		s.db.refuses(2)

		a := s.start("a")

		w.Until(s.group.Drained(s.commands))
		w.Claim(s.group.InOrder(s.commands), s.group.CommitSafe(s.commands), s.toldAtLeastOnce(want...),
			a.accounts(ops.Counts{Received: 18, Processed: 18}))
	})
}

// Whoever has looked at the stock decides by what he saw. If it has changed since, he must look again.
func TestStep09_ACommandForAnotherVersionIsRejected(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		s := inventory(w, 1)
		s.commands.Produce(
			asJSON("book", Command{ID: "c-1", Type: "restock", SKU: "book", Quantity: 5, ExpectedVersion: versionOf(0)}),
			asJSON("book", Command{ID: "c-2", Type: "reserve", SKU: "book", Quantity: 1, ExpectedVersion: versionOf(1)}),
			asJSON("book", Command{ID: "c-3", Type: "reserve", SKU: "book", Quantity: 1, ExpectedVersion: versionOf(1)}),
			asJSON("book", Command{ID: "c-4", Type: "reserve", SKU: "book", Quantity: 1, ExpectedVersion: versionOf(3)}),
			asJSON("book", Command{ID: "c-5", Type: "reserve", SKU: "book", Quantity: 1, ExpectedVersion: versionOf(2)}),
		)

		s.start("a")

		w.Until(s.group.Drained(s.commands))
		w.Claim(s.rejected(map[string]string{"c-3": "version expected_version", "c-4": "version expected_version"}), s.stands("c-2", 4, 2), s.stands("c-5", 3, 3),
			attemptedOnce(s.commands))
	})
}

// A customer who presses the button ten times wants one thing: the same answer each time, and one command.
func TestStep10_OneKeyIsOneCommandHoweverOftenItIsSent(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		s := inventory(w, 1)
		a := s.start("a")
		w.Sleep(5 * time.Second)
		first := s.ask(a, http.MethodGet, "/commands/none", "", "") // the customer is there
		w.Claim(first.answered(http.StatusNotFound))

		a.Fault(harness.Delay(harness.Produce, time.Second))
		var answers [10]talk
		calls := w.Call("request", len(answers), func(_ context.Context, i int) error {
			answers[i] = s.ask(a, http.MethodPost, "/commands", "k-1", restock5)
			return nil
		})
		w.Sleep(500 * time.Millisecond)
		mixed := s.ask(a, http.MethodPost, "/commands", "k-1", `{"type":"restock","sku":"book","quantity":50}`)
		w.Until(calls.Done())
		a.Stop()
		b := s.start("b")
		w.Sleep(5 * time.Second)
		again := s.ask(b, http.MethodPost, "/commands", "k-1", restock5)
		other := s.ask(b, http.MethodPost, "/commands", "k-2", restock5)

		w.Within(time.Minute, s.group.Drained(s.commands))
		for _, e := range append(answers[:], again) {
			w.Claim(e.answered(http.StatusAccepted), sameCommand(answers[0], e))
		}
		w.Claim(mixed.answered(http.StatusUnprocessableEntity), other.answered(http.StatusAccepted), s.accepted(2), s.found(b, again, "done", 5), s.found(b, other, "done", 10), s.described())
	})
}

//go:noinline
func sameCommand(a, b talk) harness.Claim {
	return func(*harness.World) error {
		if a.header.Get("Location") != b.header.Get("Location") || a.body != b.body {
			return harness.Broke[harness.Duplicated]("the customer cannot know that it is one and the same", "the same Idempotency-Key was answered with %s %s and with %s %s",
				a.header.Get("Location"), a.body, b.header.Get("Location"), b.body)
		}
		return nil
	}
}

// A key that comes with another content is a mistake of the caller's, which he must hear of.
func TestStep10_AKeyWithAnotherContentIsRefused(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		s := inventory(w, 1)
		a := s.start("a")
		w.Sleep(5 * time.Second)

		first := s.ask(a, http.MethodPost, "/commands", "k-1", restock5)
		other := s.ask(a, http.MethodPost, "/commands", "k-1", `{"type":"restock","sku":"book","quantity":50}`)
		same := s.ask(a, http.MethodPost, "/commands", "k-1", ` { "quantity": 5, "sku": "book", "type": "restock" } `)

		w.Within(time.Minute, s.group.Drained(s.commands))
		w.Claim(first.answered(http.StatusAccepted), other.answered(http.StatusUnprocessableEntity), same.answered(http.StatusAccepted), s.accepted(1), s.found(a, first, "done", 5), s.described())
	})
}

// A 503 says that nobody knows. Whoever sends it again under the same key must not get it twice.
func TestStep10_AKeyAfterA503IsStillOneCommand(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		s := inventory(w, 1)
		a := s.start("a")
		w.Sleep(5 * time.Second)

		a.Fault(harness.Delay(harness.Produce, 8*time.Second))
		late := s.ask(a, http.MethodPost, "/commands", "k-1", restock5)
		w.Sleep(20 * time.Second)
		again := s.ask(a, http.MethodPost, "/commands", "k-1", restock5)

		w.Within(time.Minute, s.group.Drained(s.commands))
		w.Claim(late.answered(http.StatusServiceUnavailable), again.answered(http.StatusAccepted), s.found(a, again, "done", 5), s.described())
	})
}
