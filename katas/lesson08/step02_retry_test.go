package lesson08

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/kafka-katas/kafka-katas/harness"
	"github.com/kafka-katas/kafka-katas/ops"
)

// What succeeds is attempted once, and committed.
func TestStep02_ASuccessTakesOneAttempt(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		shop := open(w, 3)
		shop.payments.Fill(5)

		a := shop.start("a", shop.config(), atOnce)

		w.Within(10*time.Second, shop.drained())
		w.Claim(shop.desk.HandledOnce(shop.payments), shop.desk.InOrder(shop.payments), shop.safe(), shop.nothingGivenUp(),
			a.accounts(ops.Counts{Received: 15, Processed: 15}), a.ready(true))
	})
}

// A pause stops fetching and nothing else: the member stays, and goes on where it stopped.
func TestStep02_APauseStopsFetchingAlone(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		shop := open(w, 2)
		shop.payments.Fill(1)
		a := shop.start("a", shop.config(), atOnce)
		w.Until(shop.drained())

		a.Pause()
		w.Sleep(10 * time.Second)
		shop.payments.Fill(5)
		w.Sleep(time.Minute)
		w.Claim(a.accounts(ops.Counts{Received: 2, Processed: 2}), shop.desk.Owns(a.Process, 2, shop.payments), a.ready(true))
		a.Resume()

		w.Until(shop.drained())
		w.Claim(shop.desk.HandledOnce(shop.payments), shop.desk.InOrder(shop.payments))
	})
}

// The client's options are those of its connection; what the configuration decides, they cannot change.
func TestStep02_TheConfigurationCountsNotTheOptions(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		shop := open(w, 1)
		shop.payments.Fill(3)

		w.Start("a", func(p *harness.Process) (harness.Runner, error) {
			return New(shop.config(), p.Handler(atOnce), append(p.Options(), kgo.ConsumerGroup("another"), kgo.ConsumeTopics(shop.dead.Name))...)
		})

		w.Within(10*time.Second, shop.drained())
		w.Claim(shop.desk.HandledOnce(shop.payments))
	})
}

// A failure that passes costs one more attempt each time it happens: after 1 s, 2 s, 4 s, as configured.
func TestStep03_TransientFailuresAreRetriedAtExactTimes(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		shop := open(w, 1)
		shop.payments.Produce(payment("p-1"), payment("p-2"))

		a := shop.start("a", shop.config(), fails("p-1", 3, ErrUnavailable))

		first := shop.first("p-1")
		w.Until(shop.drained())
		w.Claim(harness.Times("attempts at p-1", w.Attempts("p-1"), first, first+time.Second, first+3*time.Second, first+7*time.Second),
			shop.nothingGivenUp(), shop.safe(), shop.desk.InOrder(shop.payments),
			a.accounts(ops.Counts{Received: 2, Processed: 2, Failed: 3, Retried: 3}))
	})
}

// No wait is longer than the cap, and it stays there.
func TestStep03_WaitsAreCapped(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		shop := open(w, 1)
		shop.payments.Produce(payment("p-1"))
		cfg := shop.config(func(c *Config) {
			c.Retry.Attempts, c.Retry.Base, c.Retry.Factor, c.Retry.Cap = 6, time.Second, 3, 5*time.Second
		})

		shop.start("a", cfg, fails("p-1", 5, ErrUnavailable))

		first := shop.first("p-1")
		w.Until(shop.drained())
		w.Claim(harness.Times("attempts at p-1", w.Attempts("p-1"),
			first, first+time.Second, first+4*time.Second, first+9*time.Second, first+14*time.Second, first+19*time.Second))
	})
}

// A factor may be a fraction: 1.5 is neither 1 nor 2.
func TestStep03_AFractionalFactorGrows(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		shop := open(w, 1)
		shop.payments.Produce(payment("p-1"))

		shop.start("a", shop.config(func(c *Config) { c.Retry.Factor = 1.5 }), fails("p-1", 3, ErrUnavailable))

		first := shop.first("p-1")
		w.Until(shop.drained())
		w.Claim(harness.Times("attempts at p-1", w.Attempts("p-1"),
			first, first+time.Second, first+2500*time.Millisecond, first+4750*time.Millisecond))
	})
}

// The wait begins when the attempt has ended, however long that took.
func TestStep03_TheWaitBeginsWhenTheAttemptEnds(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		shop := open(w, 1)
		shop.payments.Produce(payment("p-1"))

		shop.start("a", shop.config(), both(takes(300*time.Millisecond), fails("p-1", 2, ErrUnavailable)))

		first := shop.first("p-1")
		w.Until(shop.drained())
		w.Claim(harness.Times("attempts at p-1", w.Attempts("p-1"), first, first+1300*time.Millisecond, first+3600*time.Millisecond))
	})
}

// Delay is exact for small numbers and does not overflow for large ones.
func TestStep03_TheDelayNeverOverflows(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		w.Claim(func(*harness.World) error {
			retry := Retry{Base: 250 * time.Millisecond, Factor: 2, Cap: time.Hour}
			for n, want := range map[int]time.Duration{1: 250 * time.Millisecond, 2: 500 * time.Millisecond, 14: 2048 * time.Second, 15: time.Hour,
				63: time.Hour, 64: time.Hour, 65: time.Hour, 5000: time.Hour} {
				if got := retry.Delay(n); got != want {
					return harness.Broke[harness.Mistimed]("2 to the power of 64 is 0 in an int64: whoever waits that long does not wait at all",
						"after %d failed attempts the wait is %v; it should be %v", n, got, want)
				}
			}
			return nil
		})
	})
}

// timeout is what networks say when they have waited for long enough.
type timeout struct{}

func (timeout) Error() string { return "i/o timeout" }
func (timeout) Timeout() bool { return true }

// rejected is an error that a handler brings along.
type rejected struct{ code int }

func (e rejected) Error() string      { return fmt.Sprintf("rejected with code %d", e.code) }
func (e rejected) ErrorClass() string { return "rejected" }

// An error keeps its class however it is wrapped, and whatever its text says.
func TestStep04_AnErrorIsClassifiedThroughItsWrapping(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		w.Claim(func(*harness.World) error {
			for _, tt := range []struct {
				err  error
				want string
			}{
				{ErrUnavailable, "unavailable"},
				{fmt.Errorf("charge p-1: %w", fmt.Errorf("call: %w", ErrUnavailable)), "unavailable"},
				{ErrDeclined, "declined"},
				{errors.Join(errors.New("cleaning up failed"), fmt.Errorf("charge: %w", ErrDeclined)), "declined"},
				{fmt.Errorf("p-1: %w", ErrUndecodable), "undecodable"},
				{fmt.Errorf("p-1: %w", &InvalidError{Field: "amount", Reason: "negative"}), "invalid"},
				{fmt.Errorf("p-1: %w", rejected{17}), "rejected"},
				{&PanicError{Value: "index out of range"}, "panic"},
				{fmt.Errorf("charge: %w", context.DeadlineExceeded), "timeout"},
				{fmt.Errorf("charge: %w", timeout{}), "timeout"},
				{errors.New("the provider declined the payment"), "other"},
				{errors.New("declined: timeout: unavailable"), "other"},
			} {
				if got := Class(tt.err); got != tt.want {
					return harness.Broke[harness.Misreported]("the class decides whether a payment is tried again; texts are changed by whoever owns them",
						"the class of %T %q is %q; it should be %q", tt.err, tt.err, got, tt.want)
				}
			}
			return nil
		})
	})
}

// Configuration decides which classes are tried again: fatal ones never, and if some are listed as retryable, no other.
func TestStep04_ThePolicyIsConfiguration(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		w.Claim(func(*harness.World) error {
			all := Retry{Fatal: []string{"declined"}}
			some := Retry{Retryable: []string{"unavailable", "timeout"}, Fatal: []string{"declined"}}
			for _, tt := range []struct {
				policy Retry
				class  string
				want   bool
			}{
				{all, "unavailable", true}, {all, "other", true}, {all, "declined", false},
				{some, "unavailable", true}, {some, "timeout", true}, {some, "other", false}, {some, "declined", false},
			} {
				if got := tt.policy.Retries(tt.class); got != tt.want {
					return harness.Broke[harness.Misreported]("an operator who lists a class means it",
						"with retryable %q and fatal %q, Retries(%q) is %t; it should be %t", tt.policy.Retryable, tt.policy.Fatal, tt.class, got, tt.want)
				}
			}
			return nil
		})
	})
}

// The service goes by both: a class that is fatal here is retried there.
func TestStep04_AnotherConfigurationRetriesWhatThisOneGivesUp(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		shop := open(w, 1)
		shop.payments.Produce(payment("p-1"), payment("p-2"))
		cfg := shop.config(func(c *Config) { c.Retry.Fatal, c.Retry.Retryable = []string{"timeout"}, []string{"declined"} })

		shop.start("a", cfg, both(fails("p-1", 1, fmt.Errorf("p-1: %w", ErrDeclined)), fails("p-2", 1, fmt.Errorf("p-2: %w", timeout{}))))

		first := shop.first("p-1")
		w.Until(shop.drained())
		w.Claim(harness.Times("attempts at p-1", w.Attempts("p-1"), first, first+time.Second),
			harness.Due("attempts at p-2", time.Second, w.Attempts("p-2"), first+time.Second), shop.dead.Holds(payment("p-2")))
	})
}

// What will never succeed is tried once and given up at once; what is behind it goes on.
func TestStep05_APermanentFailureIsGivenUpAtOnce(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		shop := open(w, 1)
		shop.payments.Produce(payment("p-1"), payment("p-2"), payment("p-3"))

		a := shop.start("a", shop.config(), both(fails("p-1", always, fmt.Errorf("p-1: %w", ErrDeclined)), fails("p-2", always, ErrUndecodable)))

		first := shop.first("p-1")
		w.Within(10*time.Second, shop.drained())
		w.Claim(harness.Times("attempts at p-1", w.Attempts("p-1"), first), harness.Due("attempts at p-2", time.Second, w.Attempts("p-2"), first),
			harness.Due("attempts at p-3", time.Second, w.Attempts("p-3"), first),
			shop.dead.Holds(with(payment("p-1"), HeaderErrorClass, "declined"), with(payment("p-2"), HeaderErrorClass, "undecodable")),
			shop.settled(), shop.safe(), a.accounts(ops.Counts{Received: 3, Processed: 1, Dead: 2, Failed: 2}))
	})
}

// Attempts is how many there are in all. Then there is one dead letter, and the partition goes on.
func TestStep05_ExhaustedAttemptsMakeOneDeadLetter(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		shop := open(w, 1)
		shop.payments.Produce(payment("p-1"), payment("p-2"))

		a := shop.start("a", shop.config(func(c *Config) { c.Retry.Attempts = 3 }), fails("p-1", always, ErrUnavailable))

		first := shop.first("p-1")
		w.Until(shop.drained())
		w.Claim(harness.Times("attempts at p-1", w.Attempts("p-1"), first, first+time.Second, first+3*time.Second),
			harness.Due("attempts at p-2", time.Second, w.Attempts("p-2"), first+3*time.Second),
			shop.dead.Holds(with(payment("p-1"), HeaderAttempts, "3")),
			shop.safe(), a.accounts(ops.Counts{Received: 2, Processed: 1, Dead: 1, Failed: 3, Retried: 2}))
	})
}

// One attempt is one attempt: no retry, and no endless one.
func TestStep05_OneAttemptMeansNoRetry(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		shop := open(w, 1)
		shop.payments.Produce(payment("p-1"))

		shop.start("a", shop.config(func(c *Config) { c.Retry.Attempts = 1 }), fails("p-1", always, ErrUnavailable))

		first := shop.first("p-1")
		w.Within(10*time.Second, shop.drained())
		w.Claim(harness.Times("attempts at p-1", w.Attempts("p-1"), first), shop.dead.Holds(with(payment("p-1"), HeaderAttempts, "1")))
	})
}
