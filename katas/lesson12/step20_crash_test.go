package lesson12

import (
	"fmt"
	"testing"
	"time"

	"github.com/kafka-katas/kafka-katas/harness"
	"github.com/kafka-katas/kafka-katas/harness/httpfake"
)

// Two workflows want the last of one sku at the same moment, by different partitions and members. The stock is what
// was done to it, and nobody gets what is not there.
func TestStep20_TwoOnOneStockLoseNoUpdate(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		s := inventory(w, 2)
		s.db.delay = 50 * time.Millisecond
		a, b := s.start("a"), s.start("b")
		w.Within(time.Minute, s.group.Balanced([]*harness.Process{a.Process, b.Process}, s.commands))
		s.commands.To(0, asJSON("book", Command{ID: "c-0", Type: "restock", SKU: "book", Quantity: 5}))
		w.Until(s.group.Drained(s.commands))

		for i := range 4 {
			for p := range int32(2) {
				s.commands.To(p, asJSON("book", Command{ID: fmt.Sprintf("c-%d-%d", p, i), Type: "reserve", SKU: "book", Quantity: 1, CorrelationID: "o"}))
			}
		}
		w.Until(s.group.Drained(s.commands))
		s.commands.To(0, asJSON("book", Command{ID: "v-0", Type: "restock", SKU: "book", Quantity: 1, ExpectedVersion: versionOf(6)}))
		s.commands.To(1, asJSON("book", Command{ID: "v-1", Type: "restock", SKU: "book", Quantity: 1, ExpectedVersion: versionOf(6)}))
		w.Until(s.group.Drained(s.commands))

		w.Claim(s.history(7), s.group.CommitSafe(s.commands))
	})
}

// history claims that the changes of the stock are one after the other: no version twice, none missing, never below 0.
//
//go:noinline
func (s *stage) history(versions int64) harness.Claim {
	return func(*harness.World) error {
		by := map[int64]Event{}
		for _, e := range read[Event](s.events) {
			if e.Type != StockChanged {
				continue
			}
			if other, taken := by[e.Version]; taken && other.ID != e.ID {
				return harness.Broke[harness.Lost]("of two who read the same and write, one is overwritten", "%s and %s have both led to version %d: one of the two updates is lost", other.CausationID, e.CausationID, e.Version)
			}
			by[e.Version] = e
		}
		for v := int64(1); v <= versions; v++ {
			if _, ok := by[v]; !ok {
				return harness.Broke[harness.Lost]("of two who read the same and write, one is overwritten", "no command has led to version %d of %d", v, versions)
			}
		}
		if len(by) != int(versions) || by[versions].OnHand != 1 {
			return harness.Broke[harness.Duplicated]("somebody gets what is not there", "there are %d changes and %d on hand; it should be %d and 1", len(by), by[versions].OnHand, versions)
		}
		return nil
	}
}

// Wherever the service crashes, and whatever it was about to do, every order comes to the same end, and every step and
// compensation happens once.
func TestStep21_ACrashAnywhereLeadsToTheSameEnd(t *testing.T) {
	harness.Sweep(t, "saga", func(w *harness.World) {
		s := ordering(w, 1)
		s.cfg.Workflow.StepTimeout = 3 * time.Minute // longer than a crash is noticed
		ps := s.participants()
		ps.on("no/ship", conduct{fails: true})
		s.start("saga").RestartAfter(time.Second)
		s.orders.Produce(placed("yes"), placed("no"))
		w.Until(s.outcomesAre(2))
		w.Sleep(2 * time.Second)
		w.Until(s.group.Drained(s.orders))

		w.Claim(s.ended(false, map[string]string{"yes": Confirmed, "no": Cancelled}), s.group.CommitSafe(s.orders),
			ps.effects.Once("yes/reserve", "yes/charge", "yes/ship", "no/reserve", "no/charge", "no/refund", "no/release"))
	})
}

// outcomesAre claims that so many outcomes were told, or more.
//
//go:noinline
func (s *stage) outcomesAre(n int64) harness.Claim {
	return func(*harness.World) error {
		if got := s.outcomes.End(0); got < n {
			return harness.Broke[harness.Stuck]("a customer waits for the outcome", "%d outcomes were told; it should be %d", got, n)
		}
		return nil
	}
}

// So it is when a timer fires, and when a late success comes in.
func TestStep21_ACrashAtATimerLeadsToTheSameEnd(t *testing.T) {
	for _, moment := range []time.Duration{119 * time.Second, 299 * time.Second} { // before the timer, and before the late reply
		for _, crash := range []func(*harness.Process){
			func(p *harness.Process) { p.CrashBefore(harness.Exchange) },
			func(p *harness.Process) { p.CrashAfter(harness.Exchange) },
			func(p *harness.Process) { p.CrashBefore(harness.Produce) },
			func(p *harness.Process) { p.CrashAfter(harness.Produce) },
		} {
			harness.Run(t, func(w *harness.World) {
				s := ordering(w, 1)
				s.cfg.Workflow.StepTimeout = 2 * time.Minute // longer than a crash is noticed
				ps := s.participants()
				ps.on("late/charge", conduct{after: 5 * time.Minute})
				saga := s.start("saga").RestartAfter(time.Second)
				s.orders.Produce(placed("late"))
				w.Until(ps.waitsFor("late/charge"))
				asked := ps.first("late/charge")

				w.SleepUntil(asked + moment)
				crash(saga)
				w.SleepUntil(asked + 4*time.Minute) // longer than a crash is noticed, and before the late reply
				w.Claim(s.ended(false, map[string]string{"late": Cancelled}))
				w.SleepUntil(asked + 8*time.Minute)

				w.Claim(s.ended(false, map[string]string{"late": Cancelled}), s.group.CommitSafe(s.orders), s.group.Drained(s.orders),
					ps.effects.Once("late/reserve", "late/charge", "late/release", "late/refund"))
			})
		}
	}
}

// Members join, leave and crash, leaders and coordinators move: all parts together keep their promises.
func TestStep21_DuringAnyChurnEveryPartKeepsItsPromise(t *testing.T) {
	plan := harness.Plan{Schedules: 50, Members: 2, AtMost: 4, Within: 40 * time.Second, Moves: []harness.MoveKind{
		harness.Join, harness.Leave, harness.Crash, harness.RefuseCommit, harness.LoseCommit, harness.CutFetch, harness.MoveLeader, harness.MoveCoordinator,
	}}
	harness.Explore(t, plan, func(w *harness.World, churn *harness.Schedule) {
		s := ordering(w, 2)
		s.cfg.Workflow.StepTimeout = 3 * time.Minute // longer than a crash, and another one, is noticed
		s.calls, s.dead = w.Topic("shipments", 1), w.Topic("shipments-dlt", 1)
		shipping := s.partner("shipping")
		s.cfg.Calls.Topic, s.cfg.Calls.DeadLetters, s.cfg.Calls.URL = s.calls.Name, s.dead.Name, "http://shipping.example/shipments/{key}"
		ps := s.participants()
		ps.on("o-2/ship", conduct{fails: true})
		s.orders.Produce(placed("o-1"), placed("o-2"))
		shipping.Next("POST /shipments/p-1", httpfake.DoneButSilent())
		s.calls.Produce(shipment("p-1"), shipment("p-2"))

		churn.Play(s.group, []*harness.Topic{s.orders, s.calls}, func(name string) *harness.Process { return s.start(name).Process })
		w.Sleep(2 * time.Minute)

		w.Claim(s.ended(false, map[string]string{"o-1": Confirmed, "o-2": Cancelled}), s.group.Drained(s.orders, s.calls), s.group.CommitSafe(s.orders, s.calls),
			shipping.Effects().Once("POST /shipments/p-1", "POST /shipments/p-2"),
			ps.effects.Once("o-1/reserve", "o-1/charge", "o-1/ship", "o-2/reserve", "o-2/charge", "o-2/refund", "o-2/release"))
	}, harness.Deadline(30*time.Minute))
}
