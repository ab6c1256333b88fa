package lesson10

import (
	"fmt"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/kafka-katas/kafka-katas/harness"
	"github.com/kafka-katas/kafka-katas/harness/httpfake"
	"github.com/kafka-katas/kafka-katas/ops"
)

// hasQuality gives the rules three checks: 2 points for an email, 1 for a name, 1 for a country.
func (s *shop) hasQuality() {
	s.rules.Quality = []Check{
		{"email", 2, func(e Event) bool { return e.Email != "" }},
		{"name", 1, func(e Event) bool { return e.Name != "" }},
		{"country", 1, func(e Event) bool { return e.Country != "" }},
	}
	s.rules.QuarantineBelow, s.rules.RejectBelow = 75, 50
}

const (
	perfect = `"email":"ada@example.com","name":"Ada","country":"AT"`
	poor    = `"email":"ada@example.com"`
	awful   = `"name":"Ada"`
)

// Poor data is kept apart until somebody has looked at it, awful data is refused; the score says why.
func TestStep19_AScoreDecidesBetweenGoodPoorAndAwful(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		s := openShop(w, 1)
		s.hasQuality()
		low, lower := rawEvent("e-2", "login", "c-2", poor), rawEvent("e-3", "login", "c-3", awful)
		s.raw.Produce(rawEvent("e-1", "login", "c-1", perfect), low, lower, rawEvent("e-4", "login", "c-4", poor, `"country":"at"`))

		a := s.start("a")

		w.Until(s.group.Drained(s.raw))
		w.Claim(s.other.Holds(cleanEvent("e-1", "login", "c-1", perfect), cleanEvent("e-4", "login", "c-4", poor, `"country":"AT"`)),
			s.quarantine.Holds(withHeader(low, HeaderScore, "50")), s.audit.Holds(withHeader(lower, HeaderScore, "25")), reasoned(s.quarantine, s.audit),
			a.counted("quarantined", 1), a.counted("rejected", 1), scores(s.rules, Event{Name: "Ada"}, 25, "email", "country"), scores(ShopRules(), Event{}, 100))
	})
}

// scores claims what the rules think of an event.
//
//go:noinline
func scores(r Rules, e Event, want int, missing ...string) harness.Claim {
	return func(*harness.World) error {
		got, failed, err := r.Score(e)
		if err == nil && (got != want || fmt.Sprint(failed) != fmt.Sprint(missing)) {
			return harness.Broke[harness.Misreported]("", "the score is %d with %q failing; it should be %d with %q", got, failed, want, missing)
		}
		return err
	}
}

// Many bad events at once are no bad events but a broken source: going on would fill the quarantine with good customers.
func TestStep19_TooManyBadEventsStopThePipeline(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		s := openShop(w, 1)
		s.hasQuality()
		s.cfg.QualityWindow, s.cfg.QualityLimit, s.cfg.MaxBatch = 4, 2, 4
		bad := []*kgo.Record{rawEvent("e-1", "login", "c-1", poor), rawEvent("e-2", "login", "c-2", poor), rawEvent("e-4", "login", "c-4", awful)}
		test, poison := rawEvent("test-5", "login", "c-5"), &kgo.Record{Key: []byte("c-6"), Value: []byte("?"), Timestamp: noon} // nobody judges them
		s.raw.Produce(bad[0], bad[1], test, poison, rawEvent("e-3", "login", "c-3", perfect), bad[2], rawEvent("e-7", "login", "c-7", perfect))

		a := s.start("a")
		a.MayEnd()

		w.Within(time.Minute, a.Ends(ErrQuality))
		w.Claim(s.quarantine.Holds(bad[0], bad[1]), s.audit.Holds(test, bad[2]), s.dead.Holds(poison), s.other.Holds(cleanEvent("e-3", "login", "c-3", perfect)),
			s.group.CommittedAt(s.raw, 0, 6), a.healthy(false, false), a.alerts())
	})
}

// alerts claims that the alert about data quality has fired, once.
//
//go:noinline
func (m *member) alerts() harness.Claim {
	return m.reported(func() error {
		for _, a := range m.Stats().Alerts {
			if a.Name == "data_quality" {
				if a.State != ops.Firing || a.Fired != 1 {
					return fmt.Errorf("alert data_quality of %s is %v and has fired %d times; it should be firing, once", m.Name, a.State, a.Fired)
				}
				return nil
			}
		}
		return fmt.Errorf("%s reports no alert data_quality", m.Name)
	})
}

// The limit itself is allowed, and what lies further back than the window is forgotten.
func TestStep19_TheQualityLimitIsAboutTheLatestEvents(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		s := openShop(w, 1)
		s.hasQuality()
		s.cfg.QualityWindow, s.cfg.QualityLimit = 4, 2
		var good []*kgo.Record
		for i := range 30 {
			r := rawEvent(fmt.Sprintf("e-%d", i), "login", "c-1", perfect)
			if i%4 < 2 {
				r = rawEvent(fmt.Sprintf("e-%d", i), "login", "c-1", poor)
			} else {
				good = append(good, r)
			}
			s.raw.Produce(r)
		}

		a := s.start("a")

		w.Until(s.group.Drained(s.raw))
		w.Claim(s.other.Holds(cleanEvents(good, perfect)...), a.healthy(true, true))
	})
}

// New rules begin between two records. Nothing is written under half of the one and half of the other.
func TestStep20_NewRulesBeginAtARecordBoundary(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		s := openShop(w, 1)
		s.service().Always("GET", httpfake.OK("low").After(500*time.Millisecond))
		s.rules.Expand = func(e Event) []Event { return []Event{e, e} }
		for i := range 6 {
			s.raw.Produce(rawEvent(fmt.Sprintf("e-%d", i), "login", "c-1"))
		}
		a := s.start("a")
		w.Until(a.inHand())
		w.Sleep(100 * time.Millisecond)

		second := s.rules
		second.Version, second.Routes, second.Default = "2", nil, s.gold.Name
		w.Claim(ruled(a.SetRules(second)))
		s.raw.Produce(rawEvent("e-6", "login", "c-1"), rawEvent("e-7", "login", "c-2"))

		w.Until(s.group.Drained(s.raw))
		w.Claim(s.underOneVersion("e-0", "e-1", "e-2", "e-3", "e-4", "e-5", "e-6", "e-7"), versions(s.other, "1", -1), versions(s.gold, "2", -1))
	})
}

// underOneVersion claims that both outputs of each event are under the same version, the first event's under the first,
// the last two events' under the second, and that no event is under an older version than the one before it.
//
//go:noinline
func (s *shop) underOneVersion(ids ...string) harness.Claim {
	return func(*harness.World) error {
		first, second := map[string]int{}, map[string]int{}
		for _, r := range s.other.Records() {
			first[idOf(r)]++
		}
		for _, r := range s.gold.Records() {
			second[idOf(r)]++
		}
		switched := false
		for i, id := range ids {
			switch n, m := first[id], second[id]; {
			case n+m < 2:
				return harness.Broke[harness.Lost]("", "%d of 2 outputs of %s are there", n+m, id)
			case n+m > 2:
				return harness.Broke[harness.Duplicated]("", "%d outputs of %s are there; it should be 2", n+m, id)
			case n == 1:
				return harness.Broke[harness.Misrouted]("half of it follows one decision, half of it another", "one output of %s was routed by the old rules, one by the new", id)
			case i == 0 && m > 0:
				return harness.Broke[harness.Misrouted]("it had been filtered by the old rules", "%s was in work when the rules changed, and was routed by the new ones", id)
			case n > 0 && (switched || i >= len(ids)-2):
				return harness.Broke[harness.Misrouted]("an event that comes later is decided by later rules", "%s was routed by the old rules, although it came after the change", id)
			default:
				switched = m > 0
			}
		}
		return nil
	}
}

// Rules that cannot decide are refused, and the old ones stay.
func TestStep20_BadRulesAreRefusedAndTheOldOnesStay(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		s := openShop(w, 1)
		a := s.start("a")
		s.raw.Produce(rawEvent("e-1", "login", "c-1"))
		w.Until(s.group.Drained(s.raw))

		w.Claim(problems("SetRules", a.SetRules(Rules{Version: "2"}), "default"))
		s.raw.Produce(rawEvent("e-2", "login", "c-1"))

		w.Until(s.group.Drained(s.raw))
		w.Claim(versions(s.other, "1", 2))
	})
}

// ruled claims that rules were taken.
//
//go:noinline
func ruled(err error) harness.Claim { return func(*harness.World) error { return err } }

// versions claims that a topic holds n records (-1: any number), all of them under that version of the rules.
//
//go:noinline
func versions(t *harness.Topic, version string, n int) harness.Claim {
	return func(*harness.World) error {
		records := t.Records()
		for _, r := range records {
			for _, h := range r.Headers {
				if h.Key == HeaderRules && string(h.Value) != version {
					return harness.Broke[harness.Misrouted]("whoever reads it later has to know by which rules it was made", "%s is in %s under version %s; it should be %s", idOf(r), t, h.Value, version)
				}
			}
		}
		if n < 0 {
			return nil
		} else if len(records) < n {
			return harness.Broke[harness.Lost]("", "%s holds %d events under version %s; it should be %d", t, len(records), version, n)
		} else if len(records) > n {
			return harness.Broke[harness.Misrouted]("", "%s holds %d events under version %s; it should be %d", t, len(records), version, n)
		}
		return nil
	}
}

// A replay a day later, by another group, gives the same bytes: nothing of the moment of processing is in them.
func TestStep21_TheSameInputGivesTheSameBytes(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		s := openShop(w, 2)
		s.hasQuality()
		s.raw.Produce(rawEvent("e-1", "Login", "C-1 ", perfect, `"zz":1,"aa":{"b":[1,2]},"mm":"x","kk":true`), rawEvent("e-2", "login", "c-2", poor), rawEvent("e-3", "login", "c-3", awful),
			rawEvent("test-4", "login", "c-4"), rawEvent("e-5", "gold", "c-5", perfect, `"amount":"1.10","currency":"eur"`),
			&kgo.Record{Key: []byte("c-6"), Value: []byte("?"), Timestamp: noon}, &kgo.Record{Key: []byte("c-7"), Timestamp: noon})
		a := s.start("a")
		w.Until(s.group.Drained(s.raw))
		a.Stop()
		first := map[string]map[string][]string{}
		for _, t := range s.outputs() {
			first[t.String()] = written(t.Records())
		}

		w.Sleep(24 * time.Hour)
		replay := w.Group("replay")
		s.cfg.Group = replay.Name
		s.start("r")

		w.Until(replay.Drained(s.raw))
		for _, t := range s.outputs() {
			w.Claim(writtenTwice(t, first[t.String()]))
		}
	}, harness.Deadline(48*time.Hour))
}

// written is everything about the records of each key but where they are, in order. Between two keys there is no order.
func written(records []*kgo.Record) map[string][]string {
	lines := map[string][]string{}
	for _, r := range records {
		line := fmt.Sprintf("%q %q %v %d", r.Key, r.Value, r.Value == nil, r.Timestamp.UnixMilli())
		for _, h := range r.Headers {
			line += fmt.Sprintf(" %s=%q", h.Key, h.Value)
		}
		lines[string(r.Key)] = append(lines[string(r.Key)], line)
	}
	return lines
}

// writtenTwice claims that a topic holds what it held before, and then the same again.
//
//go:noinline
func writtenTwice(t *harness.Topic, first map[string][]string) harness.Claim {
	return func(*harness.World) error {
		for key, lines := range written(t.Records()) {
			if half := len(first[key]); len(lines) != 2*half || fmt.Sprint(lines[half:]) != fmt.Sprint(first[key]) {
				return harness.Broke[harness.Misrouted]("a replay that differs cannot repair anything: nobody knows which of the two is right",
					"replayed, %s holds of key %q %s; before it was %s", t, key, lines[min(half, len(lines)):], first[key])
			}
		}
		return nil
	}
}

// Whatever bytes come, the decoder answers. It is judged by a corpus here, and by fuzzing (FuzzNormalise) from there.
func TestStep22_NoBytesMakeTheDecoderPanic(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		s := openShop(w, 1)
		for i, value := range seeds {
			s.raw.Produce(&kgo.Record{Key: fmt.Appendf(nil, "k-%d", i), Value: []byte(value), Timestamp: noon})
		}

		a := s.start("a")

		w.Until(s.group.Drained(s.raw))
		for _, value := range seeds {
			w.Claim(isStable(value))
		}
		w.Claim(a.reported(func() error {
			if c := a.Stats().Totals; c.Processed+c.Dead != int64(len(seeds)) {
				return fmt.Errorf("of %d values %d are reported as processed and %d as dead", len(seeds), c.Processed, c.Dead)
			}
			return nil
		}))
	})
}

// FuzzNormalise looks for bytes that make Normalise panic or change its mind: go test -tags synctests -fuzz Normalise.
func FuzzNormalise(f *testing.F) {
	if _, err := Normalise([]byte(seeds[0])); err != nil {
		f.Skip(err)
	}
	for _, value := range seeds {
		f.Add([]byte(value))
	}
	f.Fuzz(func(t *testing.T, value []byte) {
		if err := isStable(string(value))(nil); err != nil {
			t.Error(err)
		}
	})
}

// Wherever the process dies, the next one finishes its work: everything comes out, in order, and nothing is committed before.
func TestStep23_ACrashAtAnyPointLosesNothing(t *testing.T) {
	harness.Sweep(t, "a", func(w *harness.World) {
		s := openShop(w, 2)
		s.service()
		s.cfg.CommitInterval = 100 * time.Millisecond
		all := numberedEvents(0, 6)
		s.raw.Produce(append(all, rawEvent("test-1", "login", "c-t"))...)
		s.start("a")
		s.start("b")

		w.Until(s.group.Drained(s.raw))

		w.Claim(s.safe(), arrived(s.other, all), arrived(s.audit, []*kgo.Record{rawEvent("test-1", "login", "c-t")}))
	})
}

// And whatever else happens to the members.
func TestStep23_NothingIsLostInAnyWeather(t *testing.T) {
	harness.Explore(t, harness.Plan{Schedules: 60, Members: 2, AtMost: 4, Within: 30 * time.Second}, func(w *harness.World, sch *harness.Schedule) {
		s := openShop(w, 3)
		all := append(numberedEvents(0, 10), eventsOf("c-x", 10)...)
		s.raw.Produce(all...)

		sch.Play(s.group, []*harness.Topic{s.raw}, func(name string) *harness.Process { return s.start(name).Process })
		late := numberedEvents(10, 5)
		s.raw.Produce(late...)
		w.Until(s.group.Drained(s.raw))

		w.Claim(s.safe(), arrived(s.other, append(all, late...)))
	}, harness.Deadline(20*time.Minute))
}
