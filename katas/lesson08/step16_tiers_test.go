package lesson08

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/kafka-katas/kafka-katas/harness"
	"github.com/kafka-katas/kafka-katas/ops"
)

// With tiers a failed record moves out of the way: what is behind it goes on at once, and it is tried again when its
// tier says, exactly.
func TestStep16_TheMainTopicGoesOnAtOnce(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		shop := open(w, 1).withTiers(2)
		shop.payments.Produce(payment("p-1"), payment("p-2"))

		a := shop.start("a", shop.config(), fails("p-1", 2, ErrUnavailable))

		first := shop.first("p-1")
		w.Until(shop.drained())
		w.Claim(harness.Due("attempts at p-2", time.Second, w.Attempts("p-2"), first),
			harness.Due("attempts at p-1", time.Second, w.Attempts("p-1"), first, first+10*time.Second, first+40*time.Second),
			shop.nothingGivenUp(), shop.safe(), shop.settled(),
			a.accounts(ops.Counts{Received: 4, Processed: 2, Parked: 2, Failed: 2, Retried: 2}))
	})
}

// After the last tier comes the dead letter. It looks like one that never left its partition: every header once, however
// many topics it has been through.
func TestStep16_AfterTheLastTierComesOneDeadLetter(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		shop := open(w, 1).withTiers(2)
		redriven := func() *kgo.Record {
			return with(with(with(payment("p-1"), "trace", "a"), "trace", "b"), HeaderRedrives, "2")
		}
		shop.payments.To(0, payment("p-0"), redriven())

		shop.start("a", shop.config(), fails("p-1", always, ErrUnavailable))

		first := shop.first("p-1")
		w.Until(shop.drained())
		w.Claim(harness.Due("attempts at p-1", time.Second, w.Attempts("p-1"), first, first+10*time.Second, first+40*time.Second),
			shop.dead.Holds(redriven()),
			shop.letterSays(map[string]string{HeaderOriginTopic: shop.payments.Name, HeaderOriginPartition: "0", HeaderOriginOffset: "1", HeaderRedrives: "2",
				HeaderAttempts: "3", HeaderErrorClass: "unavailable", HeaderErrorMessage: "the provider is unavailable", HeaderOriginGroup: shop.desk.Name}),
			shop.letterIsDated(HeaderFirstFailed, time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC).Add(first)), shop.safe())
	})
}

// Whoever handles a retry sees the payment as it came: its bytes, and the moment at which it was made.
func TestStep16_ARetryIsHandedOverAsTheRecordItWas(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		shop := open(w, 1).withTiers(1)
		at := time.Date(1999, 12, 31, 12, 0, 0, 5_000_000, time.UTC)
		first := with(payment("p-1"), "trace", "a")
		first.Timestamp = at
		shop.payments.Produce(first)
		flaky := fails("p-1", 1, ErrUnavailable)

		shop.start("a", shop.config(), func(ctx context.Context, r *kgo.Record) error {
			trace, n := headerOf(r, "trace")
			switch {
			case !r.Timestamp.Equal(at):
				return fmt.Errorf("%w: the handler was given the timestamp %v; it should be its origin's, %v", ErrUndecodable, r.Timestamp.UTC(), at)
			case string(r.Value) != "pay p-1" || trace != "a" || n != 1:
				return fmt.Errorf("%w: the handler was given value %q and %d headers \"trace\" (%q); it should be \"pay p-1\" and 1 (\"a\")", ErrUndecodable, r.Value, n, trace)
			}
			return flaky(ctx, r)
		})

		w.Until(shop.drained())
		w.Claim(shop.nothingGivenUp(), shop.settled())
	})
}

// A record that its retry topic will not take can only be given up: it does not hold its partition up for ever. A letter
// that is never taken does, and what others can pass on meanwhile does not hide it.
func TestStep16_WhatIsTooLargeForItsRetryIsGivenUp(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		shop := open(w, 1)
		shop.retries = []*harness.Topic{w.Topic("payments-retry-small", 1, "max.message.bytes", "2000")}
		value := make([]byte, 5000)
		rand.NewChaCha8([32]byte{}).Read(value) // compressing it does not help
		shop.payments.To(0, &kgo.Record{Key: []byte("p-1"), Value: value}, payment("p-2"))

		shop.start("a", shop.config(), fails("p-1", always, ErrUnavailable))

		w.Within(20*time.Second, shop.drained())
		w.Claim(shop.dead.Holds(&kgo.Record{Key: []byte("p-1"), Value: value}), handled(w, "p-2", 1), shop.safe())
	})
	harness.Run(t, func(w *harness.World) { // one letter that is never taken, while others are passed on
		shop := open(w, 2).withTiers(1)
		shop.dead = w.Topic("payments-dlt-tiny", 1, "max.message.bytes", "100") // even without its value it is too large
		shop.payments.To(0, payment("p-1"))
		a := shop.start("a", shop.config(), both(fails("p-1", always, ErrDeclined), fails("p-2", 6, ErrUnavailable)))
		w.SleepUntil(2 * time.Minute)
		for range 6 {
			shop.payments.To(1, payment("p-2"))
			w.Sleep(time.Second)
			w.Claim(a.ready(false))
		}
		w.Sleep(20 * time.Second)
		w.Claim(a.ready(false), shop.desk.CommittedAt(shop.payments, 0, -1), shop.desk.CommittedAt(shop.payments, 1, 6), handled(w, "p-2", 6))
	})
}

// A retry waits in Kafka, not in the process that asked for it: crashes change neither when it is due nor how many
// attempts it has had.
func TestStep16_ARetryOutlivesItsProcess(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		shop := open(w, 1).withTiers(2)
		short := func(c *Config) { c.SessionTimeout = 6 * time.Second }
		shop.payments.Produce(payment("p-1"), payment("p-2"), payment("p-3"))
		desk := shop.start("desk", shop.config(short), both(fails("p-1", 2, ErrUnavailable), fails("p-3", always, ErrUnavailable)))
		first := shop.first("p-1")
		w.Until(shop.desk.Drained(shop.payments))

		desk.Crash() // long before the first retry
		w.SleepUntil(first + 2*time.Second)
		desk.restart()
		w.SleepUntil(first + 35*time.Second)
		desk.Crash() // and again when the second is due
		w.SleepUntil(first + 41*time.Second)
		desk.restart()

		w.Until(shop.drained())
		w.Claim(harness.Due("attempts at p-2", time.Second, w.Attempts("p-2"), first),
			harness.Due("attempts at p-1", 8*time.Second, w.Attempts("p-1"), first, first+10*time.Second, first+40*time.Second),
			harness.Due("attempts at p-3", 8*time.Second, w.Attempts("p-3"), first, first+10*time.Second, first+40*time.Second),
			shop.dead.Holds(with(payment("p-3"), HeaderAttempts, "3")), shop.safe())
	})
}

// A record that is not due holds its own partition up, and no other one: not that of another tier, not the main topic.
func TestStep17_ARecordThatIsNotDuePausesItsPartitionAlone(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		shop := open(w, 1).withTiers(2)
		cfg := shop.config(func(c *Config) { c.RetryDelays = []time.Duration{5 * time.Minute, time.Minute} })
		shop.payments.Produce(payment("p-1"))
		shop.start("a", cfg, both(fails("p-1", 2, ErrUnavailable), fails("p-2", 2, ErrUnavailable)))
		first := shop.first("p-1")
		w.SleepUntil(first + 4*time.Minute)
		shop.payments.Produce(payment("p-2"))
		w.SleepUntil(first + 5*time.Minute + 30*time.Second) // p-1 waits in the second tier, p-2 in the first
		shop.payments.Send(0, 3)

		w.Within(2*time.Second, shop.desk.CommittedAt(shop.payments, 0, 5))
		w.Until(shop.drained())
		w.Claim(harness.Due("attempts at p-1", time.Second, w.Attempts("p-1"), first, first+5*time.Minute, first+6*time.Minute),
			harness.Due("attempts at p-2", time.Second, w.Attempts("p-2"), first+4*time.Minute, first+9*time.Minute, first+10*time.Minute), shop.safe())
	}, harness.Deadline(30*time.Minute))
}

// A retry that waits moves with its partition: the new owner neither hurries nor forgets it, and nobody waits for it.
func TestStep17_TheNewOwnerHonoursTheDueTime(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		shop := open(w, 1).withTiers(1)
		cfg := shop.config(func(c *Config) { c.RetryDelays = []time.Duration{10 * time.Minute} })
		flaky := fails("p-1", 1, ErrUnavailable)
		shop.payments.Produce(payment("p-1"))
		a := shop.start("a", cfg, flaky)
		first := shop.first("p-1")
		w.SleepUntil(first + time.Minute)

		b := shop.start("b", cfg, flaky)
		w.Within(30*time.Second, shop.desk.Member(b.Process)) // what it owns is the balancer's affair
		a.Stop()

		w.Until(shop.drained())
		w.Claim(harness.Due("attempts at p-1", time.Second, w.Attempts("p-1"), first, first+10*time.Minute), shop.safe(), shop.nothingGivenUp())
	}, harness.Deadline(30*time.Minute))
}
