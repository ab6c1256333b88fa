package lesson12

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/kafka-katas/kafka-katas/harness"
)

const restock5 = `{"type":"restock","sku":"book","quantity":5}`

// 202 is a promise: the command is with the broker, and Location is where to ask for it.
func TestStep05_AnAcceptedCommandIsCarriedOut(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		s := inventory(w, 1)
		a := s.start("a")
		w.Sleep(5 * time.Second)

		a.Pause()
		w.Sleep(time.Second)
		restock := s.ask(a, http.MethodPost, "/commands", "", restock5)
		reserve := s.ask(a, http.MethodPost, "/commands", "", `{"type":"reserve","sku":"book","quantity":6}`)
		w.Claim(restock.answered(http.StatusAccepted), reserve.answered(http.StatusAccepted), s.found(a, restock, "pending", 0))
		a.Resume()

		w.Within(time.Minute, s.group.Drained(s.commands))
		w.Claim(s.found(a, restock, "done", 5), s.found(a, reserve, "rejected", 5), s.described())
	})
}

// Whoever hears 202 throws his copy away. So nobody hears it before the broker has said that it has the command.
func TestStep05_NobodyIsToldBeforeTheBrokerHasIt(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		s := inventory(w, 1)
		a := s.start("a")
		w.Sleep(5 * time.Second)

		a.Fault(harness.Delay(harness.Produce, 2*time.Second))
		slow := s.ask(a, http.MethodPost, "/commands", "", restock5)
		a.ClearFaults()
		a.Fault(harness.Fail(harness.Produce, kerr.TopicAuthorizationFailed).Times(100))
		refused := s.ask(a, http.MethodPost, "/commands", "", restock5)
		a.ClearFaults()

		w.Claim(slow.answered(http.StatusAccepted), notBefore(slow, 2*time.Second), refused.answered(http.StatusServiceUnavailable), s.described())
	})
}

//go:noinline
func notBefore(e talk, least time.Duration) harness.Claim {
	return func(*harness.World) error {
		if took := e.to - e.from; took < least {
			return harness.Broke[harness.Lost]("who has heard 202 throws his copy away: if the broker never gets the command, nobody has it",
				"%s %s was answered with %d after %v; the broker acknowledged it after %v", e.method, e.path, e.code, took, least)
		}
		return nil
	}
}

// A caller has a timeout of its own. While the broker is away it hears so within API.Timeout, and status goes on.
func TestStep05_WithoutABrokerTheAnswerIs503InTime(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		s := inventory(w, 1)
		a := s.start("a")
		w.Sleep(5 * time.Second)
		before := s.ask(a, http.MethodPost, "/commands", "", restock5)
		w.Within(time.Minute, s.group.Drained(s.commands))

		w.Kafka().Down()
		w.Sleep(2 * time.Second)
		away := s.ask(a, http.MethodPost, "/commands", "k-1", restock5)
		w.Claim(harness.AtMost("the answer", away.to-away.from, s.cfg.API.Timeout), away.answered(http.StatusServiceUnavailable), s.found(a, before, "done", 5))
		w.Kafka().Up()
		w.Sleep(time.Minute)
		again := s.ask(a, http.MethodPost, "/commands", "k-1", restock5)

		w.Within(time.Minute, s.group.Drained(s.commands))
		w.Claim(again.answered(http.StatusAccepted), s.found(a, again, "done", 10), s.described())
	})
}

// A caller who begins to send and does not go on is answered in time as well: he holds a connection.
func TestStep05_ABodyThatDoesNotComeIsNotWaitedFor(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		s := inventory(w, 1)
		a := s.start("a")
		w.Sleep(5 * time.Second)
		w.Claim(s.ask(a, http.MethodGet, "/commands/none", "", "").answered(http.StatusNotFound)) // the customer is there

		var took [2]time.Duration
		calls := w.Call("a request that stops half way", len(took), func(_ context.Context, i int) error {
			body, rest := io.Pipe()
			defer rest.Close()
			began := w.Now()
			length := []int64{-1, 60}[i] // said beforehand, or not
			s.sendFrom(a, s.customer, http.MethodPost, "/commands", "", io.MultiReader(strings.NewReader(`{"type":`), body), length)
			took[i] = w.Now() - began
			return nil
		})
		w.Until(calls.Done())

		w.Claim(harness.AtMost("the answer", took[0], s.cfg.API.Timeout), harness.AtMost("the answer to a request that has said its length", took[1], s.cfg.API.Timeout),
			s.accepted(0), s.described())
		w.Claim(s.ask(a, http.MethodPost, "/commands", "", restock5).answered(http.StatusAccepted))
	})
}

// The description is what others build on: every answer is one that it has.
func TestStep05_EveryAnswerIsAsDescribed(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		s := inventory(w, 1)
		a := s.start("a")
		w.Sleep(5 * time.Second)

		broken := s.ask(a, http.MethodPost, "/commands", "", `{"type":`)
		invalid := s.ask(a, http.MethodPost, "/commands", "", `{"type":"paint","sku":"","quantity":0}`)
		large := s.ask(a, http.MethodPost, "/commands", "", `{"type":"restock","sku":"`+strings.Repeat("x", 70_000)+`","quantity":1}`)
		unknown := s.ask(a, http.MethodGet, "/commands/nobody-knows-it", "", "")
		description := s.ask(a, http.MethodGet, "/openapi.yaml", "", "")
		s.db.refuses(1)
		refused := s.ask(a, http.MethodPost, "/commands", "k-2", restock5)
		w.Within(time.Minute, s.group.Drained(s.commands))

		w.Claim(broken.answered(http.StatusBadRequest), invalid.answered(http.StatusUnprocessableEntity, "type", "sku", "quantity"),
			large.answered(http.StatusRequestEntityTooLarge), unknown.answered(http.StatusNotFound), description.answered(http.StatusOK),
			refusedOrAccepted(refused), s.described(), harness.Reported(func() error {
				if description.body != string(OpenAPI) {
					return fmt.Errorf("GET /openapi.yaml is not OpenAPI: %.80q", description.body)
				}
				return nil
			}))
	})
}

// refusedOrAccepted claims that a store that refuses for a moment leads to no answer that nobody can handle.
//
//go:noinline
func refusedOrAccepted(e talk) harness.Claim {
	if e.code == http.StatusAccepted {
		return e.answered(http.StatusAccepted)
	}
	return e.answered(http.StatusServiceUnavailable)
}
