package lesson10

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/kafka-katas/kafka-katas/harness"
	"github.com/kafka-katas/kafka-katas/harness/httpfake"
)

// What the service says goes into the event.
func TestStep13_AnEventGetsItsRiskFromTheService(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		s := openShop(w, 1)
		s.service().Always("GET /customers/c-2", httpfake.OK(" high\n")).Always("GET /customers/c-3", httpfake.Status(http.StatusNotFound))
		s.raw.Produce(rawEvent("e-1", "login", "c-1"), rawEvent("e-2", "login", "C-2"), rawEvent("e-3", "login", "c-3"), rawEvent("e-4", "login", "a/b c"))

		s.start("a")

		w.Until(s.group.Drained(s.raw))
		w.Claim(s.other.Holds(cleanEvent("e-1", "login", "c-1", `"risk":"low"`), cleanEvent("e-2", "login", "c-2", `"risk":"high"`), cleanEvent("e-3", "login", "c-3", `"risk":"unknown"`),
			cleanEvent("e-4", "login", "a/b c", `"risk":"low"`)), asked(s.partner, "GET /customers/a%2Fb%20c", 1))
	})
}

// Who is not known there follows the policy. That nobody knows a customer is an answer, and as good as any for CacheTTL.
func TestStep13_WhoTheServiceDoesNotKnowFollowsThePolicy(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		s := openShop(w, 1)
		s.cfg.Missing = MissingPark
		s.service().Always("GET /customers/c-2", httpfake.Status(http.StatusNotFound))
		first, second := rawEvent("e-1", "LOGIN", "C-2"), rawEvent("e-3", "login", "c-2")
		a := s.start("a")
		s.raw.Produce(first, rawEvent("e-2", "login", "c-1"))
		w.Until(s.group.Drained(s.raw))
		s.raw.Produce(second)

		w.Until(s.group.Drained(s.raw))
		w.Claim(s.parked.Holds(first, second), s.other.Holds(cleanEvent("e-2", "login", "c-1", `"risk":"low"`)), a.counted("parked", 2), asked(s.partner, "GET /customers/c-2", 1))
	})
}

// asked claims how often the service was asked.
//
//go:noinline
func asked(p *httpfake.Partner, route string, n int) harness.Claim {
	return func(w *harness.World) error {
		if got := len(p.Requests(route)); got < n {
			return harness.Broke[harness.Lost]("", "%s was sent %s %d times; it should be %d", p.Name, route, got, n)
		}
		return p.AtMost(n, route)(w)
	}
}

// A request that hangs is given up after LookupTimeout and made again RetryAfter later; the event waits, nothing overtakes it.
func TestStep13_AHangingLookupIsGivenUpAndMadeAgain(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		s := openShop(w, 1)
		s.service().Next("GET /customers/c-1", httpfake.Hang(), httpfake.Status(http.StatusServiceUnavailable))
		s.raw.Produce(eventsOf("c-1", 3)...)

		a := s.start("a")

		w.Until(s.group.Drained(s.raw))
		first := s.partner.Requests("GET /customers/c-1")[0].At
		w.Claim(s.other.Holds(cleanEvents(eventsOf("c-1", 3), `"risk":"low"`)...), empty(s.dead, s.parked),
			harness.Times("lookups of c-1", s.partner.Times("GET /customers/c-1"), first, first+3*time.Second, first+4*time.Second), a.healthy(true, true))
	})
}

// Lookups of different customers run side by side, as many as the service can bear; the events come out in their order.
func TestStep13_LookupsRunSideBySideAndOrderIsKept(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		s := openShop(w, 1)
		s.cfg.MaxLookups, s.cfg.LookupTimeout = 4, time.Second // less than the last ones wait for their place
		s.service().Always("GET", httpfake.OK("low").After(500*time.Millisecond)).Always("GET /customers/c-0", httpfake.OK("high").After(900*time.Millisecond))
		s.inOnePartition()
		events := numberedEvents(0, 12)
		s.raw.Produce(events...)

		began := w.Now()
		a := s.start("a")

		w.Until(s.group.Drained(s.raw))
		w.Claim(s.partner.AtOnce(4), a.reported(func() error {
			if c := a.Stats().Totals; c.Failed != 0 {
				return fmt.Errorf("%d requests are reported as failed, and each was answered in time; LookupTimeout is for a request, and the wait for a place is none", c.Failed)
			}
			return nil
		}), harness.AtMost("twelve lookups, four at once", lastOutput(w)-began, 4*time.Second), s.inSourceOrder(events))
	})
}

// lastOutput is when the last output was written.
func lastOutput(w *harness.World) time.Duration {
	events := w.Journal().Events(harness.Of(harness.Produced), func(e harness.Event) bool { return e.Process != "" })
	if len(events) == 0 {
		return 0
	}
	return events[len(events)-1].At
}

// inOnePartition makes a default topic in which every order shows.
func (s *shop) inOnePartition() {
	s.other = s.w.Topic("ordered", 1)
	s.rules.Default = s.other.Name
}

// inSourceOrder claims that in each partition of the default topic the events are in the order of the source.
//
//go:noinline
func (s *shop) inSourceOrder(events []*kgo.Record) harness.Claim {
	return func(*harness.World) error {
		at := map[string]int{}
		for i, r := range events {
			at[idOf(r)] = i
		}
		before := map[int32]*kgo.Record{}
		n := 0
		for _, r := range s.other.Records() {
			n++
			if b := before[r.Partition]; b != nil && at[idOf(r)] < at[idOf(b)] {
				return harness.Broke[harness.Reordered]("a lookup that takes longer must not let others overtake", "%s was written behind %s", nameOf(r), nameOf(b))
			}
			before[r.Partition] = r
		}
		if n < len(events) {
			return harness.Broke[harness.Lost]("", "%d of %d events came out", n, len(events))
		}
		return nil
	}
}

func nameOf(r *kgo.Record) string {
	if r.Value == nil {
		return "the tombstone of " + string(r.Key)
	}
	return idOf(r)
}

// A slow answer holds up what comes behind it in its partition, whoever that is about. A tombstone above all: a customer
// who is forgotten first and heard of afterwards is not forgotten.
func TestStep13_ASlowAnswerIsNotOvertaken(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		s := openShop(w, 1)
		s.service().Next("GET /customers/c-1", httpfake.OK("low").After(time.Second))
		s.inOnePartition()
		events := append(eventsOf("c-1", 2), append(eventsOf("c-2", 2), eventsOf("c-1", 2)...)...)
		for i, r := range events {
			r.Key, r.Value = []byte("household"), rawEvent(fmt.Sprintf("e-%d", i), "login", string(r.Key)).Value
		}
		events = append(events, &kgo.Record{Key: []byte("c-1"), Timestamp: noon})
		s.raw.Produce(events...)

		s.start("a")

		w.Until(s.group.Drained(s.raw))
		w.Claim(s.inSourceOrder(events))
	})
}

// A hundred events of one customer are one question.
func TestStep13_EqualQuestionsAreAskedOnce(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		s := openShop(w, 4)
		s.service().Always("GET", httpfake.OK("low").After(300*time.Millisecond))
		for p := range int32(4) {
			for _, r := range eventsOf("c-1", 25) {
				r.Value = rawEvent(fmt.Sprintf("e-%d-%s", p, idOf(r)), "login", "c-1").Value
				s.raw.To(p, r)
			}
		}

		s.start("a")

		w.Until(s.group.Drained(s.raw))
		w.Claim(asked(s.partner, "GET /customers/c-1", 1))
	})
}

// An answer is good for CacheTTL: until then nobody asks again, from then on somebody does.
func TestStep13_AnAnswerIsGoodUntilItsTimeIsUp(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		s := openShop(w, 1)
		s.cfg.CacheTTL = time.Minute
		s.service().Next("GET /customers/c-1", httpfake.OK("low")).Always("GET /customers/c-1", httpfake.OK("high"))
		s.start("a")
		s.raw.Produce(rawEvent("e-1", "login", "c-1"))
		w.Until(s.group.Drained(s.raw))
		answered := s.partner.Requests("GET")[0].At

		w.SleepUntil(answered + time.Minute - time.Second)
		s.raw.Produce(rawEvent("e-2", "login", "c-1"))
		w.Until(s.group.Drained(s.raw))
		w.Claim(asked(s.partner, "GET", 1))
		w.SleepUntil(answered + time.Minute + time.Second)
		s.raw.Produce(rawEvent("e-3", "login", "c-1"))

		w.Until(s.group.Drained(s.raw))
		w.Claim(asked(s.partner, "GET", 2), s.other.Holds(cleanEvent("e-1", "login", "c-1", `"risk":"low"`), cleanEvent("e-2", "login", "c-1", `"risk":"low"`), cleanEvent("e-3", "login", "c-1", `"risk":"high"`)))
	})
}

// An error is no answer. Remembered, one bad second would last for the whole TTL.
func TestStep13_AnErrorIsNotRemembered(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		s := openShop(w, 1)
		s.service().Next("GET /customers/c-1", httpfake.Status(http.StatusForbidden), httpfake.TooMany(time.Second))
		s.raw.Produce(rawEvent("e-1", "login", "c-1"))

		a := s.start("a")

		w.Until(s.group.Drained(s.raw))
		w.Claim(s.other.Holds(cleanEvent("e-1", "login", "c-1", `"risk":"low"`)), asked(s.partner, "GET", 3), empty(s.dead), a.reported(func() error {
			if c := a.Stats().Totals; c.Failed != 2 || c.Retried != 2 {
				return fmt.Errorf("%d requests are reported as failed and %d as made again; it should be 2 and 2", c.Failed, c.Retried)
			}
			return nil
		}))
	})
}

// A service that is down makes the pipeline wait: not ready, alive, nothing lost.
func TestStep13_AServiceThatIsDownIsWaitedFor(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		s := openShop(w, 1)
		s.service()
		a := s.start("a")
		s.raw.Produce(rawEvent("e-1", "login", "c-1"))
		w.Until(s.group.Drained(s.raw))
		s.partner.Crash()
		later := []*kgo.Record{rawEvent("e-2", "login", "c-2"), rawEvent("e-3", "login", "c-2"), rawEvent("e-4", "login", "c-1")}
		s.raw.Produce(later...)

		w.Sleep(10 * time.Minute)
		w.Claim(a.healthy(true, false), s.safe(), empty(s.dead, s.parked))
		s.partner.Restart()

		w.Within(time.Minute, s.group.Drained(s.raw))
		w.Claim(s.other.Holds(cleanEvents(append([]*kgo.Record{rawEvent("e-1", "login", "c-1")}, later...), `"risk":"low"`)...), a.healthy(true, true))
	}, harness.Deadline(time.Hour))
}

// However long an event waits: what was done before it is committed, so that a crash does not repeat it.
func TestStep13_WhatIsDoneIsCommittedWhileAnEventWaits(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		s := openShop(w, 1)
		s.service().Always("GET /customers/c-2", httpfake.Status(http.StatusServiceUnavailable))
		s.start("a")
		s.raw.Produce(rawEvent("e-1", "login", "c-1"))
		w.Until(s.other.Holds(cleanEvent("e-1", "login", "c-1", `"risk":"low"`)))
		s.raw.Produce(rawEvent("e-2", "login", "c-2"))

		w.Sleep(11 * time.Second)

		w.Claim(s.group.CommittedAt(s.raw, 0, 1))
		s.partner.Always("GET /customers/c-2", httpfake.OK("low"))
		w.Until(s.group.Drained(s.raw))
	})
}

// Only what goes on is worth a question: an event that is dropped has no effect outside.
func TestStep13_WhatIsSetAsideCausesNoRequest(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		s := openShop(w, 1)
		s.service()
		s.rules.Quality, s.rules.QuarantineBelow = []Check{{"name", 1, func(e Event) bool { return e.Name != "" }}}, 50
		s.raw.Produce(rawEvent("test-1", "login", "c-1"), rawEvent("e-2", "login", "c-2"), &kgo.Record{Key: []byte("c-3"), Value: []byte("?")}, &kgo.Record{Key: []byte("c-4")})

		s.start("a")

		w.Until(s.group.Drained(s.raw))
		w.Claim(s.partner.AtMost(0, "GET"))
	})
}

// An event that is enriched before its table is there is enriched with nothing.
func TestStep14_TheTableIsReadToItsEndFirst(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		s := openShop(w, 1)
		var pairs []string
		var want []*kgo.Record
		events := numberedEvents(0, 30)
		for i, r := range events {
			pairs = append(pairs, string(r.Key), "gold")
			want = append(want, cleanEvent(idOf(r), "login", fmt.Sprintf("c-%d", i), `"segment":"gold"`))
		}
		s.customers(pairs...)
		s.raw.Produce(events...)

		a := s.disturbed("a", harness.Delay(harness.Fetch, 5*time.Second).Times(2), harness.Delay(harness.ListOffsets, 2*time.Second))
		w.Sleep(time.Second)
		w.Claim(a.healthy(true, false))

		w.Until(s.group.Drained(s.raw))
		w.Claim(s.gold.Holds(want...), empty(s.other))
	})
}

// The table goes on: what changes in it holds for the events that come afterwards, and a tombstone takes a row out.
func TestStep14_UpdatesAndDeletionsOfTheTableAreApplied(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		s := openShop(w, 1)
		table := s.customers("c-1", "silver", "c-2", "gold")
		s.start("a")
		s.raw.Produce(rawEvent("e-1", "login", "c-1"), rawEvent("e-2", "login", "c-2"))
		w.Until(s.group.Drained(s.raw))

		table.Produce(&kgo.Record{Key: []byte("c-1"), Value: []byte("gold")}, &kgo.Record{Key: []byte("c-2")}, &kgo.Record{Key: []byte("c-3"), Value: []byte("gold")})
		w.Sleep(2 * time.Second)
		s.raw.Produce(rawEvent("e-3", "login", "c-1"), rawEvent("e-4", "login", "c-2"), rawEvent("e-5", "login", "c-3"))

		w.Until(s.group.Drained(s.raw))
		w.Claim(s.other.Holds(cleanEvent("e-1", "login", "c-1", `"segment":"silver"`), cleanEvent("e-4", "login", "c-2", `"segment":"unknown"`)),
			s.gold.Holds(cleanEvent("e-2", "login", "c-2", `"segment":"gold"`), cleanEvent("e-3", "login", "c-1", `"segment":"gold"`), cleanEvent("e-5", "login", "c-3", `"segment":"gold"`)))
	})
}

// The last offset of a table need not hold a record: the end of a transaction takes one. And an empty table is loaded.
func TestStep14_ATableThatEndsWithATransactionIsLoaded(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		s := openShop(w, 1)
		table := s.customers("c-1", "silver")
		for len(table.Records()) < 2 { // under load kfake may abort a transaction and say that it is committed
			s.transact(table, &kgo.Record{Key: []byte("c-1"), Value: []byte("gold")}, kgo.TryCommit)
		}
		s.transact(table, &kgo.Record{Key: []byte("c-1"), Value: []byte("aborted")}, kgo.TryAbort)
		s.raw.Produce(rawEvent("e-1", "login", "c-1"))

		s.start("a")

		w.Within(time.Minute, s.group.Drained(s.raw))
		w.Claim(s.gold.Holds(cleanEvent("e-1", "login", "c-1", `"segment":"gold"`)))
	})
}
