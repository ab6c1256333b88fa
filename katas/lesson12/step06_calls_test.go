package lesson12

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/kafka-katas/kafka-katas/harness"
	"github.com/kafka-katas/kafka-katas/harness/httpfake"
	"github.com/kafka-katas/kafka-katas/ops"
)

func shipment(key string) *kgo.Record {
	return &kgo.Record{Key: []byte(key), Value: []byte(`{"parcel":"` + key + `"}`), Headers: []kgo.RecordHeader{{Key: "source", Value: []byte("shop")}}}
}

// An event becomes a call, with the event in it; 2xx is the end of it.
func TestStep06_AnEventIsPassedOn(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		s, shipping := calling(w, 2)
		shipping.Next("POST /shipments/o-2", httpfake.Status(http.StatusNoContent))
		s.calls.Produce(shipment("o-1"), shipment("o-2"), shipment("o/3"))

		a := s.start("a")

		w.Until(s.group.Drained(s.calls))
		w.Claim(s.group.CommitSafe(s.calls), s.group.Handled(s.calls), shipping.Effects().Once("POST /shipments/o-1", "POST /shipments/o-2", "POST /shipments/o%2F3"),
			carries(shipping, "/shipments/o-1", `{"parcel":"o-1"}`), s.dead.Holds(), s.bodiesClosed(), a.accounts(ops.Counts{Received: 3, Processed: 3}))
	})
}

//go:noinline
func carries(p *httpfake.Partner, path, body string) harness.Claim {
	return func(*harness.World) error {
		for _, r := range p.Requests("POST " + path) {
			if r.Body != body || r.Header.Get("Content-Type") != "application/json" {
				return harness.Broke[harness.Misrouted]("the receiver reads the event's own bytes", "%s was sent %q as %q; it should be %q as application/json", r.Route, r.Body, r.Header.Get("Content-Type"), body)
			}
		}
		return nil
	}
}

// What may pass is tried again, with growing waits; the service's own word on when counts.
func TestStep06_WhatMayPassIsTriedAgain(t *testing.T) {
	for _, trouble := range []struct {
		name   string
		answer httpfake.Answer
	}{
		{"408", httpfake.Status(http.StatusRequestTimeout)},
		{"429", httpfake.Status(http.StatusTooManyRequests)},
		{"500", httpfake.Status(http.StatusInternalServerError)},
		{"503", httpfake.Status(http.StatusServiceUnavailable)},
	} {
		harness.Run(t, func(w *harness.World) {
			w.Note("the service answers %s", trouble.name)
			s, shipping := calling(w, 1)
			shipping.Next("POST", trouble.answer, trouble.answer, trouble.answer, httpfake.OK(""), trouble.answer)
			a := s.start("a")
			w.Sleep(5 * time.Second)

			s.calls.Produce(shipment("o-1"), shipment("o-2"))

			w.Until(s.group.Drained(s.calls))
			first := firstOf(shipping)
			w.Claim(harness.Times("attempts at o-1, with "+trouble.name+" from the service", shipping.Times("POST /shipments/o-1"), first, first+time.Second, first+3*time.Second, first+7*time.Second),
				harness.Times("attempts at o-2, whose first wait is the first one again", shipping.Times("POST /shipments/o-2"), first+7*time.Second, first+8*time.Second),
				shipping.Effects().Once("POST /shipments/o-1", "POST /shipments/o-2"), s.dead.Holds(), s.bodiesClosed(), s.group.CommitSafe(s.calls),
				a.healthy(true, true))
		})
	}
}

func firstOf(p *httpfake.Partner) time.Duration {
	if requests := p.Requests(""); len(requests) > 0 {
		return requests[0].At
	}
	return 0
}

// A service that hangs, or is not there, holds nobody for longer than the timeout; Retry-After is honoured.
func TestStep06_ACallHasATimeoutAndWaitsAsLongAsItIsAsked(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		s, shipping := calling(w, 1)
		shipping.Next("POST", httpfake.Hang(), httpfake.TooMany(20*time.Second))
		s.start("a")
		w.Sleep(5 * time.Second)

		s.calls.Produce(shipment("o-1"))
		w.Until(s.group.Drained(s.calls))
		first := firstOf(shipping)
		w.Claim(harness.Times("attempts", shipping.Times(""), first, first+6*time.Second, first+26*time.Second))

		shipping.Crash()
		s.calls.Produce(shipment("o-2"))
		w.Sleep(2 * time.Minute)
		w.Claim(s.group.CommitSafe(s.calls), s.group.CommittedAt(s.calls, 0, 1), s.dead.Holds())
		shipping.Restart()

		w.Within(2*time.Minute, s.group.Drained(s.calls))
		w.Claim(shipping.Effects().Once("POST /shipments/o-1", "POST /shipments/o-2"))
	})
}

// Retry-After may be a date, which says the same: not before then.
func TestStep06_ARetryAfterMayBeADate(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		s, _ := calling(w, 1)
		var at []time.Duration // of the attempts; from the first one on until is set
		var until time.Time
		s.site("busy", http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
			s.mu.Lock()
			defer s.mu.Unlock()
			if at = append(at, w.Now()); len(at) == 1 {
				until = time.Now().Truncate(time.Second).Add(20 * time.Second)
				rw.Header().Set("Retry-After", until.UTC().Format(http.TimeFormat))
				rw.WriteHeader(http.StatusServiceUnavailable)
			}
		}))
		s.cfg.Calls.URL = "http://busy.example/{key}"
		s.cfg.StallAfter = 10 * time.Second
		a := s.start("a")
		w.Sleep(5 * time.Second)

		s.calls.Produce(shipment("o-1"))
		w.Sleep(15 * time.Second)
		w.Claim(a.healthy(true, true)) // who waits as he was asked to is not wedged

		w.Within(2*time.Minute, s.group.Drained(s.calls))
		w.Claim(func(*harness.World) error {
			s.mu.Lock()
			defer s.mu.Unlock()
			if len(at) != 2 || at[1] < w.At(until) || at[1] > w.At(until)+time.Second {
				return harness.Broke[harness.Mistimed]("who comes before the time is refused again, or for good", "the service answered 503 with a Retry-After of %v (in story time); the attempts were at %v", w.At(until), at)
			}
			return nil
		})
	})
}

// The limit is on the whole exchange: an answer that begins and never ends holds nobody either.
func TestStep06_AnAnswerThatNeverEndsHoldsNobody(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		s, _ := calling(w, 1)
		var begun atomic.Int64 // the first answer alone does not end
		s.site("endless", http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			first := begun.Add(1) == 1
			io.Copy(io.Discard, r.Body) //nolint:errcheck // or the server does not notice that its caller has gone
			rw.(http.Flusher).Flush()
			if first {
				<-r.Context().Done()
			}
		}))
		s.cfg.Calls.URL = "http://endless.example/{key}"
		s.calls.Produce(shipment("o-1"), shipment("o-2"))

		s.start("a")

		w.Within(time.Minute, s.group.Drained(s.calls))
		w.Claim(s.group.CommitSafe(s.calls), s.dead.Holds())
	})
}

// What the service refuses for good is not asked for again. It is kept, and those behind it go on.
func TestStep06_WhatIsRefusedForGoodIsKept(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		s, shipping := calling(w, 1)
		bad := []int{http.StatusBadRequest, http.StatusUnauthorized, http.StatusNotFound, http.StatusConflict, http.StatusUnprocessableEntity, http.StatusFound}
		var want []*kgo.Record
		for _, code := range bad {
			key := fmt.Sprint(code)
			shipping.Always("POST /shipments/"+key, httpfake.Status(code))
			s.calls.Produce(shipment(key))
			want = append(want, shipment(key))
		}
		odd := shipment("odd") // of which no request can be made
		odd.Headers = append(odd.Headers, header("event-id", "e-1\r\nX-Admin: yes"))
		s.calls.Produce(odd, shipment("o-1"))
		want = append(want, shipment("odd"))
		want[len(want)-1].Headers = odd.Headers

		a := s.start("a")

		w.Within(10*time.Second, s.group.Drained(s.calls))
		w.Claim(s.dead.Holds(want...), shipping.Effects().Once("POST /shipments/o-1"), s.reasoned(), s.bodiesClosed(), s.group.CommitSafe(s.calls),
			a.accounts(ops.Counts{Received: 8, Processed: 1, Dead: 7}))
		for _, code := range bad {
			w.Claim(shipping.AtMost(1, fmt.Sprintf("POST /shipments/%d", code)))
		}
	})
}

// reasoned claims that each dead letter says why.
//
//go:noinline
func (s *stage) reasoned() harness.Claim {
	return func(*harness.World) error {
		for _, r := range s.dead.Records() {
			if !slices.ContainsFunc(r.Headers, func(h kgo.RecordHeader) bool { return h.Key == "reason" && len(h.Value) > 0 }) {
				return harness.Broke[harness.Misrouted]("somebody has to decide what becomes of it", "the dead letter %s has no header \"reason\"", r.Key)
			}
		}
		return nil
	}
}

// Whether a redirect is followed is a policy. Whoever does not follow sends nothing elsewhere.
func TestStep06_ARedirectIsFollowedOnlyByPolicy(t *testing.T) {
	for _, follow := range []bool{false, true} {
		harness.Run(t, func(w *harness.World) {
			s, _ := calling(w, 1)
			depot := s.partner("depot")
			s.site("moved", http.RedirectHandler("http://depot.example/parcels", http.StatusTemporaryRedirect))
			s.cfg.Calls.URL = "http://moved.example/shipments"
			if follow {
				s.cfg.Calls.Redirects = FollowRedirects
			}

			s.start("a")
			s.calls.Produce(shipment("o-1"))

			w.Within(time.Minute, s.group.Drained(s.calls))
			if follow {
				w.Claim(depot.Effects().Once("POST /parcels"), s.dead.Holds())
			} else {
				w.Claim(depot.Effects().Once(), s.dead.Holds(shipment("o-1")))
			}
		})
	}
}
