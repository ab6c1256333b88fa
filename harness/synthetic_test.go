package harness

import (
	"errors"
	"fmt"
	"slices"
	"time"
)

// A script writes journals by hand, as a story would have left them.
type script struct {
	events []Event
	at     time.Duration
	calls  int
}

func (s *script) time(at time.Duration) *script { s.at = at; return s }

func (s *script) add(e Event) int {
	e.Seq, e.At = len(s.events), s.at
	s.events = append(s.events, e)
	return e.Seq
}

func (s *script) does(process string, k Kind) int { return s.add(Event{Process: process, Kind: k}) }

func tps(topic string, partitions ...int32) []TopicPartition {
	out := make([]TopicPartition, len(partitions))
	for i, p := range partitions {
		out[i] = TopicPartition{topic, p}
	}
	return out
}

func (s *script) owns(process, group string, partitions []TopicPartition) int {
	return s.add(Event{Process: process, Kind: Assigned, Group: group, Partitions: partitions})
}

func (s *script) gaveUp(process, group string, partitions []TopicPartition) int {
	return s.add(Event{Process: process, Kind: Revoked, Group: group, Partitions: partitions})
}

func (s *script) began(process, group, topic string, partition int32, offset int64, key string) (seq, call int) {
	s.calls++
	return s.add(Event{Process: process, Kind: Began, Group: group, Topic: topic, Partition: partition, Offset: offset, Key: key, Call: s.calls}), s.calls
}

func (s *script) ended(process, group, topic string, partition int32, offset int64, key string, call int, err error) int {
	k := Handled
	if err != nil {
		k = Failed
	}
	return s.add(Event{Process: process, Kind: k, Group: group, Topic: topic, Partition: partition, Offset: offset, Key: key, Call: call, Err: err})
}

// handled is a whole call that takes no time.
func (s *script) handled(process, group, topic string, partition int32, offset int64, key string) int {
	_, call := s.began(process, group, topic, partition, offset, key)
	return s.ended(process, group, topic, partition, offset, key, call, nil)
}

func (s *script) committed(process, group, topic string, partition int32, offset int64) int {
	return s.add(Event{Process: process, Kind: Committed, Group: group, Topic: topic, Partition: partition, Offset: offset})
}

func (s *script) produced(topic string, partition int32, offset int64, key string) int {
	return s.add(Event{Kind: Produced, Topic: topic, Partition: partition, Offset: offset, Key: key})
}

// A told story is a script with the error that its claim found.
type told struct {
	test, pkg string
	events    []Event
	err       error
	hints     failureHints
}

const ms = time.Millisecond

// takeover: a crash between the effect and the commit, a session timeout, and the same effect again.
func takeover() told {
	s := &script{}
	s.does("teller", Started)
	s.time(10*ms).produced("transfers", 0, 0, "t-1")
	s.time(20 * ms).add(Event{Process: "teller", Kind: Joined, Group: "bank", Generation: 1})
	s.owns("teller", "bank", tps("transfers", 0))
	s.time(250 * ms)
	first := s.handled("teller", "bank", "transfers", 0, 0, "t-1")
	s.does("teller", Crashed)
	s.time(260*ms).does("teller-2", Started)
	s.time(45250 * ms).add(Event{Process: "teller", Kind: Expired, Group: "bank"})
	s.time(45260 * ms).add(Event{Process: "teller-2", Kind: Joined, Group: "bank", Generation: 2})
	s.owns("teller-2", "bank", tps("transfers", 0))
	s.time(45310 * ms)
	again := s.handled("teller-2", "bank", "transfers", 0, 0, "t-1")
	s.committed("teller-2", "bank", "transfers", 0, 1)
	return told{
		test: "TestStep03_ARedeliveredTransferIsAppliedOnce", pkg: "github.com/kafka-katas/kafka-katas/katas/lesson09", events: s.events,
		err: &Duplicated{Breach{
			What: "transfer t-1 (transfers/0 offset 0) was applied twice: at 0.25s by teller, at 45.31s by teller-2",
			Why:  "the commit never arrived, so Kafka delivers the record again; the effect itself must be idempotent",
			Seen: []int{first, again},
		}},
	}
}

// join: a third member makes the others give up everything, although only some partitions move.
func join() told {
	s := &script{}
	for _, p := range []string{"p1", "p2"} {
		s.does(p, Started)
	}
	s.time(50*ms).owns("p1", "inventory", tps("orders", 0, 1, 2))
	s.owns("p2", "inventory", tps("orders", 3, 4, 5))
	for i := range int64(9) {
		s.time(time.Duration(100+10*i) * ms)
		for p := range int32(6) {
			s.produced("orders", p, i, fmt.Sprintf("o-%d-%d", p, i))
			s.handled([]string{"p1", "p2"}[p/3], "inventory", "orders", p, i, fmt.Sprintf("o-%d-%d", p, i))
		}
	}
	s.time(5000*ms).does("p3", Started)
	a := s.time(8003*ms).gaveUp("p1", "inventory", tps("orders", 0, 1, 2))
	b := s.gaveUp("p2", "inventory", tps("orders", 3, 4, 5))
	s.time(8011*ms).owns("p1", "inventory", tps("orders", 0, 1))
	s.owns("p2", "inventory", tps("orders", 3, 4))
	s.owns("p3", "inventory", tps("orders", 2, 5))
	return told{
		test: "TestStep10_OnlyMovedPartitionsAreRevoked", pkg: "katas/lesson07", events: s.events,
		err: &Unbalanced{Breach{
			What: "when p3 joined, 6 of 6 partitions of orders were given up at 8.003s; 2 had to move",
			Why:  "an eager rebalance stops every partition of the group; a cooperative one stops only those that move",
			Seen: []int{a, b},
		}},
		hints: failureHints{Report: "/tmp/katas/TestStep10_OnlyMovedPartitionsAreRevoked.html"},
	}
}

// rewind: a stale owner's commit arrives after its successor's.
func rewind() told {
	s := &script{}
	s.does("p1", Started)
	s.does("p2", Started)
	s.time(20*ms).owns("p1", "inventory", tps("orders", 0, 1))
	s.owns("p2", "inventory", tps("orders", 2, 3))
	for i := range int64(3) {
		s.time(time.Duration(30+i)*ms).handled("p1", "inventory", "orders", 0, i, "")
	}
	s.time(40*ms).committed("p1", "inventory", "orders", 0, 3)
	_, call := s.time(50*ms).began("p1", "inventory", "orders", 0, 3, "o-3")
	s.time(51*ms).does("p1", Isolated)
	s.time(45040 * ms).add(Event{Process: "p1", Kind: Expired, Group: "inventory"})
	s.time(45043*ms).owns("p2", "inventory", tps("orders", 0, 1, 2, 3))
	for i := range int64(6) {
		s.time(time.Duration(45050+i)*ms).handled("p2", "inventory", "orders", 0, 3+i, "")
	}
	newer := s.time(45060*ms).committed("p2", "inventory", "orders", 0, 9)
	s.time(60000*ms).does("p1", Healed)
	s.time(60001*ms).ended("p1", "inventory", "orders", 0, 3, "o-3", call, nil)
	stale := s.time(60002*ms).committed("p1", "inventory", "orders", 0, 4)
	return told{
		test: "TestStep17_AnExpelledMemberCommitsNothing", pkg: "github.com/kafka-katas/kafka-katas/katas/lesson07", events: s.events,
		err: fmt.Errorf("schedule 17: %w", &Rewound{Breach{
			What: "the committed offset of orders/0 in group inventory went back from 9 to 4 at 60.002s, by p1, which was no longer its owner",
			Why:  "the broker accepts a commit of a member it has expelled when the group is asked without a generation; five records will be handled again",
			Seen: []int{newer, stale},
		}}),
		hints: failureHints{
			Again: "KATA_SCHEDULE='isolate p1@4s' go test ./katas/lesson07/... -run TestStep17",
			Notes: [][2]string{{"schedule", "isolate p1 after its 4th record was begun, heal it after 60s"}},
		},
	}
}

// stuck: nothing happens any more, and a fault is long over.
func stuck() told {
	s := &script{}
	s.does("p1", Started)
	s.time(25*ms).owns("p1", "inventory", tps("orders", 0, 1, 2, 3, 4, 5))
	s.time(100 * ms)
	var last int
	for p := range int32(6) {
		last = s.produced("orders", p, 0, fmt.Sprintf("o-%d", p))
	}
	s.add(Event{Process: "p1", Kind: Disturbed, Text: "OffsetCommit fails once with REBALANCE_IN_PROGRESS"})
	s.time(101*ms).handled("p1", "inventory", "orders", 0, 0, "o-0")
	s.time(102 * ms).add(Event{Process: "p1", Kind: Refused, Group: "inventory", Text: "OffsetCommit", Topic: "orders", Err: errors.New("REBALANCE_IN_PROGRESS")})
	return told{
		test: "TestStep13_ARebalanceErrorOnACommitIsNotTheEnd", pkg: "github.com/kafka-katas/kafka-katas/katas/lesson07", events: s.events,
		err: &Stuck{Breach{
			What: "5 of 6 records of orders were still not handled at 120s; orders/5 offset 0, key o-5, has waited since 0.10s",
			Why:  "a rebalance error on a commit is an everyday answer; the loop must go on polling",
			Seen: []int{last},
		}},
	}
}

// seven: more members than partitions, and one record in work at two of them.
func seven() told {
	s := &script{}
	for m := range 7 {
		s.time(time.Duration(m)*10*ms).does(fmt.Sprintf("member-%d", m+1), Started)
	}
	s.time(3100 * ms)
	for m := range 7 {
		var parts []int32
		if m < 6 {
			parts = []int32{int32(m)}
		}
		s.owns(fmt.Sprintf("member-%d", m+1), "inventory", tps("orders", parts...))
	}
	for i := range int64(40) {
		s.time(time.Duration(3200+25*i) * ms)
		for p := range int32(6) {
			s.handled(fmt.Sprintf("member-%d", p+1), "inventory", "orders", p, i, fmt.Sprintf("customer-%d", p))
			s.committed(fmt.Sprintf("member-%d", p+1), "inventory", "orders", p, i+1)
		}
	}
	first, call := s.time(5000*ms).began("member-3", "inventory", "orders", 2, 40, "customer-2")
	s.time(5010*ms).does("member-5", Stopping)
	s.time(5020*ms).gaveUp("member-3", "inventory", tps("orders", 2))
	s.time(5020*ms).does("member-5", Stopped)
	s.time(5030*ms).owns("member-7", "inventory", tps("orders", 2))
	s.owns("member-3", "inventory", tps("orders", 4))
	second, call2 := s.time(5040*ms).began("member-7", "inventory", "orders", 2, 40, "customer-2")
	s.time(5400*ms).ended("member-7", "inventory", "orders", 2, 40, "customer-2", call2, nil)
	s.time(7000*ms).ended("member-3", "inventory", "orders", 2, 40, "customer-2", call, nil)
	return told{
		test: "TestStep15_AKeyIsNeverInWorkAtTwoMembersAtOnceWhateverTheChurnOfTheGroupAndTheSpeedOfItsHandlersMayBe",
		pkg:  "github.com/kafka-katas/kafka-katas/katas/lesson07", events: s.events,
		err: &Overlapped{Breach{
			What: "key customer-2 (orders/2 offset 40) was in work at member-7 from 5.04s while member-3 still worked on it, from 5.00s to 7.00s",
			Why:  "a revoke that returns before its workers do lets the next owner start beside them",
			Seen: []int{first, second},
		}},
		hints: failureHints{Also: []error{
			&Duplicated{says("", "orders/2 offset 40 was handled twice: at 5.40s by member-7, at 7.00s by member-3")},
			&Unbalanced{says("", "member-3 owns 2 partitions at 5.03s and member-6 owns 1, while member-7 had been idle for 1.9s before that, and further explanations")},
		}},
	}
}

// transform: two topics and two groups; an input was committed before its output was acknowledged.
func transform() told {
	s := &script{}
	s.does("normaliser", Started)
	s.does("segmenter", Started)
	s.time(30*ms).owns("normaliser", "normalise", tps("customer-events-raw", 0, 1))
	s.owns("segmenter", "segment", tps("customer-events", 0))
	s.time(100*ms).produced("customer-events-raw", 0, 0, "c-1")
	s.produced("customer-events-raw", 0, 1, "a key that is much longer than any key should be, really")
	s.time(101*ms).handled("normaliser", "normalise", "customer-events-raw", 0, 0, "c-1")
	s.time(103 * ms).add(Event{Process: "normaliser", Kind: Produced, Topic: "customer-events", Offset: 0, Key: "c-1"})
	s.time(104*ms).handled("segmenter", "segment", "customer-events", 0, 0, "c-1")
	s.committed("segmenter", "segment", "customer-events", 0, 1)
	done := s.time(105*ms).handled("normaliser", "normalise", "customer-events-raw", 0, 1, "a key that is much longer than any key should be, really")
	early := s.time(106*ms).committed("normaliser", "normalise", "customer-events-raw", 0, 2)
	s.time(107*ms).does("normaliser", Crashed)
	return told{
		test: "TestStep09_AnInputIsCommittedAfterItsOutput", pkg: "github.com/kafka-katas/kafka-katas/katas/lesson10", events: s.events,
		err: &CommittedTooEarly{Breach{
			What: "customer-events-raw/0 was committed at 2 by normaliser at 0.106s, but the output of offset 1 was never acknowledged",
			Why:  "a crash now loses the output for good: nobody will read that input again",
			Seen: []int{done, early},
		}},
	}
}

// charge: calls over HTTP, the same payment charged twice under two keys.
func charge() told {
	s := &script{}
	s.does("payments", Started)
	s.time(20*ms).owns("payments", "payments", tps("payment-requested", 0))
	_, call := s.time(100*ms).began("payments", "payments", "payment-requested", 0, 7, "pay-7")
	s.add(Event{Process: "payments", Kind: Disturbed, Text: "the reply of POST provider/charges is lost, once"})
	for range 42 {
		s.time(s.at + 5*ms).add(Event{Process: "payments", Kind: Called, Text: "GET provider/health 200"})
	}
	a := s.time(400 * ms).add(Event{Process: "payments", Kind: Called, Key: "pay-7", Text: "POST provider/charges Idempotency-Key: 7f3a", Err: errors.New("read tcp 10.0.0.7:40312->10.0.0.9:443: i/o timeout, no reply within the client's limit of 10s")})
	s.time(1400 * ms)
	b := s.add(Event{Process: "payments", Kind: Called, Key: "pay-7", Text: "POST provider/charges Idempotency-Key: 91c0 201"})
	s.time(1410*ms).ended("payments", "payments", "payment-requested", 0, 7, "pay-7", call, nil)
	return told{
		test: "TestStep11_ATimedOutChargeIsRepeatedUnderItsOwnKey", pkg: "github.com/kafka-katas/kafka-katas/katas/lesson12", events: s.events,
		err: errors.Join(&Duplicated{Breach{
			What: "payment pay-7 (payment-requested/0 offset 7) was charged twice, under the idempotency keys 7f3a and 91c0",
			Why:  "a timeout does not say whether the provider did the work; only the same key makes the repetition harmless",
			Seen: []int{a, b},
		}}, &Wasteful{says("", "42 health checks for 1 payment")}),
	}
}

// busy: two thousand events with a loss in their midst.
func busy() told {
	s := &script{}
	members := []string{"p1", "p2", "p3", "p4", "p5", "p6", "p7"}
	for i, m := range members {
		s.time(time.Duration(i)*ms).does(m, Started)
	}
	s.time(40 * ms)
	for i, m := range members[:6] {
		s.owns(m, "inventory", tps("orders", int32(i)))
	}
	s.owns("p7", "inventory", nil)
	var failed, committed int
	for i := range int64(105) {
		for p := range int32(6) {
			owner := members[p]
			if p == 3 && i > 60 {
				owner = "p7"
			}
			s.time(time.Duration(50+i*7+int64(p)) * ms)
			if i == 60 && p == 3 {
				_, call := s.began(owner, "inventory", "orders", p, i, "o-3-60")
				failed = s.ended(owner, "inventory", "orders", p, i, "o-3-60", call, errors.New("stock service: 503"))
				s.time(s.at + ms)
				committed = s.committed(owner, "inventory", "orders", p, 61)
				s.does(owner, Crashed)
				s.time(s.at+2*ms).owns("p7", "inventory", tps("orders", 3))
				continue
			}
			s.produced("orders", p, i, fmt.Sprintf("o-%d-%d", p, i))
			s.handled(owner, "inventory", "orders", p, i, fmt.Sprintf("o-%d-%d", p, i))
			if i%10 == 9 {
				s.committed(owner, "inventory", "orders", p, i+1)
			}
		}
	}
	return told{
		test: "TestStep09_ACrashLosesNothing", pkg: "github.com/kafka-katas/kafka-katas/katas/lesson07", events: s.events,
		err: &Lost{Breach{
			What: "orders/3 offset 60, key o-3-60, failed at 0.473s and was committed all the same: nobody will handle it",
			Why:  "an offset that is committed is never delivered to the group again",
			Seen: []int{failed, committed},
		}},
	}
}

// hung: the process did not run as a program should, and the watchdog's diagnosis has several lines.
func hung() told {
	s := &script{}
	s.does("p1", Started)
	s.time(25*ms).owns("p1", "inventory", tps("orders", 0, 1))
	s.time(30*ms).began("p1", "inventory", "orders", 0, 0, "o-0")
	s.began("p1", "inventory", "orders", 1, 0, "o-1")
	s.time(31*ms).does("p1", Stopping)
	return told{
		test: "TestStep08_ACleanLeaveFinishesItsWork", pkg: "github.com/kafka-katas/kafka-katas/katas/lesson07", events: s.events,
		err: &Broken{says("a goroutine that waits on a mutex held across a sleep stops virtual time as well",
			"virtual time stands still at 0.031s: two goroutines wait for each other\n"+
				"    goroutine 42 waits for the mutex of Tracker in (*Tracker).Mark, tracker.go:31\n"+
				"    goroutine 40 holds it since (*Consumer).drain, consumer.go:88, and waits for a channel there")},
	}
}

func unwritten() told {
	return told{
		test: "TestStep01_OneMemberOwnsAll", pkg: "github.com/kafka-katas/kafka-katas/katas/lesson07",
		events: []Event{{Kind: Started, Process: "p1"}},
		err:    fmt.Errorf("p1: %w", errors.New("lesson07: New is not written yet")),
		hints:  failureHints{Dir: "testdata/failure/stub", Report: "/tmp/x.html", Also: []error{errors.New("nothing else matters")}},
	}
}

// away: a test of somebody's own consumer, outside the course, whose story broke off.
func away() told {
	return told{
		test: "TestConsumer/first", pkg: "example.com/shop/orders", events: takeover().events,
		err: errors.New("topic orders could not be made: dial tcp: lookup kafka.example.com: no such host"),
	}
}

func tales() map[string]told {
	return map[string]told{
		"takeover": takeover(), "join": join(), "rewind": rewind(), "stuck": stuck(), "seven": seven(), "transform": transform(),
		"charge": charge(), "busy": busy(), "hung": hung(), "unwritten": unwritten(), "away": away(), "long": long(),
	}
}

// long is a story of a day, with a step beyond a store's memory.
func long() told {
	s := &script{}
	s.does("ledger", Started)
	s.time(20*ms).owns("ledger", "bank", tps("transfers", 0))
	a := s.time(250*ms).handled("ledger", "bank", "transfers", 0, 0, "t-1")
	s.time(24*time.Hour + 2*time.Minute + 250*ms).add(Event{Kind: Noted, Text: "the window of 24h ends"})
	b := s.time(24*time.Hour+2*time.Minute+251*ms).handled("ledger", "bank", "transfers", 0, 1, "t-1")
	return told{
		test: "TestStep16", pkg: "solutions/lesson09", events: slices.Clone(s.events),
		err: &Duplicated{Breach{What: "transfer t-1 was applied twice, 24h02m apart", Why: "the window must be longer than a redelivery can take", Seen: []int{a, b}}},
	}
}
