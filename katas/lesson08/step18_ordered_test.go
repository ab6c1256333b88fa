package lesson08

import (
	"context"
	"strconv"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/kafka-katas/kafka-katas/harness"
	"github.com/kafka-katas/kafka-katas/ops"
)

// orders are payments of one order: what happens to it, in order.
func steps(key string, n int) (out []*kgo.Record) {
	for i := range n {
		out = append(out, &kgo.Record{Key: []byte(key), Value: []byte(key + " step " + strconv.Itoa(i))})
	}
	return out
}

// A key that fails waits, and what follows with the same key waits behind it. Other keys of its partition go on at once.
func TestStep18_AKeyWaitsWithItsFollowersAndOtherKeysGoOn(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		shop := open(w, 1).withParking()
		shop.payments.To(0, append(append(steps("k-1", 3), steps("k-2", 2)...), steps("k-3", 1)...)...)

		a := shop.start("a", shop.config(func(c *Config) { c.Retry.Base, c.Retry.Cap = time.Minute, time.Hour }), fails("k-1", 2, ErrUnavailable))

		first := shop.first("k-1")
		w.Within(5*time.Second, shop.desk.CommittedAt(shop.payments, 0, 6))
		w.Until(shop.drained())
		w.Claim(shop.keyOrder(), harness.Due("attempts at k-2", 2*time.Second, w.Attempts("k-2"), first, first),
			harness.Due("attempts at k-1", time.Second, w.Attempts("k-1"), first, first+time.Minute, first+3*time.Minute, first+3*time.Minute, first+3*time.Minute),
			shop.safe(), shop.nothingGivenUp(), a.accounts(ops.Counts{Received: 9, Processed: 6, Parked: 3, Failed: 2, Retried: 2}))
	}, harness.Deadline(20*time.Minute))
}

// When the key is through it is an ordinary key again: it does not take the long way for ever.
func TestStep18_AKeyThatIsThroughGoesTheShortWayAgain(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		shop := open(w, 1).withParking()
		shop.payments.To(0, steps("k-1", 2)...)
		a := shop.start("a", shop.config(), fails("k-1", 1, ErrUnavailable))
		w.Until(harness.All(shop.drained(), shop.desk.Handled(shop.parked)))

		shop.payments.To(0, steps("k-1", 4)[2:]...)

		w.Until(shop.drained())
		w.Claim(shop.keyOrder(), a.accounts(ops.Counts{Received: 6, Processed: 4, Parked: 2, Failed: 1, Retried: 1}))
	})
}

// What gives up gives way: one dead letter, and its followers are handled.
func TestStep18_FollowersOfADeadLetterAreHandled(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		shop := open(w, 1).withParking()
		shop.payments.To(0, steps("k-1", 3)...)

		shop.start("a", shop.config(func(c *Config) { c.Retry.Attempts = 3 }), fails("k-1", 3, ErrUnavailable), often)

		first := shop.first("k-1")
		w.Until(shop.drained())
		w.Claim(shop.keyOrder(), harness.Due("attempts at k-1", time.Second, w.Attempts("k-1"),
			first, first+time.Second, first+3*time.Second, first+3*time.Second, first+3*time.Second),
			shop.letterSays(map[string]string{HeaderOriginTopic: shop.payments.Name, HeaderOriginOffset: "0", HeaderAttempts: "3"}), shop.safe())
	})
}

// Records without a key have no order to keep: one that waits holds no other up.
func TestStep18_RecordsWithoutAKeyDoNotWaitForEachOther(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		shop := open(w, 1).withParking()
		shop.payments.To(0, &kgo.Record{Value: []byte("bad")}, &kgo.Record{Value: []byte("good")})
		bad := fails("", 1, ErrUnavailable)

		a := shop.start("a", shop.config(), func(ctx context.Context, r *kgo.Record) error {
			if string(r.Value) == "bad" {
				return bad(ctx, r)
			}
			return nil
		})

		w.Until(shop.drained())
		w.Claim(a.accounts(ops.Counts{Received: 3, Processed: 2, Parked: 1, Failed: 1, Retried: 1}), shop.safe())
	})
}

// The key still waits after a crash, and for the next owner: who takes the partition over knows what is parked before it
// handles anything.
func TestStep18_AParkedKeyWaitsAcrossACrash(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		shop := open(w, 1).withParking()
		cfg := shop.config(func(c *Config) { c.Retry.Base, c.Retry.Cap, c.SessionTimeout = 2*time.Minute, time.Hour, 6*time.Second })
		flaky := fails("k-1", 1, ErrUnavailable)
		shop.payments.To(0, append(steps("k-1", 2), steps("k-2", 1)...)...)
		a := shop.start("a", cfg, flaky)
		first := shop.first("k-1")
		w.Until(shop.desk.CommittedAt(shop.payments, 0, 3))

		a.Crash()
		b := shop.start("b", cfg, flaky)
		w.SleepUntil(first + time.Minute)
		shop.payments.To(0, steps("k-1", 3)[2:]...)
		w.SleepUntil(first + 90*time.Second)
		b.Stop()
		shop.start("c", cfg, flaky)

		w.Until(shop.drained())
		w.Claim(shop.keyOrder(), shop.settled(), shop.safe(), shop.nothingGivenUp(), harness.Due("attempts at k-1", 10*time.Second, w.Attempts("k-1"),
			first, first+2*time.Minute, first+2*time.Minute, first+2*time.Minute))
	}, harness.Deadline(20*time.Minute))
}

// A parking topic that has fewer partitions than its source has no room for some keys: said at the start.
func TestStep18_AParkingTopicThatIsTooSmallIsRefused(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		shop := open(w, 3).withParking()
		shop.parked = w.Topic("payments-parked-small", 2)

		a := shop.start("a", shop.config(), atOnce)
		a.MayEnd()

		w.Within(time.Minute, a.Ends(ErrTopics))
		w.Claim(names(a.Err(), shop.parked.Name))
	})
}
