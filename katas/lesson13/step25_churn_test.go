package lesson13

import (
	"fmt"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/kafka-katas/kafka-katas/harness"
)

// A crash at any point of a responder's life: before and after each of its requests, and before and after each call of its
// handler. The next instance replies to what is open, sends what is stored, and does nothing twice that was stored.
func TestStep25_ACrashAtAnyPointLosesNoReply(t *testing.T) {
	harness.Sweep(t, "a", func(w *harness.World) {
		c, store := newCounterpart(w), newShelf(w)
		c.ask("book", "pen", "ink")
		a := startPricing(w, "a", c.answering(), store, takes(700*time.Millisecond)) // commits come while a request is in work
		a.Fault(harness.Fail(harness.Produce, kerr.NotEnoughReplicas).Times(4))      // and while a reply is not written
		w.Until(harness.Any(c.group.Drained(c.requests), harness.Gone("a")))
		startPricing(w, "b", c.answering(), store, takes(100*time.Millisecond))
		w.Until(c.group.Drained(c.requests))
		w.Claim(c.replied("book", "pen", "ink"), c.repliedBeforeCommitted(), c.group.OneAtATime(c.requests), workedOnce(store))
	})
}

// workedOnce claims that no answer was stored again that was stored before.
func workedOnce(s *shelf) harness.Claim {
	return func(*harness.World) error {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.saved > len(s.answers) {
			return harness.Broke[harness.Duplicated]("what is stored is there so that the work is not done again", "%d requests were worked on, and %d answers were stored", len(s.answers), s.saved)
		}
		return nil
	}
}

// A crash at any point of a requester's life: the next life is as good as new, and takes no reply of the earlier one.
func TestStep25_ACrashOfTheRequesterAtAnyPointDisturbsNoOther(t *testing.T) {
	harness.Sweep(t, "shop", func(w *harness.World) {
		c := newCounterpart(w)
		startPricing(w, "pricing", c.answering(), nil, takes(100*time.Millisecond))
		other := startShop(w, "other", c.config())
		w.Sleep(5 * time.Second)
		a := startShop(w, "shop", c.config())
		first := w.Call("request of the earlier life", 3, a.asks("book", 3*time.Second))
		undisturbed := w.Call("request of another", 3, other.asks("pen", 30*time.Second))
		w.Within(time.Minute, harness.All(first.Done(), undisturbed.Done()))
		if a.Alive() {
			w.Claim(first.Returned(nil))
		}

		again := startShop(w, "shop-again", c.config())
		second := w.Call("request of the next life", 3, again.asks("ink", 30*time.Second))
		w.Within(time.Minute, second.Done())
		w.Claim(undisturbed.Returned(nil), second.Returned(nil), again.nobodyWaits(), other.nobodyWaits())
	})
}

// Responders join, leave and crash, leaders and coordinators move, commits fail: each request is replied to, with its own
// reply, and none is committed before.
func TestStep25_DuringAnyChurnEachRequestIsReplied(t *testing.T) {
	plan := harness.Plan{Schedules: 60, Within: 40 * time.Second, Moves: []harness.MoveKind{
		harness.Join, harness.Leave, harness.Crash, harness.RefuseCommit, harness.LoseCommit, harness.DelayCommit, harness.CutFetch, harness.CutHeartbeat,
		harness.MoveLeader, harness.MoveCoordinator,
	}}
	harness.Explore(t, plan, func(w *harness.World, churn *harness.Schedule) {
		c, store := newCounterpart(w), newShelf(w)
		c.requests.AddPartitions(2)
		var all []string
		for i := range 12 {
			thing := fmt.Sprintf("thing-%d", i)
			all = append(all, thing)
			c.requests.To(int32(i%2), c.request(thing))
		}
		churn.Play(c.group, []*harness.Topic{c.requests, c.replies}, func(name string) *harness.Process {
			return startPricing(w, name, c.answering(), store, takes(2*time.Second)).Process
		})
		w.Until(c.group.Drained(c.requests))
		w.Claim(c.replied(all...), c.group.CommitSafe(c.requests), c.group.OneAtATime(c.requests))
	})
}
