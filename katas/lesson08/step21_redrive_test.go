package lesson08

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/kafka-katas/kafka-katas/harness"
)

// clerk is the person who redrives dead letters: a process of its own.
func (s *shop) clerk(name string, cfg Config, selection Selection, did *Redriven) *harness.Process {
	p := s.w.Start(name, func(p *harness.Process) (harness.Runner, error) {
		return harness.RunFunc(func(ctx context.Context) error {
			var err error
			*did, err = Redrive(ctx, cfg, selection, p.Options()...)
			return err
		}), nil
	})
	return p.MayEnd()
}

// redrive redrives, and waits until that is done.
func (s *shop) redrive(name string, selection Selection) (did Redriven) {
	p := s.clerk(name, s.config(), selection, &did)
	if err := p.Wait(); err != nil {
		s.w.Claim(func(*harness.World) error {
			return harness.Broke[harness.Stuck]("nobody can be asked to type the payments in again", "Redrive says: %v", err)
		})
	}
	return did
}

// repaired is a desk that declines everything until it is repaired.
//
//go:noinline
func (s *shop) repaired() (handle Handler, repair func()) {
	var well atomic.Bool
	return func(context.Context, *kgo.Record) error {
		if well.Load() {
			return nil
		}
		return ErrDeclined
	}, func() { well.Store(true) }
}

// Chosen dead letters go back to where they came from and are handled: with their key, value and own headers. The others
// stay.
func TestStep21_ChosenDeadLettersGoBack(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		shop := open(w, 3)
		handle, repair := shop.repaired()
		shop.payments.Produce(with(payment("p-1"), "trace", "a"), payment("p-2"), with(payment("p-3"), "trace", "c"))
		shop.start("a", shop.config(), handle)
		w.Until(shop.drained())
		repair()

		did := shop.redrive("clerk", Selection{Key: []byte("p-1")})

		w.Claim(says(did, Redriven{Selected: 1, Sent: 1}))
		w.Until(shop.drained())
		w.Claim(handled(w, "p-1", 1), handled(w, "p-2", 0), shop.payments.Holds(
			with(payment("p-1"), "trace", "a"), with(with(payment("p-1"), "trace", "a"), HeaderRedrives, "1"), payment("p-2"), with(payment("p-3"), "trace", "c")),
			shop.keptItsPartition("p-1"), shop.startsAnew("p-1"), shop.safe())
	})
}

// says claims what a redrive reported.
//
//go:noinline
func says(got, want Redriven) harness.Claim {
	return harness.Reported(func() error {
		if got != want {
			return fmt.Errorf("the redrive says %+v; it should say %+v", got, want)
		}
		return nil
	})
}

// keptItsPartition claims that all records of a key are in one partition.
//
//go:noinline
func (s *shop) keptItsPartition(key string) harness.Claim {
	return func(*harness.World) error {
		at := int32(-1)
		for _, r := range s.payments.Records() {
			if string(r.Key) != key {
				continue
			}
			if at >= 0 && r.Partition != at {
				return harness.Broke[harness.Misrouted]("a key lives in one partition; elsewhere it is overtaken by itself", "records of %s lie in partitions %d and %d", key, at, r.Partition)
			}
			at = r.Partition
		}
		return nil
	}
}

// startsAnew claims that no redriven record of a key carries its former trip.
//
//go:noinline
func (s *shop) startsAnew(key string) harness.Claim {
	return func(*harness.World) error {
		for _, r := range s.payments.Records() {
			for _, h := range r.Headers {
				if string(r.Key) == key && strings.HasPrefix(h.Key, "x-") && h.Key != HeaderRedrives {
					return harness.Broke[harness.Misreported]("what is redriven is a new record: attempts that are counted on make it a dead letter at its first failure",
						"the redriven record of %s still has %s: %s", key, h.Key, h.Value)
				}
			}
		}
		return nil
	}
}

// A selection by class and limit takes these and no more, and a dry run none.
func TestStep21_ASelectionTakesTheseAndNoMore(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		shop := open(w, 1)
		handle, repair := shop.repaired()
		for i := range 3 {
			shop.payments.Produce(payment(fmt.Sprint("declined-", i)))
		}
		shop.payments.Produce(payment("garbled"))
		shop.start("a", shop.config(), both(fails("garbled", 1, ErrUndecodable), handle))
		w.Until(shop.drained())
		repair()

		w.Claim(says(shop.redrive("dry", Selection{DryRun: true}), Redriven{Selected: 4, Sent: 4}))
		w.Claim(says(shop.redrive("limited", Selection{Class: "declined", Limit: 2}), Redriven{Selected: 3, Sent: 2, Over: 1}))
		w.Until(shop.drained())
		w.Claim(handled(w, "declined-0", 1), handled(w, "declined-1", 1), handled(w, "declined-2", 0), handled(w, "garbled", 0))
		w.Claim(says(shop.redrive("rest", Selection{Topic: shop.payments.Name}), Redriven{Selected: 4, Sent: 2, Before: 2}),
			says(shop.redrive("none", Selection{Topic: "refunds"}), Redriven{}))
	})
}

// A letter is redriven once, however often it is asked for, and however many clerks ask.
func TestStep21_ALetterIsRedrivenOnce(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		shop := open(w, 1)
		handle, repair := shop.repaired()
		shop.payments.Produce(payment("p-1"), payment("p-2"))
		shop.start("a", shop.config(), handle)
		w.Until(shop.drained())
		repair()

		w.Claim(says(shop.redrive("clerk-1", Selection{}), Redriven{Selected: 2, Sent: 2}))
		w.Until(shop.drained())
		w.Claim(says(shop.redrive("clerk-2", Selection{}), Redriven{Selected: 2, Before: 2}))

		w.Until(shop.drained())
		w.Claim(handled(w, "p-1", 1), handled(w, "p-2", 1))
	})
}

// Two clerks at the same time: one of them is told to try again, or both share the work. Nothing is sent twice.
func TestStep21_TwoClerksAtOnceSendNothingTwice(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		shop := open(w, 1)
		handle, repair := shop.repaired()
		shop.payments.Produce(payment("p-1"), payment("p-2"))
		shop.start("a", shop.config(), handle)
		w.Until(shop.drained())
		repair()

		var did, too Redriven
		shop.clerk("clerk-1", shop.config(), Selection{}, &did).Fault(harness.Delay(harness.Fetch, 3*time.Second))
		w.Sleep(time.Second)
		shop.clerk("clerk-2", shop.config(), Selection{}, &too)
		w.Until(harness.All(harness.Gone("clerk-1"), harness.Gone("clerk-2")))
		shop.redrive("clerk-3", Selection{})

		w.Until(shop.drained())
		w.Claim(handled(w, "p-1", 1), handled(w, "p-2", 1))
	})
}

// A record that the broker refuses is not sent, and has no receipt: the next redrive sends it.
func TestStep21_WhatWasRefusedIsNotTakenForSent(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		shop := open(w, 1)
		shop.payments = w.Topic("payments-small", 1, "max.message.bytes", "2000")
		large := letter("p-1", shop.payments.Name)
		large.Value = make([]byte, 5000)
		rand.NewChaCha8([32]byte{}).Read(large.Value) // compressing it does not help
		shop.dead.Produce(large)

		var did Redriven
		_ = shop.clerk("clerk", shop.config(), Selection{}, &did).Wait()

		w.Claim(says(shop.redrive("dry", Selection{DryRun: true}), Redriven{Selected: 1, Sent: 1}))
	})
	harness.Run(t, func(w *harness.World) {
		shop := open(w, 1)
		handle, repair := shop.repaired()
		shop.payments.Produce(payment("p-1"), payment("p-2"))
		shop.start("a", shop.config(), handle)
		w.Until(shop.drained())
		repair()

		var did Redriven
		p := shop.clerk("clerk", shop.config(), Selection{}, &did).Fault(harness.Fail(harness.Produce, kerr.TopicAuthorizationFailed))
		_ = p.Wait() // it may say so, or try again
		shop.redrive("clerk-2", Selection{})

		w.Until(shop.drained())
		w.Claim(handled(w, "p-1", 1), handled(w, "p-2", 1))
	})
}

// letter is a dead letter of a payment from that topic.
func letter(key, origin string) *kgo.Record {
	r := with(with(payment(key), HeaderOriginTopic, origin), HeaderOriginPartition, "0")
	return with(with(with(r, HeaderOriginOffset, "0"), HeaderErrorClass, "declined"), HeaderAttempts, "1")
}

// A letter without its value would be a payment of nothing, and a letter of somebody else's topic is somebody else's.
func TestStep21_WhatCannotBeSentBackStays(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		shop := open(w, 1)
		refunds := w.Topic("refunds", 1)
		hollow := with(letter("p-1", shop.payments.Name), HeaderOmitted, "value,headers")
		hollow.Value = nil
		shop.dead.Produce(hollow, letter("r-1", refunds.Name), letter("p-2", shop.payments.Name))

		w.Claim(says(shop.redrive("clerk", Selection{}), Redriven{Selected: 2, Sent: 1, Incomplete: 1}),
			shop.payments.Holds(with(payment("p-2"), HeaderRedrives, "1")), refunds.Holds())
	})
}

// A redrive that crashes is begun again, and what it had done is not done twice: whatever had become visible has its
// receipt.
func TestStep21_ARedriveThatCrashesIsFinishedByTheNext(t *testing.T) {
	harness.Sweep(t, "clerk", func(w *harness.World) {
		shop := open(w, 1)
		handle, repair := shop.repaired()
		shop.payments.Produce(payment("p-1"), payment("p-2"))
		shop.start("a", shop.config(), handle)
		w.Until(shop.drained())
		repair()

		var did Redriven
		shop.clerk("clerk", shop.config(), Selection{}, &did)
		w.Until(harness.Any(harness.All(shop.drained(), handled(w, "p-1", 1), handled(w, "p-2", 1)), harness.Gone("clerk")))
		w.Sleep(time.Second)
		shop.redrive("clerk-2", Selection{})

		w.Until(harness.All(handled(w, "p-1", 1), handled(w, "p-2", 1)))
		w.Sleep(2 * time.Minute) // of what a crash left open there is nothing to come
		w.Claim(handled(w, "p-1", 1), handled(w, "p-2", 1))
	})
}

// What comes back as a dead letter can be redriven again, but not for ever.
func TestStep21_TheLoopIsCapped(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		shop := open(w, 1)
		shop.payments.Produce(payment("p-1"))
		shop.start("a", shop.config(), fails("p-1", always, ErrDeclined))
		w.Until(shop.drained())

		for i := range 3 { // MaxRedrives is 3
			w.Claim(says(shop.redrive(fmt.Sprint("clerk-", i), Selection{}), Redriven{Selected: i + 1, Sent: 1, Before: i}))
			w.Until(shop.drained())
			w.Sleep(2 * time.Second)
		}

		w.Claim(says(shop.redrive("clerk-3", Selection{}), Redriven{Selected: 4, Before: 3, Capped: 1}))
	})
}

// The command does what the call does, says so in a line, and refuses what it does not know before anything is sent.
func TestStep21_TheCommandSaysWhatItDid(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		shop := open(w, 1)
		handle, repair := shop.repaired()
		shop.payments.Produce(payment("p-1"), payment("p-2"))
		shop.start("a", shop.config(), handle)
		w.Until(shop.drained())
		repair()

		for _, tt := range []struct {
			args string
			ok   bool
			says []string // the counts that are not 0
		}{
			{"-clas declined", false, nil},
			{"-class declined extra", false, nil},
			{"-class declined -dry-run", true, []string{"2", "2"}},
			{"-key p-1 -limit 5", true, []string{"1", "1"}},
			{"-class declined", true, []string{"2", "1", "1"}},
		} {
			w.Claim(shop.command(tt.args, tt.ok, tt.says))
		}
		w.Until(shop.drained())
		w.Claim(handled(w, "p-1", 1), handled(w, "p-2", 1))
	})
}

// numbers finds the numbers of a line.
var numbers = regexp.MustCompile(`\b[0-9]+\b`)

// within says whether these are in those, in their order, whatever else is there: a key or the limit, for example.
func within(these, those []string) bool {
	for _, one := range those {
		if len(these) > 0 && these[0] == one {
			these = these[1:]
		}
	}
	return len(these) == 0
}

// command claims what RedriveCommand does with these arguments: whether it succeeds, and the counts that it prints. The
// words around them are its own.
//
//go:noinline
func (s *shop) command(args string, ok bool, says []string) harness.Claim {
	return func(w *harness.World) error {
		var out bytes.Buffer
		p := s.w.Start("command", func(p *harness.Process) (harness.Runner, error) {
			return harness.RunFunc(func(ctx context.Context) error {
				return RedriveCommand(ctx, s.config(), strings.Fields(args), &out, p.Options()...)
			}), nil
		}).MayEnd()
		err := p.Wait()
		const why = "who types a command has nothing but its answer to go by"
		switch {
		case err != nil && ok:
			return harness.Broke[harness.Misreported](why, "redrive %s ended with an error: %v; it should succeed", args, err)
		case err == nil && !ok:
			return harness.Broke[harness.Misreported](why, "redrive %s succeeded and printed %q; it should be an error, and redrive nothing", args, out.String())
		case ok && !within(says, numbers.FindAllString(out.String(), -1)):
			return harness.Broke[harness.Misreported](why, "redrive %s printed %q; the counts in it that are not 0, selected first, should be %s",
				args, out.String(), strings.Join(says, " and "))
		}
		return nil
	}
}

// A record that has become too old is not tried any more: a dead letter of class "expired".
func TestStep22_WhatIsTooOldExpires(t *testing.T) {
	for _, stage := range stages {
		harness.Run(t, func(w *harness.World) {
			shop := stage(w)
			old := payment("old")
			old.Timestamp = time.Date(1999, 12, 31, 23, 0, 0, 0, time.UTC)
			shop.payments.To(0, old, payment("new"))

			shop.start("a", shop.config(func(c *Config) { c.MaxAge = 30 * time.Minute }), atOnce)

			w.Until(shop.drained())
			w.Claim(handled(w, "new", 1), harness.Times("attempts at old", w.Attempts("old")),
				shop.letterSays(map[string]string{HeaderErrorClass: ClassExpired, HeaderAttempts: "0", HeaderOriginTopic: shop.payments.Name}), shop.safe())
		})
	}
}

// Age is counted from the record's own time, through every retry: the attempt that would come too late is not made.
func TestStep22_AgeCountsThroughEveryRetry(t *testing.T) {
	for i, stage := range stages {
		harness.Run(t, func(w *harness.World) {
			shop := stage(w)
			shop.payments.To(0, payment("p-1"))
			cfg := shop.config(func(c *Config) {
				c.MaxAge, c.Retry.Base, c.Retry.Factor, c.Retry.Attempts, c.RetryDelays[0] = 90*time.Second, 40*time.Second, 1, 10, 100*time.Second
			})

			shop.start("a", cfg, fails("p-1", always, ErrUnavailable))

			first := shop.first("p-1")
			w.Until(shop.drained())
			want, attempts := []time.Duration{first, first + 40*time.Second, first + 80*time.Second}, "3"
			if i == 1 { // one tier
				want, attempts = want[:1], "1"
			}
			w.Claim(harness.Due("attempts at p-1", time.Second, w.Attempts("p-1"), want...),
				shop.letterSays(map[string]string{HeaderErrorClass: ClassExpired, HeaderAttempts: attempts}), shop.safe())
		}, harness.Deadline(20*time.Minute))
	}
}

// What has become too old while the breaker was open is not even a probe.
func TestStep22_WhatExpiresInAnOutageIsNotTried(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		shop := open(w, 1)
		shop.payments.Produce(payment("p-1"))
		cfg := shop.config(func(c *Config) { c.MaxAge, c.Breaker = 90*time.Second, Breaker{Failures: 1, OpenFor: time.Minute} })

		shop.start("a", cfg, fails("p-1", always, ErrUnavailable))

		first := shop.first("p-1")
		w.Within(5*time.Minute, shop.drained())
		w.Claim(harness.Due("attempts at p-1", time.Second, w.Attempts("p-1"), first, first+time.Minute),
			shop.letterSays(map[string]string{HeaderErrorClass: ClassExpired}), shop.safe())
	}, harness.Deadline(10*time.Minute))
}
