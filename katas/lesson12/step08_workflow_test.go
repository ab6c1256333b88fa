package lesson12

import (
	"testing"
	"time"

	"github.com/kafka-katas/kafka-katas/harness"
	"github.com/kafka-katas/kafka-katas/ops"
)

// An order goes through its steps, one after the other, and its end is told.
func TestStep08_AnOrderGoesThroughItsSteps(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		s := ordering(w, 3)
		ps := s.participants()
		a := s.start("a")
		w.Sleep(5 * time.Second)

		ps.on("o-2/charge", conduct{after: 20 * time.Second})
		s.orders.Produce(placed("o-1"), placed("o-2"))

		w.Sleep(30 * time.Second)
		w.Claim(s.ended(true, map[string]string{"o-1": Confirmed, "o-2": Confirmed}), s.group.Drained(s.orders), ps.askedFor("o-1", "o-1/reserve", "o-1/charge", "o-1/ship"), ps.askedFor("o-2", "o-2/reserve", "o-2/charge", "o-2/ship"),
			ps.effects.Once("o-1/reserve", "o-1/charge", "o-1/ship", "o-2/reserve", "o-2/charge", "o-2/ship"), ps.complete(),
			s.group.CommitSafe(s.orders), a.accounts(ops.Counts{Received: 8, Processed: 8}), a.extra("ignored_replies", 0))
	})
}

// complete claims that each task says all that whoever does it needs.
//
//go:noinline
func (ps *participants) complete() harness.Claim {
	return func(*harness.World) error {
		records, tasks := both[Task](ps.s.tasks)
		for i, t := range tasks {
			if t.Task != t.Order+"/"+t.Step || t.Attempt < 1 || string(records[i].Key) != t.Order || string(t.Details) != `{"sku":"book"}` {
				return harness.Broke[harness.Misrouted]("whoever is to do it has nothing else to go by", "a task says %+v (details %s) under the key %q", t, t.Details, records[i].Key)
			}
		}
		return nil
	}
}

// Each step is stored when it is taken. Whoever takes over goes on there, and asks for nothing that is done.
func TestStep08_EachStepIsStored(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		s := ordering(w, 1)
		ps := s.participants()
		ps.on("o-1/charge", conduct{after: 20 * time.Second})
		a := s.start("a")
		s.orders.Produce(placed("o-1"))
		w.Until(ps.waitsFor("o-1/charge"))
		w.Until(s.group.Drained(s.orders))

		a.Stop()
		w.Sleep(2 * time.Second)
		s.start("b")

		w.Sleep(30 * time.Second)
		w.Claim(s.ended(true, map[string]string{"o-1": Confirmed}), ps.askedFor("o-1", "o-1/reserve", "o-1/charge", "o-1/ship"), ps.effects.Once("o-1/reserve", "o-1/charge", "o-1/ship"))
	})
}

// waitsFor claims that a task was asked for.
//
//go:noinline
func (ps *participants) waitsFor(task string) harness.Claim {
	return func(*harness.World) error {
		if len(ps.times(task)()) > 0 {
			return nil
		}
		return harness.Broke[harness.Lost]("nobody does what nobody asks for", "%s was never asked for", task)
	}
}
