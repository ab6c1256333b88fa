package lesson10

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/kafka-katas/kafka-katas/harness"
	"github.com/kafka-katas/kafka-katas/ops"
)

// Whoever reads the clean topic still needs what came with the event: its headers, and when it happened.
func TestStep03_AnEventComesOutWithItsKeyHeadersAndTime(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		s := openShop(w, 2)
		r := rawEvent("e-1", " LogIn", "C-1", `"at":"1999-05-05T10:00:00+02:00"`)
		r.Headers = []kgo.RecordHeader{{Key: "trace", Value: []byte("a")}, {Key: "hop", Value: nil}, {Key: "trace", Value: []byte("b")}}
		s.raw.To(1, r)
		moon := rawEvent("e-2", "login", "c-2", `"at":"1969-07-20T20:17:00Z"`) // Kafka has no such timestamp
		s.raw.To(0, moon)

		s.start("a")

		w.Until(s.group.Drained(s.raw))
		want := &kgo.Record{
			Key: []byte("c-1"), Value: []byte(`{"at":"1999-05-05T08:00:00Z","customer":"c-1","id":"e-1","type":"login"}`),
			Timestamp: time.Date(1999, 5, 5, 8, 0, 0, 0, time.UTC),
			Headers: append(r.Headers, kgo.RecordHeader{Key: HeaderRules, Value: []byte("1")},
				kgo.RecordHeader{Key: HeaderOrigin, Value: []byte(s.raw.Name + "/1/0")}),
		}
		moon.Value = []byte(`{"at":"1969-07-20T20:17:00Z","customer":"c-2","id":"e-2","type":"login"}`)
		w.Claim(s.other.Holds(want, moon), empty(s.gold, s.business, s.audit, s.dead, s.parked, s.quarantine))
	})
}

// When it happened is what its record says, if the event itself does not: never the moment at which it is processed.
func TestStep03_AnEventWithoutATimeHasThatOfItsRecord(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		s := openShop(w, 1)
		s.rules.Filters = []Filter{{"old", func(e Event) bool { return e.At.Before(noon) }}}
		older, old := rawEvent("e-1", "login", "c-1"), rawEvent("e-2", "login", "c-2", `"at":"1999-06-01T11:59:59Z"`)
		older.Timestamp = noon.Add(-time.Hour)
		s.raw.Produce(older, old, rawEvent("e-3", "login", "c-3"))

		s.start("a")

		w.Until(s.group.Drained(s.raw))
		w.Claim(s.other.Holds(cleanEvent("e-3", "login", "c-3")), s.audit.Holds(older, old))
	})
}

// Records that have nothing to do with each other are all there, each once and in order, however many there are.
func TestStep03_EveryEventComesOutOnce(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		s := openShop(w, 3)
		all := append(numberedEvents(0, 40), eventsOf("c-x", 40)...)
		s.raw.Produce(all...)

		a := s.start("a")

		w.Until(s.group.Drained(s.raw))
		a.Stop()
		w.Claim(s.other.Holds(cleanEvents(all)...))
	})
}

// What is dropped is still accounted for: in the audit topic as it came, with the reason, and in the statistics.
func TestStep04_AFilteredEventIsAuditedWithItsReason(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		s := openShop(w, 1)
		internal := rawEvent("e-1", " LogIn ", "C-1", `"email":"Bob@shop.example "`)
		both, kept := rawEvent("test-2", "login", "c-2", `"email":"eve@shop.example"`), rawEvent("e-3", "login", "c-3")
		test := rawEvent("test-4", "login", "c-4")
		s.raw.Produce(internal, both, kept, test)

		a := s.start("a")

		w.Until(s.group.Drained(s.raw))
		w.Claim(s.other.Holds(cleanEvent("e-3", "login", "c-3")),
			s.audit.Holds(withHeader(withHeader(internal, HeaderReason, "internal"), HeaderRules, "1"), withHeader(both, HeaderReason, "internal"), withHeader(test, HeaderReason, "test")),
			a.counted("filtered_internal", 2), a.counted("filtered_test", 1))
	})
}

// A stretch in which nothing comes out is done with all the same: lag that does not fall looks like a consumer that hangs.
func TestStep04_AStretchOfFilteredEventsIsCommitted(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		s := openShop(w, 2)
		for i := range 50 {
			s.raw.Produce(rawEvent(fmt.Sprintf("test-%d", i), "login", fmt.Sprintf("c-%d", i)))
		}

		a := s.start("a")

		w.Within(10*time.Second, s.group.Drained(s.raw))
		w.Claim(empty(s.other, s.dead), a.reported(func() error {
			if c := a.Stats().Totals; c.Filtered != 50 || c.Processed != 0 {
				return fmt.Errorf("%d events are reported as filtered and %d as processed; it should be 50 and 0", c.Filtered, c.Processed)
			}
			return nil
		}))
	})
}

// A tombstone says that a customer is to be forgotten, in every topic that may know of him.
func TestStep05_ATombstonePassesToEveryTopicOfTheRoutes(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		s := openShop(w, 1)
		s.rules.Routes = append(s.rules.Routes, Route{s.gold.Name, func(e Event) bool { return e.Type == "platinum" }}) // a topic may have two routes
		s.raw.Produce(rawEvent("e-1", "login", "c-1"), &kgo.Record{Key: []byte(" C-1 "), Timestamp: noon, Headers: []kgo.RecordHeader{{Key: "trace", Value: []byte("x")}}})

		a := s.start("a")

		w.Until(s.group.Drained(s.raw))
		gone := &kgo.Record{Key: []byte("c-1"), Timestamp: noon, Headers: []kgo.RecordHeader{{Key: "trace", Value: []byte("x")}, {Key: HeaderRules, Value: []byte("1")}}}
		w.Claim(s.gold.Holds(gone), s.business.Holds(gone), s.other.Holds(cleanEvent("e-1", "login", "c-1"), gone), empty(s.dead, s.audit),
			a.reported(func() error {
				if c := a.Stats().Totals; c.Processed != 2 {
					return fmt.Errorf("%d records are reported as processed; it should be 2", c.Processed)
				}
				return nil
			}))
	})
}

// Null is a deletion; empty is a mistake of whoever wrote it.
func TestStep05_AnEmptyValueIsNoTombstone(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		s := openShop(w, 1)
		hollow := &kgo.Record{Key: []byte("c-1"), Value: []byte{}, Timestamp: noon}
		s.raw.Produce(hollow)

		s.start("a")

		w.Until(s.group.Drained(s.raw))
		w.Claim(s.dead.Holds(hollow), empty(s.gold, s.business, s.other))
	})
}

// Poison goes aside as it came, byte for byte, so that somebody can look at it; everything behind it flows.
func TestStep06_AnUndecodableRecordIsDeadLetteredAsItCame(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		s := openShop(w, 1)
		poison := &kgo.Record{
			Key: []byte{0xff, 0}, Value: []byte("\x00\xff secret-42 {"), Timestamp: noon,
			Headers: []kgo.RecordHeader{{Key: "trace", Value: []byte("t")}, {Key: "trace", Value: nil}},
		}
		s.raw.Produce(rawEvent("e-1", "login", "c-1"), poison, rawEvent("e-2", "login", "c-1"))

		a := s.start("a")

		w.Within(20*time.Second, s.group.Drained(s.raw))
		w.Claim(s.dead.Holds(withHeader(withHeader(poison, HeaderOrigin, s.raw.Name+"/0/1"), HeaderRules, "1")), s.other.Holds(cleanEvent("e-1", "login", "c-1"), cleanEvent("e-2", "login", "c-1")),
			a.deadLettersSay("secret-42"))
	})
}

// One event that a rule is not written for must not take all others with it.
func TestStep06_ARuleThatPanicsCostsOneRecord(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		s := openShop(w, 1)
		s.rules.Routes = append([]Route{{s.gold.Name, func(e Event) bool { return e.Country[0] == 'A' }}}, s.rules.Routes...)
		bad := rawEvent("e-2", "login", "c-2")
		explode := func(where string, e Event) bool {
			if e.Country == where {
				panic("nobody is prepared for " + e.Email)
			}
			return true
		}
		s.rules.Filters = append(s.rules.Filters, Filter{"filter", func(e Event) bool { return !explode("FILTER", e) }})
		s.rules.Quality = []Check{{"check", 1, func(e Event) bool { return explode("CHECK", e) }}}
		s.rules.Expand = func(e Event) []Event { explode("EXPAND", e); return []Event{e} }
		all := []*kgo.Record{bad}
		for _, where := range []string{"filter", "check", "expand"} {
			all = append(all, rawEvent("e-"+where, "login", "c-2", `"country":"`+where+`","email":"secret-42@example.com"`))
		}
		s.raw.Produce(rawEvent("e-1", "login", "c-1", `"country":"at"`))
		s.raw.Produce(append(all, rawEvent("e-3", "login", "c-3", `"country":"de"`))...)

		a := s.start("a")

		w.Within(20*time.Second, s.group.Drained(s.raw))
		w.Claim(a.deadLettersSay("secret-42"), s.dead.Holds(all...), s.gold.Holds(cleanEvent("e-1", "login", "c-1", `"country":"AT"`)), s.other.Holds(cleanEvent("e-3", "login", "c-3", `"country":"DE"`)))
	})
}

// Where two routes fit, the first one decides, each time.
func TestStep07_TheFirstRouteThatTakesAnEventWins(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		s := openShop(w, 1)
		s.raw.Produce(rawEvent("e-1", "gold", "c-1"), rawEvent("e-2", "business", "c-1"), rawEvent("e-3", "gold", "c-2"))

		s.start("a")

		w.Until(s.group.Drained(s.raw))
		w.Claim(s.gold.Holds(cleanEvent("e-1", "gold", "c-1"), cleanEvent("e-3", "gold", "c-2")), s.business.Holds(cleanEvent("e-2", "business", "c-1")), empty(s.other))
	})
}

// Routing is total: an event of a kind that nobody has heard of goes somewhere, too.
func TestStep07_AnEventThatNoRouteTakesGoesToTheDefault(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		s := openShop(w, 1)
		s.raw.Produce(rawEvent("e-1", "order.teleported", "c-1", `"loyalty":{"points":7}`))

		s.start("a")

		w.Until(s.group.Drained(s.raw))
		w.Claim(s.other.Holds(cleanEvent("e-1", "order.teleported", "c-1", `"loyalty":{"points":7}`)), empty(s.gold, s.business, s.audit, s.dead),
			routesTo(s.rules, Event{ID: "e-1", Type: "nothing"}, s.other.Name), routesTo(s.rules, Event{ID: "e-1", Type: "gold"}, s.gold.Name))
	})
}

// routesTo claims what the rules say of an event.
//
//go:noinline
func routesTo(r Rules, e Event, want string) harness.Claim {
	return func(*harness.World) error {
		got, err := r.Route(e)
		if err == nil && got != want {
			return harness.Broke[harness.Misrouted]("", "an event of type %q goes to %q; it should be %q", e.Type, got, want)
		}
		return err
	}
}

// The reference table says which segment a customer is in, in whatever spelling both came.
func TestStep08_AnEventGetsItsSegmentFromTheTable(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		s := openShop(w, 2)
		s.customers("c-1", "gold", "c-2", "business", "C-3 ", " gold")
		s.raw.Produce(rawEvent("e-1", "login", "C-1"), rawEvent("e-2", "login", "c-2", `"segment":"gold"`), rawEvent("e-3", "login", "c-3"))

		s.start("a")

		w.Until(s.group.Drained(s.raw))
		w.Claim(s.gold.Holds(cleanEvent("e-1", "login", "c-1", `"segment":"gold"`), cleanEvent("e-3", "login", "c-3", `"segment":"gold"`)),
			s.business.Holds(cleanEvent("e-2", "login", "c-2", `"segment":"business"`)), empty(s.other))
	})
}

// Who is not in the table is not lost: the policy is a default.
func TestStep08_AnUnknownCustomerGetsTheDefault(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		s := openShop(w, 1)
		s.customers("c-1", "gold")
		s.cfg.Default = "nobody"
		s.raw.Produce(rawEvent("e-2", "login", "c-2", `"segment":"gold"`)) // says who wrote it

		s.start("a")

		w.Until(s.group.Drained(s.raw))
		w.Claim(s.other.Holds(cleanEvent("e-2", "login", "c-2", `"segment":"nobody"`)), empty(s.parked, s.gold))
	})
}

// Or the event waits in a topic of its own, as it came, until somebody has filled the gap.
func TestStep08_AnUnknownCustomerIsParkedIfThePolicySaysSo(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		s := openShop(w, 1)
		s.customers("c-1", "gold")
		s.cfg.Missing = MissingPark
		unknown := rawEvent("e-2", "LOGIN", "C-2")
		s.raw.Produce(rawEvent("e-1", "login", "c-1"), unknown, rawEvent("e-3", "login", "c-1"))

		a := s.start("a")

		w.Until(s.group.Drained(s.raw))
		w.Claim(s.gold.Holds(cleanEvent("e-1", "login", "c-1", `"segment":"gold"`), cleanEvent("e-3", "login", "c-1", `"segment":"gold"`)), s.parked.Holds(unknown), reasoned(s.parked),
			empty(s.other), a.counted("parked", 1))
	})
}

// Every record that came in is in exactly one column.
func TestStep09_StatisticsAddUpToTheInput(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		s := openShop(w, 2)
		s.customers("c-1", "gold")
		s.cfg.Missing = MissingPark
		s.raw.Produce(rawEvent("e-1", "login", "c-1"), rawEvent("e-2", "login", "c-2"), rawEvent("test-3", "login", "c-1"), &kgo.Record{Key: []byte("c-1"), Value: []byte("?")},
			&kgo.Record{Key: []byte("c-1")}, rawEvent("e-6", "login", "c-1"))

		a := s.start("a")

		w.Until(s.group.Drained(s.raw))
		w.Sleep(time.Second)
		w.Claim(a.reported(func() error {
			got := a.Stats().Totals
			want := ops.Counts{Received: 6, Processed: 3, Filtered: 1, Parked: 1, Dead: 1, Failed: 1}
			if got != want {
				return fmt.Errorf("the totals are %+v; they should be %+v", got, want)
			}
			return nil
		}), a.healthy(true, true))
	})
}

// A paused pipeline takes nothing up and is healthy; resumed, it goes on where it was.
func TestStep09_APauseStopsNothingButTheIntake(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		s := openShop(w, 2)
		a := s.start("a")
		first, second := eventsOf("c-1", 3), eventsOf("c-2", 3)
		s.raw.Produce(first...)
		w.Until(s.group.Drained(s.raw))

		a.Pause()
		w.Sleep(time.Second)
		s.raw.Produce(second...)
		w.Sleep(time.Minute)
		w.Claim(s.other.Holds(cleanEvents(first)...), a.healthy(true, true), a.reported(func() error {
			if !a.Stats().Paused {
				return fmt.Errorf("%s is paused and does not report it", a.Name)
			}
			return nil
		}))
		a.Resume()

		w.Within(20*time.Second, s.group.Drained(s.raw))
		w.Claim(s.other.Holds(cleanEvents(append(first, second...))...))
	})
}

// Whoever pauses it while it still reads its table means it, too.
func TestStep09_APauseBeforeTheFirstEventHolds(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		s := openShop(w, 2)
		s.customers("c-1", "gold")
		s.raw.Produce(eventsOf("c-1", 3)...)
		a := s.disturbed("a", harness.Delay(harness.ListOffsets, 5*time.Second))
		w.Sleep(time.Second)

		a.Pause()
		w.Sleep(time.Minute)
		w.Claim(empty(s.gold), a.healthy(true, true))
		a.Resume()

		w.Within(20*time.Second, s.group.Drained(s.raw))
		w.Claim(s.gold.Holds(cleanEvents(eventsOf("c-1", 3), `"segment":"gold"`)...))
	})
}

// reasoned claims that what was set aside says why.
//
//go:noinline
func reasoned(topics ...*harness.Topic) harness.Claim {
	return func(*harness.World) error {
		for _, t := range topics {
			for _, r := range t.Records() {
				if !slices.ContainsFunc(r.Headers, func(h kgo.RecordHeader) bool { return h.Key == HeaderReason && len(h.Value) > 0 }) {
					return harness.Broke[harness.Misreported]("whoever looks at it later has nothing else to go by", "the record of %q in %s has no header %s", r.Key, t, HeaderReason)
				}
			}
		}
		return nil
	}
}

// deadLettersSay claims that each dead letter has a reason, and that neither it nor the statistics quote the record.
//
//go:noinline
func (m *member) deadLettersSay(secret string) harness.Claim {
	return func(w *harness.World) error {
		for _, r := range m.s.dead.Records() {
			reason := ""
			for _, h := range r.Headers {
				if h.Key == HeaderReason {
					reason = string(h.Value)
				}
			}
			if reason == "" {
				return harness.Broke[harness.Misreported]("whoever looks at a dead letter has nothing else to go by", "the dead letter of %q has no header %s", r.Key, HeaderReason)
			}
			if strings.Contains(reason, secret) {
				return harness.Broke[harness.Misreported]("errors go where nobody expects a customer's data", "the reason of a dead letter quotes the record: %s", reason)
			}
		}
		return m.reported(func() error {
			for _, g := range m.Stats().Errors {
				for _, sample := range g.Samples {
					if strings.Contains(sample.Message, secret) {
						return fmt.Errorf("an error sample quotes the record: %s", sample.Message)
					}
				}
			}
			if len(m.Stats().Errors) == 0 {
				return fmt.Errorf("%s reports no error although it has dead-lettered a record", m.Name)
			}
			return nil
		})(w)
	}
}
