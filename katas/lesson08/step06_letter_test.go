package lesson08

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/kafka-katas/kafka-katas/harness"
)

// A dead letter is the record as it came: its key, its very bytes, its headers with duplicates and in order, null or not.
func TestStep06_TheRecordSurvivesAsItCame(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		shop := open(w, 3)
		headers := []kgo.RecordHeader{{Key: "trace", Value: []byte("a")}, {Key: "tenant", Value: nil}, {Key: "trace", Value: []byte("b")}, {Key: "sum", Value: []byte{0, 255, 1}}}
		letters := func() []*kgo.Record {
			return []*kgo.Record{
				{Key: []byte("bytes"), Value: []byte{0xff, 0x00, 0xfe, '\n'}, Headers: headers},
				{Key: []byte("null"), Value: nil},
				{Key: []byte("empty"), Value: []byte{}},
				{Key: nil, Value: []byte("without a key")},
			}
		}
		shop.payments.To(2, letters()...)

		shop.start("a", shop.config(), func(context.Context, *kgo.Record) error { return ErrUndecodable })

		w.Within(10*time.Second, shop.drained())
		w.Claim(shop.dead.Holds(letters()...), shop.safe())
	})
}

// It says where the record comes from, why it was given up, after how many attempts, and since when it failed.
func TestStep06_ADeadLetterSaysWhereItComesFromAndWhy(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		shop := open(w, 3)
		at := time.Date(1999, 12, 31, 23, 59, 58, 765_000_000, time.UTC)
		letter := payment("p-1")
		letter.Timestamp = at
		shop.payments.To(2, payment("p-0"), letter)

		shop.start("a", shop.config(func(c *Config) { c.Retry.Attempts = 3 }), fails("p-1", always, fmt.Errorf("charge 30 EUR: %w", ErrUnavailable)))

		first := shop.first("p-1")
		w.Until(shop.drained())
		firstFailed := time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC).Add(first) // a story begins with the year 2000
		w.Claim(shop.letterSays(map[string]string{
			HeaderOriginTopic: shop.payments.Name, HeaderOriginPartition: "2", HeaderOriginOffset: "1", HeaderOriginTimestamp: at.Format(time.RFC3339Nano),
			HeaderOriginGroup: shop.desk.Name, HeaderErrorClass: "unavailable", HeaderErrorMessage: "charge 30 EUR: the provider is unavailable",
			HeaderAttempts: "3",
		}), shop.letterIsDated(HeaderFirstFailed, firstFailed))
	})
}

// What comes from outside has no trip behind it, whatever its headers say: a payment that was copied from somebody's dead
// letters is a new one.
func TestStep06_HeadersThatCameWithAPaymentSayNothing(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		shop := open(w, 1)
		copied := with(with(with(with(payment("p-1"), HeaderOriginTopic, "refunds"), HeaderOriginOffset, "77"), HeaderAttempts, "99"), HeaderDue, "2030-01-01T00:00:00Z")
		shop.payments.Produce(with(copied, HeaderReceipt, "0@0"))

		shop.start("a", shop.config(func(c *Config) { c.Retry.Attempts = 2 }), fails("p-1", always, ErrUnavailable))

		first := shop.first("p-1")
		w.Within(10*time.Second, shop.drained())
		w.Claim(harness.Times("attempts at p-1", w.Attempts("p-1"), first, first+time.Second), shop.letterSays(map[string]string{
			HeaderOriginTopic: shop.payments.Name, HeaderOriginOffset: "0", HeaderAttempts: "2",
		}), shop.noReceipts())
	})
}

// noReceipts claims that no letter is taken for the receipt of a redrive.
//
//go:noinline
func (s *shop) noReceipts() harness.Claim {
	return func(*harness.World) error {
		for _, r := range s.dead.Records() {
			if of, n := headerOf(r, HeaderReceipt); n > 0 {
				return harness.Broke[harness.Lost]("a redrive would take this letter for a receipt, and never send it, nor the one that it names",
					"the dead letter of %s still has %s: %s, which came with the payment", r.Key, HeaderReceipt, of)
			}
		}
		return nil
	}
}

// letterSays claims what the one dead letter has in its headers, each of them once.
//
//go:noinline
func (s *shop) letterSays(want map[string]string) harness.Claim {
	return func(w *harness.World) error {
		letters := s.dead.Records()
		if len(letters) != 1 {
			return harness.Broke[harness.Lost]("somebody will look for it", "there are %d dead letters; it should be 1", len(letters))
		}
		for name, value := range want {
			got, n := headerOf(letters[0], name)
			if n != 1 || got != value {
				return harness.Broke[harness.Misreported]("who looks at a dead letter has nothing else to find the record, the cause and the time by",
					"the dead letter of %s has %s %d times, with %q; it should be there once, with %q", letters[0].Key, name, n, got, value)
			}
		}
		return nil
	}
}

// letterIsDated claims that a header of the one dead letter is this moment, and that the letter was written no earlier.
//
//go:noinline
func (s *shop) letterIsDated(name string, want time.Time) harness.Claim {
	return func(w *harness.World) error {
		for _, r := range s.dead.Records() {
			text, _ := headerOf(r, name)
			got, err := time.Parse(time.RFC3339Nano, text)
			if off := got.Sub(want).Abs(); err != nil || w.Exact() && off != 0 {
				return harness.Broke[harness.Misreported]("since when it fails says which deployment, and which outage, it was",
					"the dead letter of %s has %s %q; it should be %s", r.Key, name, text, want.Format(time.RFC3339Nano))
			}
			if r.Timestamp.Before(want.Truncate(time.Millisecond)) {
				return harness.Broke[harness.Misreported]("the retention of a topic counts from there: a letter that is born old is soon deleted, and nobody has read it",
					"the dead letter of %s has the timestamp %v, before its first failure at %v", r.Key, r.Timestamp.UTC(), want)
			}
		}
		return nil
	}
}

// The text of an error may be a page long; a letter carries the beginning of it, in whole characters.
func TestStep06_ALongErrorIsCutToAThousandBytes(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		shop := open(w, 1)
		shop.payments.Produce(payment("p-1"))
		page := "x" + strings.Repeat("é", 2000)

		shop.start("a", shop.config(), fails("p-1", always, &InvalidError{Field: page, Reason: "too long"}))

		w.Within(10*time.Second, shop.drained())
		w.Claim(shop.letterSays(map[string]string{HeaderErrorMessage: page[:999]}))
	})
}

// Payments have more partitions than their dead letters: where a letter goes its key decides, not its source.
func TestStep06_AKeyKeepsItsLettersTogether(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		shop := open(w, 6)
		shop.dead = w.Topic("payments-dlt-2", 2)
		for i := range 12 {
			for p := range int32(6) {
				shop.payments.To(p, &kgo.Record{Key: []byte("k-" + strconv.Itoa(i%4)), Value: []byte(strconv.Itoa(i))})
			}
		}

		shop.start("a", shop.config(), func(context.Context, *kgo.Record) error { return ErrDeclined })

		w.Within(20*time.Second, shop.drained())
		w.Claim(shop.settled(), shop.lettersTogether(72))
	})
}

//go:noinline
func (s *shop) lettersTogether(n int) harness.Claim {
	return func(*harness.World) error {
		letters := s.dead.Records()
		if len(letters) != n {
			return harness.Broke[harness.Lost]("a dead letter that nobody can find is a lost record", "there are %d dead letters; it should be %d", len(letters), n)
		}
		home := map[string]int32{}
		for _, r := range letters {
			if at, ok := home[string(r.Key)]; ok && at != r.Partition {
				return harness.Broke[harness.Misrouted]("letters of one key are redriven in order only if they lie in one partition",
					"dead letters of key %s lie in partitions %d and %d", r.Key, at, r.Partition)
			}
			home[string(r.Key)] = r.Partition
		}
		return nil
	}
}

// The dead letter is there before the source is committed: the commit waits, whether the acknowledgement is slow or the
// broker does not take the letter yet. One letter all the same.
func TestStep07_TheSourceIsCommittedAfterTheLetterIsAcknowledged(t *testing.T) {
	for _, trouble := range []func() *harness.Fault{
		func() *harness.Fault { return harness.Delay(harness.Produce, 8*time.Second) },
		func() *harness.Fault { return harness.Fail(harness.Produce, kerr.NotEnoughReplicas).Times(10) },
	} {
		harness.Run(t, func(w *harness.World) {
			shop := open(w, 1)
			shop.payments.Produce(payment("p-1"), payment("p-2"))
			shop.start("a", shop.config(), fails("p-1", always, ErrDeclined)).Fault(trouble())

			w.Until(shop.drained())

			w.Sleep(time.Minute)
			w.Claim(shop.safe(), shop.settled(), shop.dead.Holds(payment("p-1")))
		})
	}
}

// A crash while the letter is on its way, for longer than until the next commit, loses nothing.
func TestStep07_ACrashBeforeTheLetterIsThereLosesNothing(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		shop := open(w, 1)
		shop.payments.Produce(payment("p-1"), payment("p-2"))
		a := shop.start("a", shop.config(), fails("p-1", always, ErrDeclined))

		a.Fault(harness.Fail(harness.Produce, kerr.NotEnoughReplicas).Times(1000)) // longer than until the next commit
		w.Sleep(8 * time.Second)
		a.Crash()
		a.restart()

		w.Until(shop.drained())
		w.Claim(shop.settled(), shop.safe(), shop.dead.Holds(payment("p-1")))
	})
}

// A reply that is lost does not make two letters: the client tries again, and knows what it has sent.
func TestStep07_ALostReplyMakesNoSecondLetter(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		shop := open(w, 1)
		shop.payments.Produce(payment("p-1"), payment("p-2"))

		shop.start("a", shop.config(), fails("p-1", always, ErrDeclined)).Fault(harness.LoseReply(harness.Produce).Times(2))

		w.Until(shop.drained())
		w.Claim(shop.dead.Holds(payment("p-1")), shop.settled(), shop.safe())
	})
}

// As long as dead letters are not accepted, the record stays where it is, whatever the broker's reason: nothing is
// skipped, nothing is committed past it, and the service says that it is not ready; but live, since a restart would mend
// nothing. Then it goes on by itself.
func TestStep09_AnUnavailableDeadLetterTopicHoldsThePartitionUp(t *testing.T) {
	for _, reason := range []*kerr.Error{kerr.NotEnoughReplicas, kerr.TopicAuthorizationFailed, kerr.UnknownTopicOrPartition, kerr.InvalidRecord} {
		harness.Run(t, func(w *harness.World) {
			shop := open(w, 2)
			shop.payments.To(0, payment("p-1"), payment("p-2"))
			shop.payments.To(1, payment("p-3"))
			a := shop.start("a", shop.config(), fails("p-1", always, ErrDeclined))
			a.Fault(harness.Fail(harness.Produce, reason).Times(always))

			w.SleepUntil(2 * time.Minute)
			w.Claim(shop.safe(), a.ready(false), shop.desk.CommittedAt(shop.payments, 0, -1), shop.desk.CommittedAt(shop.payments, 1, 1))
			w.SleepUntil(6 * time.Minute)
			w.Claim(a.ready(false)) // StallAfter has passed, but no handler works
			a.ClearFaults()

			w.Within(time.Minute, shop.drained())
			w.Claim(shop.dead.Holds(payment("p-1")), shop.settled(), shop.safe(), a.ready(true), harness.Due("attempts at p-1", 0, w.Attempts("p-1"), shop.first("p-1")))
		}, harness.Deadline(10*time.Minute))
	}
}

// A letter that nobody takes is work in hand: a stop waits DrainTimeout for it, and then no longer, whether the broker
// refuses it or does not answer.
func TestStep09_AStopDoesNotWaitForTheDeadLetterTopic(t *testing.T) {
	for _, trouble := range []func() *harness.Fault{
		func() *harness.Fault { return harness.Delay(harness.Produce, time.Hour).Times(always) },
		func() *harness.Fault { return harness.Fail(harness.Produce, kerr.NotEnoughReplicas).Times(always) },
	} {
		harness.Run(t, func(w *harness.World) {
			shop := open(w, 1)
			shop.payments.Produce(payment("p-1"), payment("p-2"))
			a := shop.start("a", shop.config(func(c *Config) { c.DrainTimeout = 10 * time.Second }), fails("p-1", always, ErrDeclined))
			a.Fault(trouble())
			shop.first("p-1")
			w.Sleep(5 * time.Second)

			asked := w.Now()
			a.AskToStop()
			w.Within(time.Minute, harness.Gone("a"))
			w.Claim(harness.AtMost("the stop while dead letters are not accepted, with a DrainTimeout of 10 s", w.Now()-asked, 15*time.Second), shop.safe())
			a.restart()

			w.Within(time.Minute, shop.drained())
			w.Claim(shop.settled(), shop.safe())
		})
	}
}

// A letter that is too large goes without what makes it large: still one letter, and still found by its origin.
func TestStep10_ALetterThatIsTooLargeIsWrittenWithoutItsValue(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		shop := open(w, 1)
		shop.dead = w.Topic("payments-dlt-small", 1, "max.message.bytes", "2000")
		large := with(payment("p-1"), "trace", "a")
		large.Value = make([]byte, 5000)
		rand.NewChaCha8([32]byte{}).Read(large.Value) // compressing it does not help
		shop.payments.Produce(large, payment("p-2"))

		a := shop.start("a", shop.config(), fails("p-1", always, ErrDeclined))

		w.Within(time.Minute, shop.drained())
		w.Claim(shop.settled(), shop.safe(), a.ready(true), shop.letterSays(map[string]string{
			HeaderOmitted: "value,headers", HeaderOriginOffset: "0", HeaderErrorClass: "declined", HeaderAttempts: "1",
		}), shop.dead.Holds(&kgo.Record{Key: []byte("p-1")}))
	})
}

// Where there is nowhere to put dead letters the service does not begin: better now than with the first that fails.
func TestStep10_AServiceWithoutItsTopicsDoesNotBegin(t *testing.T) {
	for _, missing := range []func(*Config){
		func(c *Config) { c.DeadLetterTopic = "nowhere" },
		func(c *Config) { c.RetryTopics = []string{c.RetryTopics[0], "nowhere"} },
	} {
		harness.Run(t, func(w *harness.World) {
			shop := open(w, 1).withTiers(2)
			shop.payments.Produce(payment("p-1"))

			a := shop.start("a", shop.config(missing), atOnce)
			a.MayEnd()

			w.Within(time.Minute, a.Ends(ErrTopics))
			w.Claim(names(a.Err(), "nowhere"), harness.Times("attempts at p-1", w.Attempts("p-1")))
		})
	}
}

//go:noinline
func names(err error, what string) harness.Claim {
	return harness.Reported(func() error {
		if err == nil || !strings.Contains(err.Error(), what) {
			return fmt.Errorf("the error does not name %q: %v", what, err)
		}
		return nil
	})
}

// A cluster that is down when the service starts is no missing topic.
func TestStep10_AnUnreachableClusterIsWaitedFor(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		shop := open(w, 1)
		shop.payments.Produce(payment("p-1"))
		w.Kafka().Down()
		a := shop.start("a", shop.config(), fails("p-1", always, ErrDeclined))
		w.Sleep(time.Minute)
		w.Claim(a.ready(false))

		w.Kafka().Up()

		w.Within(2*time.Minute, shop.drained())
		w.Claim(shop.dead.Holds(payment("p-1")), a.ready(true))
	}, harness.Deadline(10*time.Minute))
}
