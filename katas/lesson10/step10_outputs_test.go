package lesson10

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/kafka-katas/kafka-katas/harness"
)

// An output that is on its way may still be refused: an offset is committed when the broker has it.
func TestStep10_NothingIsCommittedBeforeItsOutputsAreAcknowledged(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		s := openShop(w, 2)
		all := numberedEvents(0, 30)
		s.raw.Produce(all...)

		s.disturbed("a", harness.Fail(harness.Produce, kerr.NotEnoughReplicas).Times(8))

		w.Until(s.group.Drained(s.raw))
		w.Claim(s.safe(), s.other.Holds(cleanEvents(all)...))
	})
}

// A refusal that may pass is no reason to drop the event, nor to let the next one overtake it.
func TestStep10_ARefusedOutputIsWrittenAgainBeforeItsFollowers(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		s := openShop(w, 1)
		all := eventsOf("c-1", 5)
		s.raw.Produce(all...)

		a := s.disturbed("a", harness.Fail(harness.Produce, kerr.TopicAuthorizationFailed).Times(1<<30))
		w.Sleep(4500 * time.Millisecond)
		a.ClearFaults()

		w.Until(s.group.Drained(s.raw))
		w.Claim(s.other.Holds(cleanEvents(all)...), s.safeOf("c-1"), empty(s.dead, s.audit), refusedAtMost(30))
	})
}

// However many are taken up at once, they come out in order, also when one request in their midst has to be repeated.
func TestStep10_ALargeBatchComesOutInOrder(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		s := openShop(w, 1)
		all := eventsOf("c-1", 1300)
		s.raw.Produce(all...)

		s.disturbed("a", harness.Fail(harness.Produce, kerr.NotEnoughReplicas).AfterThe(2).Times(2))

		w.Until(s.group.Drained(s.raw))
		w.Claim(s.safeOf("c-1"), arrived(s.other, all))
	})
}

// refusedAtMost claims that a cluster that refuses has not been asked more often than that.
//
//go:noinline
func refusedAtMost(n int) harness.Claim {
	return func(w *harness.World) error {
		if got := len(w.Journal().Events(harness.Of(harness.Refused))); got > n {
			return harness.Broke[harness.Wasteful]("who is asked again at once can only say no again, and has less time for the others", "%d requests were refused; it should be at most %d", got, n)
		}
		return nil
	}
}

// What a transaction wrote and took back is no event. What it left behind does not hold up the others.
func TestStep10_AnEventOfAnAbortedTransactionNeverHappened(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		s := openShop(w, 1)
		s.transact(s.raw, rawEvent("e-1", "login", "c-1"), kgo.TryAbort)
		s.transact(s.raw, rawEvent("test-2", "login", "c-1"), kgo.TryAbort)
		s.raw.Produce(rawEvent("e-3", "login", "c-1"))

		s.start("a")

		w.Until(s.group.Drained(s.raw))
		w.Claim(s.other.Holds(cleanEvent("e-3", "login", "c-1")), empty(s.audit, s.dead))
	})
}

// safeOf claims that nothing was committed before an output of that customer was acknowledged.
//
//go:noinline
func (s *shop) safeOf(customer string) harness.Claim {
	return func(w *harness.World) error {
		written := w.Journal().Events(harness.Of(harness.Produced), harness.Keyed(customer), func(e harness.Event) bool { return e.Process != "" })
		for _, e := range w.Journal().Events(harness.Of(harness.Committed)) {
			if e.Process != "" && (len(written) == 0 || written[0].Seq >= e.Sent) {
				return harness.Shown(harness.Broke[harness.CommittedTooEarly]("a crash now loses what was committed and not written",
					"%s committed offset %d at %v when no output for %s had been acknowledged", e.Process, e.Offset, e.At, customer), e)
			}
		}
		return nil
	}
}

// The same holds for what is not passed on: the audit topic is an output like any other.
func TestStep10_AnAuditRecordIsAcknowledgedBeforeItsOffsetIsCommitted(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		s := openShop(w, 1)
		test := rawEvent("test-1", "login", "c-1")
		poison := &kgo.Record{Key: []byte("c-2"), Value: []byte("?"), Timestamp: noon}
		s.raw.Produce(test, poison)

		s.disturbed("a", harness.Fail(harness.Produce, kerr.TopicAuthorizationFailed).Times(4))

		w.Until(s.group.Drained(s.raw))
		w.Claim(s.safe(), s.audit.Holds(test), s.dead.Holds(poison))
	})
}

// After a crash the next owner goes on where the commit is. What is in between comes out twice, and nothing is missing.
func TestStep10_ACrashLosesNothing(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		s := openShop(w, 2)
		first, second := numberedEvents(0, 20), numberedEvents(20, 20)
		s.raw.Produce(first...)
		a := s.start("a")
		w.Until(s.group.Drained(s.raw))
		a.CrashAfter(harness.Produce)
		s.raw.Produce(second...)
		w.Until(harness.Gone("a"))

		s.start("b")

		w.Until(s.group.Drained(s.raw))
		w.Claim(s.safe(), arrived(s.other, append(first, second...)))
	})
}

// soldItem is what becomes of an item of an order.
func soldItem(order string, n int, kind, sku string) *kgo.Record {
	return soldItemOf("c-1", order, n, kind, sku)
}

func soldItemOf(customer, order string, n int, kind, sku string) *kgo.Record {
	r := cleanEvent(fmt.Sprintf("%s-%d", order, n), kind, customer, `"items":[{"sku":"`+sku+`"}]`)
	r.Headers = rawEvent(order, "", "").Headers
	return r
}

// perItem is the expansion of an order: one event for each of its items.
func perItem(e Event) (events []Event) {
	for i, item := range e.Items {
		one := e
		one.ID, one.Items = fmt.Sprintf("%s-%d", e.ID, i+1), e.Items[i:i+1]
		if strings.Contains(string(item), "gold") {
			one.Type = "gold"
		}
		events = append(events, one)
	}
	return events
}

// One event can become several, each with a route of its own.
func TestStep11_AnOrderBecomesAnEventForEachItem(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		s := openShop(w, 1)
		s.rules.Expand = perItem
		s.raw.Produce(rawEvent("o-1", "order", "c-1", `"items":[{"sku":"a"},{"sku":"gold"},{"sku":"b"}]`), rawEvent("o-2", "order", "c-1", `"items":[]`))

		a := s.start("a")

		w.Until(s.group.Drained(s.raw))
		w.Claim(s.other.Holds(soldItem("o-1", 1, "order", "a"), soldItem("o-1", 3, "order", "b")), s.gold.Holds(soldItem("o-1", 2, "gold", "gold")),
			a.reported(func() error {
				if c := a.Stats().Totals; c.Received != 2 || c.Processed != 2 {
					return fmt.Errorf("%d events are reported as received and %d as processed; it should be 2 and 2, whatever they become", c.Received, c.Processed)
				}
				return nil
			}))
	})
}

// Half an order is worse than none: if one of the outputs cannot be, there is none of them.
func TestStep11_OfAnOrderAllItemsAreWrittenOrNone(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		s := openShop(w, 1)
		s.rules.Expand, s.cfg.MaxRecordBytes = perItem, 2000
		order := rawEvent("o-1", "order", "c-1", `"items":[{"sku":"a"},{"sku":"`+strings.Repeat("x", 2000)+`"},{"sku":"gold"}]`)
		s.raw.Produce(order, rawEvent("o-2", "order", "c-2", `"items":[{"sku":"b"}]`))

		s.start("a")

		w.Until(s.group.Drained(s.raw))
		w.Claim(s.dead.Holds(order), empty(s.gold), s.other.Holds(soldItemOf("c-2", "o-2", 1, "order", "b")))
	})
}

// The offset of an order waits for its last item: here for the one that the broker turns out not to take.
func TestStep11_AnOrderIsDoneWhenItsLastItemIs(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		s := openShop(w, 1)
		small := w.Topic("small", 1, "max.message.bytes", "600")
		s.rules.Expand, s.rules.Routes = perItem, []Route{{small.Name, func(e Event) bool { return e.Type == "gold" }}}
		order := rawEvent("o-1", "order", "c-1", `"items":[{"sku":"a"},{"sku":"gold-`+noise(2000)+`"}]`)
		s.raw.Produce(order)

		s.start("a")

		w.Until(s.group.Drained(s.raw))
		w.Claim(s.dead.Holds(order), s.lastOf(2), empty(small))
	})
}

// lastOf claims that nothing was committed before n outputs were acknowledged.
//
//go:noinline
func (s *shop) lastOf(n int) harness.Claim {
	return func(w *harness.World) error {
		written := w.Journal().Events(harness.Of(harness.Produced), func(e harness.Event) bool { return e.Process != "" })
		for _, e := range w.Journal().Events(harness.Of(harness.Committed)) {
			if e.Process != "" && (len(written) < n || written[n-1].Seq >= e.Sent) {
				return harness.Shown(harness.Broke[harness.CommittedTooEarly]("a crash now loses the rest: the next owner starts behind the order",
					"%s committed offset %d at %v when not all %d outputs of the order had been acknowledged", e.Process, e.Offset, e.At, n), e)
			}
		}
		return nil
	}
}

// A new key is a new order: events of a customer keep theirs although they came under many keys of one partition.
func TestStep12_OrderIsKeptForTheNewKey(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		s := openShop(w, 1)
		events := eventsOf("c-1", 30)
		for i, r := range events {
			again := *r
			again.Key = fmt.Appendf(nil, "session-%d", i%7)
			s.raw.Produce(&again)
		}

		a := s.disturbed("a", harness.Fail(harness.Produce, kerr.TopicAuthorizationFailed).Times(1<<30))
		w.Sleep(2500 * time.Millisecond)
		a.ClearFaults()

		w.Until(s.group.Drained(s.raw))
		w.Claim(s.other.Holds(cleanEvents(events)...), onePartition(s.other))
	})
}

// onePartition claims that all records of a key are in one partition.
//
//go:noinline
func onePartition(t *harness.Topic) harness.Claim {
	return func(*harness.World) error {
		where := map[string]int32{}
		for _, r := range t.Records() {
			if p, ok := where[string(r.Key)]; ok && p != r.Partition {
				return harness.Broke[harness.Reordered]("order exists within a partition and nowhere else", "events of customer %s are in partitions %d and %d of %s", r.Key, p, r.Partition, t)
			}
			where[string(r.Key)] = r.Partition
		}
		return nil
	}
}

// While the cluster takes nothing, nothing is committed and no more is taken up than MaxBatch; the process lives and waits.
func TestStep15_WhileNothingCanBeWrittenLittleIsTakenUp(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		s := openShop(w, 1)
		s.cfg.MaxBatch = 20
		all := numberedEvents(0, 200)
		s.raw.Produce(all...)
		a := s.disturbed("a", harness.Fail(harness.Produce, kerr.NotEnoughReplicas).Times(1<<30))

		w.Sleep(10 * time.Minute)
		w.Claim(empty(s.other, s.dead), s.safe(), a.healthy(true, false), a.reported(func() error {
			if c := a.Stats().Totals; c.InFlight > 20 || c.InFlight == 0 {
				return fmt.Errorf("%d records are in hand; it should be some, and at most MaxBatch (20)", c.InFlight)
			}
			return nil
		}))
		a.ClearFaults()

		w.Within(2*time.Minute, s.group.Drained(s.raw))
		w.Sleep(time.Minute)
		w.Claim(s.other.Holds(cleanEvents(all)...), a.healthy(true, true))
	}, harness.Deadline(time.Hour))
}

// What the topic will never take goes aside, and the next one flows.
func TestStep16_AnEventWithAnOversizedOutputIsDeadLettered(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		s := openShop(w, 1)
		s.cfg.MaxRecordBytes = 1000
		big, headed := rawEvent("e-2", "login", "c-1", `"note":"`+strings.Repeat("x", 1000)+`"`), rawEvent("e-4", "login", "c-1")
		headed.Headers = append(headed.Headers, kgo.RecordHeader{Key: "baggage", Value: []byte(strings.Repeat("x", 1000))})
		s.raw.Produce(rawEvent("e-1", "login", "c-1"), big, rawEvent("e-3", "login", "c-1"), headed)

		s.start("a")

		w.Within(time.Minute, s.group.Drained(s.raw))
		w.Claim(s.dead.Holds(big, headed), s.other.Holds(cleanEvent("e-1", "login", "c-1"), cleanEvent("e-3", "login", "c-1")))
	})
}

// The broker may know a smaller limit than the configuration, and may not know a topic at all.
func TestStep16_WhatTheBrokerWillNeverTakeIsDeadLettered(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		s := openShop(w, 1)
		small := w.Topic("small", 1, "max.message.bytes", "600")
		s.rules.Routes = []Route{
			{small.Name, func(e Event) bool { return e.Type == "small" }},
			{small.Name + "-missing", func(e Event) bool { return e.Type == "missing" }},
		}
		big, homeless := rawEvent("e-1", "small", "c-1", `"note":"`+noise(2000)+`"`), rawEvent("e-2", "missing", "c-2")
		s.raw.Produce(big, rawEvent("e-4", "small", "c-1"), homeless, rawEvent("e-3", "login", "c-3"))

		s.start("a")

		w.Within(2*time.Minute, s.group.Drained(s.raw))
		w.Claim(s.dead.Holds(big, homeless), s.other.Holds(cleanEvent("e-3", "login", "c-3")), small.Holds(cleanEvent("e-4", "small", "c-1")))
	})
}

// noise is a text that does not compress.
func noise(n int) string {
	var b strings.Builder
	for x := uint32(1); b.Len() < n; {
		x = x*1664525 + 1013904223
		b.WriteByte("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_"[x>>26])
	}
	return b.String()
}

// What is in hand when the process has to stop is finished; the rest is the next one's.
func TestStep17_AStopFinishesWhatIsInHand(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		s := openShop(w, 2)
		all := numberedEvents(0, 30)
		s.raw.Produce(all...)
		a := s.disturbed("a", harness.Delay(harness.Produce, 4*time.Second).Times(6))
		w.Until(a.inHand())
		w.Sleep(time.Second) // what is in hand is on its way by then

		a.AskToStop()
		a.AwaitStop()

		s.start("b")
		w.Until(s.group.Drained(s.raw))
		w.Claim(s.safe(), s.other.Holds(cleanEvents(all)...))
	})
}

// inHand claims that a member has records that it is not done with.
//
//go:noinline
func (m *member) inHand() harness.Claim {
	return func(*harness.World) error {
		if m.Stats().Totals.InFlight == 0 {
			return harness.Broke[harness.Stuck]("", "%s has taken nothing up", m.Name)
		}
		return nil
	}
}

// A cluster that is gone does not keep a process from stopping.
func TestStep17_AStopDoesNotWaitForAClusterThatIsGone(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		s := openShop(w, 1)
		all := numberedEvents(0, 10)
		s.raw.Produce(all...)
		a := s.disturbed("a", harness.Fail(harness.Produce, kerr.NotEnoughReplicas).Times(1<<30))
		w.Until(a.inHand())
		w.Sleep(time.Second)

		asked := w.Now()
		a.Stop()

		w.Claim(harness.AtMost("a stop", w.Now()-asked, s.cfg.DrainTimeout+10*time.Second), s.safe())
		s.start("b")
		w.Until(s.group.Drained(s.raw))
		w.Claim(arrived(s.other, all))
	})
}

// When partitions move, what is in hand is finished and committed first: the next owner starts right behind it.
func TestStep18_ARebalanceRepeatsNothing(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		s := openShop(w, 4)
		first := numberedEvents(0, 40)
		s.raw.Produce(first...)
		a := s.disturbed("a", harness.Delay(harness.Produce, 8*time.Second).Times(5))
		w.Until(a.inHand())

		b := s.start("b")
		w.Within(2*time.Minute, s.group.Balanced([]*harness.Process{a.Process, b.Process}, s.raw))
		second := numberedEvents(40, 40)
		s.raw.Produce(second...)

		w.Until(s.group.Drained(s.raw))
		w.Claim(s.safe(), s.other.Holds(cleanEvents(append(first, second...))...))
	}, harness.Brokers(1)) // one leader: what is in hand is of all partitions, whichever of them b is given
}

// Whoever has lost its partitions commits nothing for them any more: the offsets are the new owner's, and would go back.
func TestStep18_WhatWasLostIsNotCommittedLater(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		s := openShop(w, 2)
		all := numberedEvents(0, 40)
		s.raw.To(0, all[:10]...)
		s.raw.To(1, all[10:20]...)
		a := s.disturbed("a", harness.Fail(harness.OffsetCommit, kerr.CoordinatorNotAvailable).Times(1<<30))
		w.Until(arrived(s.other, all[:20]))
		w.Sleep(time.Second)
		a.Isolate() // until it is expelled, with progress that it could not commit
		b := s.start("b")
		w.Until(s.group.Drained(s.raw))
		s.raw.To(0, all[20:30]...)
		s.raw.To(1, all[30:]...)
		w.Until(s.group.Drained(s.raw))

		a.ClearFaults()
		a.Heal()

		w.Within(2*time.Minute, s.group.Balanced([]*harness.Process{a.Process, b.Process}, s.raw))
		w.Sleep(20 * time.Second)
		w.Claim(s.safe(), s.group.CommittedAt(s.raw, 0, 20), s.group.CommittedAt(s.raw, 1, 20), arrived(s.other, all))
	})
}

// A member that can write nothing gives its partitions up in time all the same, and commits nothing of what it could not write.
func TestStep18_AMemberThatCannotWriteLetsGoInTime(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		s := openShop(w, 2)
		all := numberedEvents(0, 20)
		s.raw.Produce(all...)
		a := s.disturbed("a", harness.Fail(harness.Produce, kerr.NotEnoughReplicas).Times(1<<30))
		w.Until(a.inHand())

		b := s.start("b")

		w.Within(s.cfg.DrainTimeout+20*time.Second, s.group.Balanced([]*harness.Process{a.Process, b.Process}, s.raw))
		w.Claim(s.safe())
		a.ClearFaults()
		w.Until(s.group.Drained(s.raw))
		w.Claim(s.safe(), arrived(s.other, all))
	})
}

// Nor does a service that never answers keep partitions, or the process, beyond their time.
func TestStep18_AMemberThatWaitsForTheServiceLetsGoInTime(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		s := openShop(w, 2)
		s.service()
		s.partner.Crash()
		all := numberedEvents(0, 20)
		s.raw.Produce(all...)
		a := s.start("a")
		w.Until(a.inHand())

		b := s.start("b")

		w.Within(s.cfg.DrainTimeout+20*time.Second, s.group.Balanced([]*harness.Process{a.Process, b.Process}, s.raw))
		asked := w.Now()
		a.Stop()
		w.Claim(harness.AtMost("a stop", w.Now()-asked, s.cfg.DrainTimeout+10*time.Second), s.safe())
		s.partner.Restart()
		w.Until(s.group.Drained(s.raw))
		w.Claim(s.safe(), arrived(s.other, all))
	})
}
