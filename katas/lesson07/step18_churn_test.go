package lesson07

import (
	"errors"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/kafka-katas/kafka-katas/harness"
)

// Members join, leave and crash, leaders and coordinators move, commits fail: no partition, and so no key, is ever in
// work at two members at once.
func TestStep18_DuringAnyChurnAKeyIsInWorkOnce(t *testing.T) {
	plan := harness.Plan{Schedules: 100, Within: 40 * time.Second, Moves: []harness.MoveKind{
		harness.Join, harness.Leave, harness.Crash, harness.RefuseCommit, harness.LoseCommit, harness.DelayCommit, harness.CutHeartbeat,
		harness.MoveLeader, harness.MoveCoordinator,
	}}
	harness.Explore(t, plan, func(w *harness.World, churn *harness.Schedule) {
		orders, validation := w.Topic("orders", 3), w.Group("validation")
		orders.Fill(10)
		churn.Play(validation, []*harness.Topic{orders}, func(name string) *harness.Process {
			return start(w, name, config(validation, orders, func(c *Config) { c.MaxQueued = 2 }), takes(2*time.Second)).Process
		})
		w.Until(validation.Drained(orders))
		w.Claim(validation.Handled(orders), validation.CommitSafe(orders), validation.OneAtATime(orders), validation.InOrder(orders),
			validation.RedeliveredOnlyUncommitted(orders))
	})
}

// Members also lose their network without noticing, for longer and for shorter than their session lasts.
func TestStep18_DuringAnyPartitionNothingIsLost(t *testing.T) {
	plan := harness.Plan{Schedules: 100, Members: 2, Within: 40 * time.Second, Moves: []harness.MoveKind{
		harness.Join, harness.Isolate, harness.Join, harness.Isolate, // these often
		harness.Leave, harness.Crash, harness.RefuseCommit, harness.LoseCommit, harness.DelayCommit, harness.CutFetch, harness.CutHeartbeat,
	}}
	harness.Explore(t, plan, func(w *harness.World, churn *harness.Schedule) {
		orders, validation := w.Topic("orders", 3), w.Group("validation")
		orders.Fill(10)
		short := func(c *Config) { // a session that is shorter than an isolation, and longer than any rebalance
			c.SessionTimeout, c.HeartbeatInterval, c.RebalanceTimeout, c.DrainTimeout = 10*time.Second, 3*time.Second, 8*time.Second, 4*time.Second
		}
		churn.Play(validation, []*harness.Topic{orders}, func(name string) *harness.Process {
			return start(w, name, config(validation, orders, short), takes(3*time.Second)).Process
		})
		w.Until(validation.Drained(orders))
		w.Claim(validation.Handled(orders), validation.CommitSafe(orders), validation.OneAtATime(orders))
	}, harness.Deadline(20*time.Minute))
}

// A crash at any point of a member's life: before and after each of its requests and each call of its handler.
func TestStep18_ACrashAtAnyPointLosesNothing(t *testing.T) {
	harness.Sweep(t, "a", func(w *harness.World) {
		orders, validation := w.Topic("orders", 2), w.Group("validation")
		orders.Fill(5)
		start(w, "a", config(validation, orders), takes(1300*time.Millisecond)) // commits come while a record is in work
		w.Until(harness.Any(validation.Drained(orders), harness.Gone("a")))
		start(w, "b", config(validation, orders), takes(100*time.Millisecond))
		w.Until(validation.Drained(orders))
		w.Claim(validation.Handled(orders), validation.CommitSafe(orders), validation.InOrder(orders),
			validation.RedeliveredOnlyUncommitted(orders), validation.OneAtATime(orders))
	})
}

// A handler that works until just before the rebalance timeout may finish, even when the next rebalance waits for it:
// the member stays, and nothing is repeated.
func TestStep19_AHandlerNearTheRebalanceTimeoutIsNotExpelled(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		orders, validation := w.Topic("orders", 3), w.Group("validation")
		orders.Fill(1)
		near := func(c *Config) { // a long session: it is the rebalance timeout alone that could expel anybody
			c.RebalanceTimeout, c.DrainTimeout, c.SessionTimeout = 2*time.Minute, 110*time.Second, 5*time.Minute
		}
		a := start(w, "a", config(validation, orders, near), takes(110*time.Second))
		w.Until(a.Busy(3))

		w.Sleep(3 * time.Second)
		b := start(w, "b", config(validation, orders, near), atOnce)
		w.Sleep(10 * time.Second)
		c := start(w, "c", config(validation, orders, near), atOnce)

		w.Within(3*time.Minute, validation.Balanced(processes(a, b, c), orders))
		w.Until(validation.Drained(orders))
		w.Claim(neverExpelled("a"), a.finishesWhatItBegan(), validation.HandledOnce(orders), validation.CommitSafe(orders), validation.OneAtATime(orders))
	})
}

// One that hangs is cancelled before the rebalance timeout, not by it.
func TestStep19_AHandlerBeyondTheRebalanceTimeoutIsCancelledFirst(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		orders, validation := w.Topic("orders", 2), w.Group("validation")
		orders.Fill(1)
		near := func(c *Config) {
			c.RebalanceTimeout, c.DrainTimeout, c.SessionTimeout = time.Minute, 50*time.Second, 5*time.Minute
		}
		a := start(w, "a", config(validation, orders, near), hangs)
		w.Until(a.Busy(2))

		b := start(w, "b", config(validation, orders, near), atOnce)
		w.Sleep(5 * time.Second)
		c := start(w, "c", config(validation, orders, near), atOnce)
		w.Sleep(52 * time.Second)

		w.Claim(neverExpelled("a"), a.cancelledWithin(55*time.Second))
		w.Within(10*time.Second, validation.Balanced(processes(a, b, c), orders))
		w.Claim(neverExpelled("a"), validation.OneAtATime(orders), validation.CommitSafe(orders))
	})
}

// cancelledWithin claims that by now a call of the member's handler was cut short, at that time or before.
//
//go:noinline
func (m *member) cancelledWithin(limit time.Duration) harness.Claim {
	return func(w *harness.World) error {
		for _, e := range w.Journal().Events(harness.By(m.Name), harness.Of(harness.Failed)) {
			if e.At <= limit {
				return nil
			}
		}
		return harness.Broke[harness.Stuck]("a handler that hangs holds up the whole group's rebalance, until the coordinator expels its member and all its work is done again",
			"%s has to give partitions up, and its hanging handlers were not cancelled by %v", m.Name, limit)
	}
}

// neverExpelled claims that the coordinator never refused a member as unknown.
//
//go:noinline
func neverExpelled(name string) harness.Claim {
	return func(w *harness.World) error {
		for _, e := range w.Journal().Events(harness.By(name), harness.Of(harness.Refused, harness.Fenced)) {
			if errors.Is(e.Err, kerr.UnknownMemberID) || errors.Is(e.Err, kerr.IllegalGeneration) {
				return harness.Broke[harness.Duplicated]("an expelled member's uncommitted work is all done again by others",
					"%s was expelled from its group: %s was refused at %v with %v", name, e.Text, e.At, e.Err)
			}
		}
		return nil
	}
}

// A member that was away for longer than its session has lost its partitions, whatever it thinks. What it still commits
// then would set the new owner back; the broker accepts it without an error once the member has joined again.
func TestStep20_AnExpelledMemberCommitsNothingOfItsOldLife(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		orders, validation := w.Topic("orders", 1), w.Group("validation")
		orders.Fill(40)
		a := start(w, "a", config(validation, orders), takes(3*time.Second))
		w.Until(a.Busy(1))
		w.Sleep(10 * time.Second)

		a.Isolate()
		w.Sleep(30 * time.Second)
		b := start(w, "b", config(validation, orders), takes(100*time.Millisecond))
		w.Within(2*time.Minute, validation.Drained(orders))
		a.Heal()

		w.Within(3*time.Minute, harness.Any(validation.Balanced(processes(b), orders), validation.Balanced(processes(a), orders)))
		w.Sleep(2 * time.Minute)
		w.Claim(validation.CommitSafe(orders), validation.CommittedAt(orders, 0, 40), validation.Handled(orders), validation.OneAtATime(orders))
	}, harness.Deadline(20*time.Minute))
}

// A member can miss a rebalance without hearing of it: its client then joins again by itself, under a new name, calls
// nothing lost, and goes on with what it kept. In between that was others', who are further by now.
func TestStep20_AMemberThatMissedARebalanceSetsNobodyBack(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		orders, validation := w.Topic("orders", 3), w.Group("validation")
		orders.Fill(6)
		rarely := func(c *Config) {
			c.RebalanceTimeout, c.DrainTimeout, c.HeartbeatInterval = 12*time.Second, 10*time.Second, 15*time.Second
		}
		a := start(w, "a", config(validation, orders, rarely), slowToGiveUp(14*time.Second, 19*time.Second), often)
		w.Until(a.Busy(3))
		b := start(w, "b", config(validation, orders, rarely), atOnce, often)
		w.Within(5*time.Second, validation.Owns(a.Process, 2, orders)) // and waits half a minute for the third to be given up

		w.SleepUntil(12 * time.Second)
		c := start(w, "c", config(validation, orders, rarely), atOnce, often) // which nobody waits for longer than 12 s
		w.Within(18*time.Second, validation.Drained(orders))

		w.Sleep(2 * time.Minute)
		w.Claim(validation.CommitSafe(orders), validation.Balanced(processes(a, b, c), orders))
	}, harness.Deadline(20*time.Minute), harness.Brokers(1)) // one leader: a client that fetches from one broker at a time is as fast
}

// Whoever is told that it is no member any more drops what it holds: the work in hand is cancelled at once, nothing of it
// is committed, and it comes again.
func TestStep21_LostPartitionsAreDroppedWithoutACommit(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		orders, validation := w.Topic("orders", 1), w.Group("validation")
		orders.Fill(20)
		a := start(w, "a", config(validation, orders, func(c *Config) { c.CommitInterval = 20 * time.Second }), takes(time.Second))
		w.Until(a.Busy(1))
		w.Sleep(3500 * time.Millisecond)

		a.Fault(harness.Fail(harness.Heartbeat, kerr.UnknownMemberID))
		w.Until(refusedHeartbeat("a"))
		lost := w.Now()
		w.Within(10*time.Millisecond, a.worksOnNothing())

		w.Within(3*time.Minute, assignedAgain(validation, "a", lost))
		w.Claim(noCommitBetween(validation, "a", lost))
		w.Until(validation.Drained(orders))
		w.Claim(validation.Handled(orders), validation.CommitSafe(orders), validation.OneAtATime(orders), a.consistent())
	}, harness.Deadline(20*time.Minute))
}

// worksOnNothing claims that the member has no record in work.
//
//go:noinline
func (m *member) worksOnNothing() harness.Claim {
	return func(w *harness.World) error {
		working := map[int]harness.Event{}
		for _, e := range w.Journal().Events(harness.By(m.Name), harness.Of(harness.Began, harness.Handled, harness.Failed)) {
			if e.Kind == harness.Began {
				working[e.Call] = e
			} else {
				delete(working, e.Call)
			}
		}
		for _, e := range working {
			return harness.Shown(harness.Broke[harness.Stuck]("the partition may be in work at its next owner already; what is done here is done twice",
				"%s still works on %s/%d offset %d at %v, although it has lost the partition", m.Name, e.Topic, e.Partition, e.Offset, w.Now()), e)
		}
		return nil
	}
}

//go:noinline
func refusedHeartbeat(name string) harness.Claim {
	return func(w *harness.World) error {
		for _, e := range w.Journal().Events(harness.By(name), harness.Of(harness.Refused)) {
			if e.Text == "Heartbeat" {
				return nil
			}
		}
		return harness.Broke[harness.Stuck]("a member that does not heartbeat is expelled", "%s has sent no heartbeat", name)
	}
}

// assignedAgain claims that a member was given partitions after that time.
//
//go:noinline
func assignedAgain(g *harness.Group, name string, after time.Duration) harness.Claim {
	return func(w *harness.World) error {
		for _, e := range w.Journal().Events(harness.By(name), harness.Of(harness.Assigned)) {
			if e.Group == g.Name && e.At > after && len(e.Partitions) > 0 {
				return nil
			}
		}
		return harness.Broke[harness.Stuck]("a member that was expelled joins again by itself", "%s was given no partition again after %v", name, after)
	}
}

// noCommitBetween claims that a member sent no commit between losing its partitions and being given them again.
//
//go:noinline
func noCommitBetween(g *harness.Group, name string, lost time.Duration) harness.Claim {
	return func(w *harness.World) error {
		for _, e := range w.Journal().Events(harness.By(name), harness.Of(harness.Committed, harness.Refused, harness.Assigned)) {
			if e.At <= lost {
				continue
			}
			if e.Kind == harness.Assigned && len(e.Partitions) > 0 {
				return nil
			}
			if e.Kind == harness.Committed || e.Text == "OffsetCommit" {
				return harness.Broke[harness.Rewound]("the partition is somebody else's already: a commit of its old owner can only set it back",
					"%s tried to commit %d at %v, after it had lost its partitions at %v", name, e.Offset, e.At, lost)
			}
		}
		return nil
	}
}

// A static member that restarts within its session gets its partitions back, and nobody else is disturbed.
func TestStep22_AStaticMembersRestartMovesNothing(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		orders, validation := w.Topic("orders", 4), w.Group("validation")
		static := func(id string) func(*Config) { return func(c *Config) { c.InstanceID = id } }
		a := start(w, "a", config(validation, orders, static("shop-a")), atOnce)
		b := start(w, "b", config(validation, orders, static("shop-b")), atOnce)
		w.Within(time.Minute, validation.Balanced(processes(a, b), orders))
		w.Sleep(5 * time.Second)
		stopped := w.Now()

		a.Stop()
		w.Sleep(20 * time.Second)
		a.restart()
		w.Within(10*time.Second, validation.Balanced(processes(a, b), orders))
		w.Sleep(20 * time.Second)

		orders.Fill(5)
		w.Within(20*time.Second, validation.Drained(orders))
		w.Claim(validation.MovedOnly(b.Process, stopped, 0), validation.Balanced(processes(a, b), orders), validation.HandledOnce(orders))
	})
}

// Two that claim one name are told apart: the newer one stays, the older one is fenced, says so and ends.
func TestStep22_AnOlderInstanceOfTheSameNameIsFenced(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		orders, validation := w.Topic("orders", 2), w.Group("validation")
		static := func(c *Config) { c.InstanceID = "shop-a" }
		older := start(w, "older", config(validation, orders, static), atOnce)
		w.Within(time.Minute, validation.Owns(older.Process, 2, orders))
		older.MayEnd()

		newer := start(w, "newer", config(validation, orders, static), atOnce)

		w.Within(time.Minute, older.Ends(ErrFenced))
		orders.Fill(5)
		w.Until(validation.Drained(orders))
		w.Claim(older.healthy(false, false), newer.healthy(true, true), validation.Handled(orders), validation.HandledOnce(orders), validation.CommitSafe(orders))
	})
}

// The group protocol of KIP-848, in which the broker decides, changes none of the promises.
func TestStep23_TheNewProtocolKeepsThePromises(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		orders, validation := w.Topic("orders", 6), w.Group("validation")
		newProtocol := func(c *Config) { c.Protocol = ProtocolConsumer }
		orders.Fill(20)
		a := start(w, "a", config(validation, orders, newProtocol), takes(500*time.Millisecond))
		w.Until(a.Busy(4))

		b := start(w, "b", config(validation, orders, newProtocol), takes(500*time.Millisecond))
		w.Within(time.Minute, validation.Balanced(processes(a, b), orders))
		w.Claim(validation.HandledOnce(orders), validation.OneAtATime(orders), usesTheNewProtocol("a"), usesTheNewProtocol("b"))
		a.Stop()
		w.Within(time.Minute, validation.Balanced(processes(b), orders))
		c := start(w, "c", config(validation, orders, newProtocol), takes(100*time.Millisecond))
		orders.Fill(20)
		w.Until(validation.Balanced(processes(b, c), orders))
		b.Crash()

		w.Until(validation.Drained(orders))
		w.Claim(validation.Handled(orders), validation.CommitSafe(orders), validation.OneAtATime(orders), validation.InOrder(orders),
			validation.RedeliveredOnlyUncommitted(orders))
	})
}

// Nobody can tell a member that is cut off that it was expelled, under this protocol as little as under the other.
func TestStep23_AMemberThatIsCutOffStopsInTime(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		orders, validation := w.Topic("orders", 1), w.Group("validation")
		orders.Fill(3)
		newProtocol := func(c *Config) { c.Protocol = ProtocolConsumer }
		a := start(w, "a", config(validation, orders, newProtocol), takes(5*time.Minute))
		w.Until(a.Busy(1))
		w.Sleep(10 * time.Second)

		a.Isolate()
		start(w, "b", config(validation, orders, newProtocol), takes(10*time.Second))
		w.Within(3*time.Minute, validation.Drained(orders))
		a.Heal()

		w.Sleep(time.Minute)
		w.Claim(validation.OneAtATime(orders), validation.CommitSafe(orders), validation.Handled(orders))
	}, harness.Deadline(20*time.Minute))
}

// usesTheNewProtocol claims that a member heartbeats by KIP-848 and does not join by the classic protocol.
//
//go:noinline
func usesTheNewProtocol(name string) harness.Claim {
	return func(w *harness.World) error {
		for _, p := range w.Processes() {
			if p.Name == name && (p.Requests(harness.GroupHeartbeat) == 0 || p.Requests(harness.JoinGroup) > 0) {
				return harness.Broke[harness.Misreported]("members of one group must all speak one protocol",
					"%s is configured for the consumer protocol and sent %d JoinGroup and %d ConsumerGroupHeartbeat requests", name, p.Requests(harness.JoinGroup), p.Requests(harness.GroupHeartbeat))
			}
		}
		return nil
	}
}
