package lesson12

import (
	"testing"
	"time"

	"github.com/kafka-katas/kafka-katas/harness"
	"github.com/kafka-katas/kafka-katas/ops"
)

// A step that fails turns the order round: what was done is undone, the latest first, each once.
func TestStep16_AFailedStepIsUndoneInReverse(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		s := ordering(w, 2)
		ps := s.participants()
		ps.on("o-1/ship", conduct{fails: true}).on("o-2/reserve", conduct{fails: true}).on("o-3/ship", conduct{fails: true})
		ps.on("o-3/refund", conduct{after: 25 * time.Second}) // and nothing is asked for before it is done
		a := s.start("a")

		s.orders.Produce(placed("o-1"), placed("o-2"), placed("o-3"))
		w.Sleep(15 * time.Second)
		w.Claim(ps.askedFor("o-3", "o-3/reserve", "o-3/charge", "o-3/ship", "o-3/refund"))

		w.Sleep(30 * time.Second)
		w.Claim(s.ended(true, map[string]string{"o-1": Cancelled, "o-2": Cancelled, "o-3": Cancelled}),
			ps.askedFor("o-1", "o-1/reserve", "o-1/charge", "o-1/ship", "o-1/refund", "o-1/release"),
			ps.askedFor("o-2", "o-2/reserve"), ps.askedFor("o-3", "o-3/reserve", "o-3/charge", "o-3/ship", "o-3/refund", "o-3/release"),
			s.because("o-1", "ship", "out of luck"), s.because("o-2", "reserve", "out of luck"), a.extra("ignored_replies", 0), a.healthy(true, true), ps.complete())
	})
}

// because claims what an outcome says of its cause.
//
//go:noinline
func (s *stage) because(order, step, reason string) harness.Claim {
	return func(*harness.World) error {
		for _, o := range read[Outcome](s.outcomes) {
			if o.Order == order && (o.FailedStep != step || o.Reason != reason) {
				return harness.Broke[harness.Misreported]("the customer asks why", "%s is said to have failed at %q because of %q; it was at %q because of %q", order, o.FailedStep, o.Reason, step, reason)
			}
		}
		return nil
	}
}

// A compensation that fails is asked for again, and when that leads nowhere somebody is told. A late success ends it.
func TestStep16_ACompensationThatKeepsFailingGetsStuckWithAnAlert(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		s := ordering(w, 1)
		s.cfg.Workflow.UndoAttempts, s.cfg.Workflow.UndoRetry, s.cfg.Workflow.StepTimeout = 3, 10*time.Second, 30*time.Second
		ps := s.participants()
		no := conduct{fails: true}
		ps.on("o-1/ship", no).on("o-1/refund", no, conduct{fails: true, silent: true}, no)
		ps.on("o-2/charge", no).on("o-2/release", no, conduct{after: 5 * time.Second})
		a := s.start("a")
		w.Sleep(5 * time.Second)
		s.orders.Produce(placed("o-1"), placed("o-2"))
		w.Sleep(2 * time.Minute)

		first := ps.first("o-1/refund")
		w.Claim(harness.Due("requests for the refund", 100*time.Millisecond, ps.times("o-1/refund"), first, first+10*time.Second, first+40*time.Second),
			s.ended(true, map[string]string{"o-1": StuckFast, "o-2": Cancelled}), a.alerted("workflow_stuck", ops.Firing), a.healthy(true, true),
			ps.askedFor("o-2", "o-2/reserve", "o-2/charge", "o-2/release", "o-2/release"), ps.effects.Once("o-1/reserve", "o-1/charge", "o-2/reserve", "o-2/release"))
		s.orders.Produce(asJSON("o-1", OrderMessage{Type: "reply", Order: "o-1", Task: "o-1/refund", Status: "done"}))
		w.Sleep(10 * time.Second)

		w.Claim(s.ended(true, map[string]string{"o-1": Cancelled, "o-2": Cancelled}), ps.effects.Once("o-1/reserve", "o-1/charge", "o-1/release", "o-2/reserve", "o-2/release"), ps.complete())
	})
}

// Nobody knows how a step ended that is not answered in time. If it was done after all, it is undone as well, whenever
// that comes out.
func TestStep17_ALateSuccessIsUndoneToo(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		s := ordering(w, 1)
		ps := s.participants()
		ps.on("early/ship", conduct{after: 35 * time.Second, twice: true}).on("early/refund", conduct{after: 20 * time.Second}) // while it is undone
		ps.on("late/ship", conduct{after: 2 * time.Minute})                                                                     // when it has ended
		ps.on("never/ship", conduct{fails: true, silent: true})
		ps.on("no/ship", conduct{fails: true, after: 2 * time.Minute})
		a := s.start("a")
		w.Sleep(5 * time.Second)
		s.orders.Produce(placed("early"), placed("late"), placed("never"), placed("no"))

		w.Sleep(100 * time.Second)
		asked := ps.first("late/ship")
		cancelled := map[string]string{"early": Cancelled, "late": Cancelled, "never": Cancelled, "no": Cancelled}
		w.Claim(harness.Due("the turn of an order whose shipping is not answered", 100*time.Millisecond, ps.times("late/refund"), asked+30*time.Second),
			s.ended(true, cancelled), s.because("late", "ship", "timeout"), ps.askedFor("late", "late/reserve", "late/charge", "late/ship", "late/refund", "late/release"))
		w.Sleep(2 * time.Minute)

		w.Claim(s.ended(true, cancelled),
			ps.askedFor("early", "early/reserve", "early/charge", "early/ship", "early/refund", "early/recall", "early/release"),
			ps.askedFor("late", "late/reserve", "late/charge", "late/ship", "late/refund", "late/release", "late/recall"),
			ps.askedFor("never", "never/reserve", "never/charge", "never/ship", "never/refund", "never/release"),
			ps.askedFor("no", "no/reserve", "no/charge", "no/ship", "no/refund", "no/release"),
			a.extra("ignored_replies", 2))
	})
}

// Replies come twice, late, in any order, and from orders that nobody knows. None of that moves anything.
func TestStep18_AReplyThatIsNotWaitedForChangesNothing(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		s := ordering(w, 1)
		ps := s.participants()
		ps.on("o-1/reserve", conduct{twice: true}).on("o-1/charge", conduct{after: 10 * time.Second, twice: true}).on("o-1/ship", conduct{after: 10 * time.Second})
		a := s.start("a")
		w.Sleep(5 * time.Second)
		s.orders.Produce(placed("o-1"))
		w.Sleep(5 * time.Second)

		reply := func(order, task, status string) {
			s.orders.Produce(asJSON(order, OrderMessage{Type: "reply", Order: order, Task: task, Attempt: 1, Status: status}))
		}
		reply("o-1", "o-1/ship", "done")      // it has not been asked for
		reply("o-1", "o-1/refund", "failed")  // nor has this
		reply("o-1", "o-1/reserve", "failed") // this was done
		reply("o-1", "o-1/charge", "perhaps") // which says nothing
		reply("o-9", "o-9/charge", "done")    // nobody knows that order
		s.orders.Produce(placed("o-1"))
		s.orders.Produce(asJSON("o-1", "no message"))
		w.Sleep(2 * time.Second)
		w.Claim(ps.askedFor("o-1", "o-1/reserve", "o-1/charge"), s.ended(true, nil))
		w.Sleep(time.Minute)
		reply("o-1", "o-1/ship", "failed") // the order has ended
		s.orders.Produce(placed("o-1"))

		w.Within(time.Minute, s.group.Drained(s.orders))
		w.Claim(s.ended(true, map[string]string{"o-1": Confirmed}), ps.askedFor("o-1", "o-1/reserve", "o-1/charge", "o-1/ship"),
			a.extra("ignored_replies", 11), s.group.CommitSafe(s.orders), a.accounts(ops.Counts{Received: 15, Processed: 15}))
	})
}

// A compensation that was asked for again may be answered by its first attempt: done is done, and a failure of then says
// nothing of now.
func TestStep18_AnOldAttemptsSuccessCountsAndItsFailureDoesNot(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		s := ordering(w, 1)
		ps := s.participants()
		mute := conduct{fails: true, silent: true}
		ps.on("o-1/ship", conduct{fails: true}).on("o-1/refund", mute, mute, mute, mute)
		a := s.start("a")
		w.Sleep(5 * time.Second)
		s.orders.Produce(placed("o-1"))
		w.Until(ps.waitsFor("o-1/refund"))
		first := ps.first("o-1/refund")
		reply := OrderMessage{Type: "reply", Order: "o-1", Task: "o-1/refund", Attempt: 1, Status: "failed"}

		w.SleepUntil(first + 35*time.Second)
		s.orders.Produce(asJSON("o-1", reply))
		w.SleepUntil(first + 65*time.Second)
		reply.Status = "done"
		s.orders.Produce(asJSON("o-1", reply))
		w.Sleep(time.Minute)

		w.Claim(harness.Due("requests for the refund", 100*time.Millisecond, ps.times("o-1/refund"), first, first+30*time.Second, first+60*time.Second),
			s.ended(true, map[string]string{"o-1": Cancelled}), ps.effects.Once("o-1/reserve", "o-1/charge", "o-1/release"), a.extra("ignored_replies", 1))
	})
}

// A timer is stored: a restart, a crash and a new owner let it fire at its time, or at once if that is over.
func TestStep19_ATimerSurvivesARestartAndANewOwner(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		s := ordering(w, 2)
		never := conduct{fails: true, silent: true}
		ps := s.participants()
		ps.on("o-1/charge", never).on("o-2/charge", never)
		a := s.start("a")
		w.Sleep(5 * time.Second)
		s.orders.To(0, placed("o-1"))
		s.orders.To(1, placed("o-2"))
		w.Sleep(5 * time.Second)

		w.Until(s.group.Drained(s.orders))
		b := s.start("b") // takes one of the two over
		w.Within(20*time.Second, s.group.Balanced([]*harness.Process{a.Process, b.Process}, s.orders))
		w.Sleep(time.Minute)

		for _, o := range []string{"o-1", "o-2"} {
			asked := ps.first(o + "/charge")
			w.Claim(harness.Due("the turn of "+o, 100*time.Millisecond, ps.times(o+"/release"), asked+30*time.Second))
		}
		w.Claim(s.ended(true, map[string]string{"o-1": Cancelled, "o-2": Cancelled}), ps.effects.Once("o-1/reserve", "o-1/release", "o-2/reserve", "o-2/release"))
	})
}

// A timer whose time passes while nobody is there fires once somebody is, and once only.
func TestStep19_ATimerThatWasMissedFiresAtOnceAndOnce(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		s := ordering(w, 1)
		ps := s.participants()
		ps.on("o-1/charge", conduct{fails: true, silent: true}).on("o-1/release", conduct{fails: true, silent: true})
		a := s.start("a")
		s.orders.Produce(placed("o-1"))
		w.Until(ps.waitsFor("o-1/charge"))
		w.Until(s.group.Drained(s.orders))
		a.Stop()
		w.Sleep(5 * time.Minute)
		w.Claim(ps.askedFor("o-1", "o-1/reserve", "o-1/charge"))
		s.db.delay = 20 * time.Millisecond
		for range 300 { // a queue of several seconds, which no timer waits for
			s.orders.Produce(asJSON("o-9", OrderMessage{Type: "reply", Order: "o-9", Task: "o-9/charge", Status: "done"}))
		}

		back := w.Now()
		b := s.start("b")
		w.Sleep(20 * time.Second)
		b.Stop()
		s.start("c")
		w.Sleep(time.Minute)

		w.Claim(harness.Due("requests for the release", 5*time.Second, ps.times("o-1/release"), back, back+30*time.Second),
			s.ended(true, map[string]string{"o-1": Cancelled}), ps.effects.Once("o-1/reserve", "o-1/release"))
	})
}
