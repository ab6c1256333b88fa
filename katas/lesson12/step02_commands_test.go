package lesson12

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/kafka-katas/kafka-katas/harness"
	"github.com/kafka-katas/kafka-katas/ops"
)

// A command is carried out once, and an event says so: with the ids by which a reader finds what it belongs to.
func TestStep02_ACommandIsCarriedOutAndAnnounced(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		s := inventory(w, 3)
		s.commands.Produce(
			asJSON("book", Command{ID: "c-1", Type: "restock", SKU: "book", Quantity: 5, CorrelationID: "delivery-7"}),
			asJSON("book", Command{ID: "c-2", Type: "reserve", SKU: "book", Quantity: 2, CorrelationID: "o-1"}),
			asJSON("pen", Command{ID: "c-3", Type: "restock", SKU: "pen", Quantity: 1}),
			asJSON("book", Command{ID: "c-4", Type: "release", SKU: "book", Quantity: 2, CorrelationID: "o-1"}),
		)

		a := s.start("a")

		w.Until(s.group.Drained(s.commands))
		w.Claim(s.group.CommitSafe(s.commands), s.told(
			Event{Type: StockChanged, CausationID: "c-1", CorrelationID: "delivery-7", SKU: "book", OnHand: 5, Version: 1},
			Event{Type: StockChanged, CausationID: "c-2", CorrelationID: "o-1", SKU: "book", OnHand: 3, Version: 2},
			Event{Type: StockChanged, CausationID: "c-3", CorrelationID: "c-3", SKU: "pen", OnHand: 1, Version: 1},
			Event{Type: StockChanged, CausationID: "c-4", CorrelationID: "o-1", SKU: "book", OnHand: 5, Version: 3},
		), s.keyedBySKU(), a.healthy(true, true), a.accounts(ops.Counts{Received: 4, Processed: 4}))
	})
}

// told claims what the events say, each once: of one sku in this order. Their own ids, and the words in which a problem
// is put, are the service's business.
//
//go:noinline
func (s *stage) told(want ...Event) harness.Claim {
	return func(*harness.World) error {
		got := read[Event](s.events)
		ids := map[string]bool{}
		for _, e := range got {
			if e.ID == "" {
				return harness.Broke[harness.Misrouted]("whoever reads at least once must recognise a repeat", "the event of %s has no id", e.CausationID)
			}
			if ids[e.ID] {
				return harness.Broke[harness.Duplicated]("each reader would have to sort it out", "the event of %s was published again", e.CausationID)
			}
			ids[e.ID] = true
		}
		return compare(got, want)
	}
}

// toldAtLeastOnce is told where a crash may have repeated events: byte for byte.
//
//go:noinline
func (s *stage) toldAtLeastOnce(want ...Event) harness.Claim {
	return func(*harness.World) error {
		known := map[string]string{}
		var got []Event
		records, events := both[Event](s.events)
		for i, r := range records {
			e := events[i]
			before, again := known[e.ID]
			if again && before != string(r.Value) {
				return harness.Broke[harness.Misrouted]("two events with one id are one event: readers drop the second", "event %s was published as %s and as %s", e.ID, before, r.Value)
			}
			if !again {
				got = append(got, e)
			}
			known[e.ID] = string(r.Value)
		}
		return compare(got, want)
	}
}

func compare(got, want []Event) error {
	bare := func(events []Event) map[string][]string {
		out := map[string][]string{}
		for _, e := range events {
			var fields []string
			for _, f := range e.Fields {
				fields = append(fields, f.Field)
			}
			slices.Sort(fields)
			if e.Reason == ReasonConflict { // nothing was carried out: with or without the stock
				e.OnHand, e.Version = 0, 0
			}
			out[e.SKU] = append(out[e.SKU], strings.TrimSpace(fmt.Sprintf("%s of %s (correlation %s): %d on hand at version %d %s %s",
				e.Type, e.CausationID, e.CorrelationID, e.OnHand, e.Version, e.Reason, strings.Join(fields, " "))))
		}
		return out
	}
	g, w := bare(got), bare(want)
	diff := cmp.Diff(w, g)
	switch {
	case diff == "":
		return nil
	case len(got) < len(want):
		return harness.Broke[harness.Lost]("nobody hears of what happened", "events are missing (- should be, + is): %s", diff)
	case len(got) > len(want):
		return harness.Broke[harness.Duplicated]("readers act on what did not happen, or on what happened once twice", "there are events too many (- should be, + is): %s", diff)
	}
	for sku := range w {
		a, b := slices.Clone(g[sku]), slices.Clone(w[sku])
		slices.Sort(a)
		slices.Sort(b)
		if slices.Equal(a, b) && !slices.Equal(g[sku], w[sku]) {
			return harness.Broke[harness.Reordered]("the events of one sku are its history", "the events of %s are in another order (- should be, + is): %s", sku, diff)
		}
	}
	return harness.Broke[harness.Misrouted]("readers build on what events say", "events say what is not so (- should be, + is): %s", diff)
}

// keyedBySKU claims that each event has its command's key.
//
//go:noinline
func (s *stage) keyedBySKU() harness.Claim {
	return func(*harness.World) error {
		records, events := both[Event](s.events)
		for i, r := range records {
			if string(r.Key) != events[i].SKU {
				return harness.Broke[harness.Misrouted]("events of one sku keep their order only in one partition", "the event of %s has the key %q; its command has %q", events[i].CausationID, r.Key, events[i].SKU)
			}
		}
		return nil
	}
}

// accounts claims the totals that are not counted apart.
//
//go:noinline
func (m *member) accounts(want ops.Counts) harness.Claim {
	return harness.Reported(func() error {
		got := m.Stats().Totals
		if n := got.Unaccounted(); n != 0 {
			return fmt.Errorf("%s received %d records and its other columns add up to %d: %+v", m.Name, got.Received, got.Received-n, got)
		}
		if got.Received != want.Received || got.Processed+got.Filtered+got.Parked != want.Processed || got.Dead != want.Dead {
			return fmt.Errorf("%s reports %+v; it should be %+v", m.Name, got, want)
		}
		return nil
	})
}

// extra claims one of the service's own counters.
//
//go:noinline
func (m *member) extra(name string, want int64) harness.Claim {
	return harness.Reported(func() error {
		if got := m.Stats().Extra[name]; got != want {
			return fmt.Errorf("%s reports %d %s; it should be %d", m.Name, got, name, want)
		}
		return nil
	})
}

// What is wrong with a command stays wrong: it is answered at once, with the names of the fields, and not tried again.
func TestStep03_AnInvalidCommandIsRejectedByField(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		s := inventory(w, 1)
		s.commands.Produce(
			asJSON("book", Command{ID: "c-1", Type: "paint", SKU: "book", Quantity: 1}),
			asJSON("", Command{ID: "c-2", Type: "restock", Quantity: -1}),
			asJSON("book", Command{Type: "restock", SKU: "book", Quantity: 1}),
			&kgo.Record{Key: []byte("book"), Value: []byte("not JSON")},
			&kgo.Record{Key: []byte("book")},
			asJSON("book", Command{ID: "c-3", Type: "reserve", SKU: "book", Quantity: 1}),
			asJSON("book", Command{ID: "c-4", Type: "restock", SKU: "book", Quantity: 4}),
		)
		at := fmt.Sprintf("%s/0", s.commands.Name)

		a := s.start("a")

		w.Within(10*time.Second, s.group.Drained(s.commands))
		w.Claim(s.rejected(map[string]string{
			"c-1": "invalid type", "c-2": "invalid quantity sku", at + "/2": "invalid id", at + "/3": "invalid body", at + "/4": "invalid body",
			"c-3": "insufficient quantity",
		}), attemptedOnce(s.commands), a.accounts(ops.Counts{Received: 7, Processed: 7}))
	})
}

// rejected claims which commands were rejected, why, and by which fields, and that every other one was carried out.
//
//go:noinline
func (s *stage) rejected(want map[string]string) harness.Claim {
	return func(*harness.World) error {
		got := map[string]string{}
		for _, e := range read[Event](s.events) {
			if e.Type != CommandRejected {
				continue
			}
			var fields []string
			for _, f := range e.Fields {
				fields = append(fields, f.Field)
			}
			slices.Sort(fields)
			got[e.CausationID] = strings.TrimSpace(e.Reason + " " + strings.Join(fields, " "))
		}
		for id := range want {
			if got[id] == "" {
				return harness.Broke[harness.Lost]("whoever sent it waits for an answer", "no event says that the command %s was rejected", id)
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			return harness.Broke[harness.Misrouted]("whoever sent it must know what to correct", "the rejections are wrong (- should be, + is): %s", diff)
		}
		return nil
	}
}

// attemptedOnce claims that each record of a topic was attempted once.
//
//go:noinline
func attemptedOnce(t *harness.Topic) harness.Claim {
	return func(w *harness.World) error {
		seen := map[int64]bool{}
		for _, e := range w.Journal().Events(harness.Of(harness.Began), func(e harness.Event) bool { return e.Topic == t.Name || e.Topic == t.String() }) {
			if seen[e.Offset] {
				return harness.Shown(harness.Broke[harness.Wasteful]("what is wrong with it stays wrong, and everything behind it waits", "%s/%d offset %d was attempted again", t, e.Partition, e.Offset), e)
			}
			seen[e.Offset] = true
		}
		return nil
	}
}

// The id says which command it is. The same one again is answered with the stored event and changes nothing.
func TestStep04_TheSameCommandAgainGetsTheStoredEvent(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		s := inventory(w, 2)
		restock := Command{ID: "c-1", Type: "restock", SKU: "book", Quantity: 5}
		s.commands.To(0, asJSON("book", restock), asJSON("book", Command{ID: "c-2", Type: "reserve", SKU: "book", Quantity: 1}), asJSON("book", restock))
		a := s.start("a")
		w.Until(s.group.Drained(s.commands))

		a.Stop()
		b := s.start("b")
		s.commands.To(1, asJSON("book", restock), asJSON("book", Command{ID: "c-3", Type: "reserve", SKU: "book", Quantity: 1})) // by another way

		w.Until(s.group.Drained(s.commands))
		w.Claim(s.toldAtLeastOnce(
			Event{Type: StockChanged, CausationID: "c-1", CorrelationID: "c-1", SKU: "book", OnHand: 5, Version: 1},
			Event{Type: StockChanged, CausationID: "c-2", CorrelationID: "c-2", SKU: "book", OnHand: 4, Version: 2},
			Event{Type: StockChanged, CausationID: "c-3", CorrelationID: "c-3", SKU: "book", OnHand: 3, Version: 3},
		), s.published("c-1", 3), a.extra("duplicate_commands", 1), b.extra("duplicate_commands", 1))
	})
}

// published claims how often it was published that a command was carried out.
//
//go:noinline
func (s *stage) published(command string, want int) harness.Claim {
	return func(*harness.World) error {
		n := 0
		for _, e := range read[Event](s.events) {
			if e.CausationID == command && e.Type == StockChanged {
				n++
			}
		}
		switch {
		case n < want:
			return harness.Broke[harness.Lost]("whoever sends a command again has not had the answer", "the event of %s was published %d times; the command was sent %d times", command, n, want)
		case n > want:
			return harness.Broke[harness.Duplicated]("readers have to sort it out", "the event of %s was published %d times; the command was sent %d times", command, n, want)
		}
		return nil
	}
}

// Two commands with one id are somebody's mistake: the second is refused, and the first stands.
func TestStep04_TheSameIDWithAnotherContentIsAConflict(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		s := inventory(w, 1)
		s.commands.Produce(
			asJSON("book", Command{ID: "c-1", Type: "restock", SKU: "book", Quantity: 5}),
			asJSON("book", Command{ID: "c-1", Type: "restock", SKU: "book", Quantity: 50}),
			asJSON("book", Command{ID: "c-2", Type: "reserve", SKU: "book", Quantity: 1}),
			asJSON("book", Command{ID: "c-1", Type: "restock", SKU: "book", Quantity: 5}),
		)

		s.start("a")

		w.Until(s.group.Drained(s.commands))
		w.Claim(s.rejected(map[string]string{"c-1": "conflict id"}), s.stands("c-2", 4, 2), s.published("c-1", 2))
	})
}

// stands claims how much was on hand after a command.
//
//go:noinline
func (s *stage) stands(command string, onHand, version int64) harness.Claim {
	return func(*harness.World) error {
		for _, e := range read[Event](s.events) {
			if e.CausationID != command {
				continue
			}
			if e.OnHand != onHand || e.Version != version {
				return harness.Broke[harness.Duplicated]("the stock is what was done to it, each command once", "after %s there are %d on hand at version %d; it should be %d at version %d", command, e.OnHand, e.Version, onHand, version)
			}
			return nil
		}
		return harness.Broke[harness.Lost]("whoever sent it waits for an answer", "no event says what became of %s", command)
	}
}
