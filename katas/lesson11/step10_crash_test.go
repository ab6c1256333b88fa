package lesson11

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/kafka-katas/kafka-katas/harness"
	"github.com/kafka-katas/kafka-katas/ops"
)

// The provider has accepted, and nobody heard of it. Who asks again must be recognised, so the key is the same after a crash.
func TestStep10_AfterACrashTheProviderIsAskedWithTheSameKey(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		s := set(w, []string{Email})
		s.user("ana", Email)
		s.tell(news("e1", "ana"))
		s.start("a").CrashAfter(harness.Effect)
		w.Until(harness.Gone("a"))

		s.start("b")

		w.Until(s.settled())
		w.Claim(s.email.Once("e1 to ana"), s.email.keyed(), s.email.calledTimes(2))
	})
}

// A time-out does not say that nothing was done. The next attempt is made with the same key.
func TestStep10_AnAnswerThatNeverComesIsAskedForWithTheSameKey(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		s := set(w, []string{Email})
		s.user("ana", Email)
		s.email.answersNext(acceptThenTimeOut)
		s.tell(news("e1", "ana"))

		s.start("a")

		w.Until(s.settled())
		first := s.email.first()
		w.Claim(s.email.Once("e1 to ana"), s.email.keyed(), harness.Times("calls", s.email.called, first, first+11*time.Second))
	})
}

// A provider that hangs has Timeout, and then the next attempt is due. The other channels never notice.
func TestStep10_AHangingProviderIsGivenUpAtItsTimeout(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		s := set(w, []string{Email, SMS}, func(c *Config) { c.SMS.Timeout = 3 * time.Second })
		s.often()
		s.user("ana", Email, SMS)
		s.user("ben", Email)
		s.sms.answersNext(hang, hang)
		s.start("a")
		s.tell(news("e1", "ana"))
		w.Await("the text", harness.Of(harness.Called), harness.Saying("sms: "))

		s.tell(news("e2", "ben"))

		w.Within(500*time.Millisecond, s.email.Once("e1 to ana", "e2 to ben"))
		w.Until(s.settled())
		first := s.sms.first()
		w.Claim(s.sms.Once("e1 to ana"), harness.Times("calls to sms", s.sms.called, first, first+4*time.Second, first+9*time.Second))
	})
}

// What was sent is on record before the offset is committed; what has not been, is sent by the next life.
func TestStep10_ACrashBeforeTheSendLosesNothing(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		s := set(w, []string{Email}, func(c *Config) { c.CommitInterval = 100 * time.Millisecond })
		s.user("ana", Email)
		s.email.takes = 300 * time.Millisecond
		s.tell(numbered("ana", 6)...)
		a := s.start("a")
		w.Until(s.email.calledTimes(3))

		a.Crash()
		s.start("b")

		w.Until(s.settled())
		w.Claim(s.email.Once("n-0 to ana", "n-1 to ana", "n-2 to ana", "n-3 to ana", "n-4 to ana", "n-5 to ana"))
	})
}

// What Kafka does not take now is waited for, and its trigger not committed meanwhile: a crash would lose it.
func TestStep10_WhatKafkaDoesNotTakeIsNotCommitted(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		s := set(w, []string{Email}, func(c *Config) { c.CommitInterval = 100 * time.Millisecond })
		s.user("ana", Email)
		a := s.start("a")
		w.Sleep(5 * time.Second)
		a.Fault(harness.Fail(harness.Produce, kerr.NotEnoughReplicas).Times(1000))
		s.tell(news("e1", "ana"))
		s.triggers.To(0, &kgo.Record{Key: []byte("k1"), Value: []byte("?")})
		w.Sleep(8 * time.Second)

		a.Crash()
		s.start("b")

		w.Until(s.settled())
		w.Claim(s.email.Once("e1 to ana"), s.deadLetters("k1"))
	})
}

// Whoever was expelled and comes back commits nothing for its old life: the next owner is further, and its offsets would go back.
func TestStep10_WhoComesBackTakesNoCommitBack(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		s := set(w, []string{Email}, short)
		s.user("ana", Email)
		a := s.start("a")
		a.Fault(harness.Fail(harness.OffsetCommit, kerr.CoordinatorNotAvailable).Times(1 << 30))
		s.triggers.To(0, record("e1", news("e1", "ana")), record("e2", news("e2", "ana")))
		w.Until(s.email.Once("e1 to ana", "e2 to ana"))
		w.Sleep(2 * s.cfg.CommitInterval)
		a.Isolate()
		s.start("b")
		w.Until(s.settled())
		s.triggers.To(0, record("e3", news("e3", "ana")))
		w.Until(harness.All(s.settled(), s.email.Once("e1 to ana", "e2 to ana", "e3 to ana")))

		a.ClearFaults()
		a.Heal()

		w.Within(2*time.Minute, s.planner.Member(a.Process))
		w.Sleep(20 * time.Second)
		w.Claim(s.planner.CommittedAt(s.triggers, 0, 3), s.settled(), s.email.Once("e1 to ana", "e2 to ana", "e3 to ana"))
	})
}

// A service that stops finishes the send under way, and leaves the rest to others.
func TestStep10_AStopFinishesTheSendUnderWay(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		s := set(w, []string{Email})
		s.user("ana", Email)
		s.email.takes = 5 * time.Second
		s.tell(numbered("ana", 3)...)
		a := s.start("a")
		w.Until(s.email.calledTimes(2))

		a.Stop()
		stopped := w.Now()
		w.Claim(s.email.calledTimes(2))
		s.start("b")

		w.Until(s.settled())
		w.Claim(s.email.Once("n-0 to ana", "n-1 to ana", "n-2 to ana"), s.email.calledTimes(3), harness.AtMost("the stop", stopped, 15*time.Second))
	})
}

// "429, retry after 30" is about the account, not about the message: until then the provider is left alone.
func TestStep11_RetryAfterHoldsTheWholeChannel(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		s := set(w, []string{Email, SMS}, func(c *Config) { c.StallAfter = 20 * time.Second })
		s.user("ana", Email, SMS)
		s.user("ben", Email)
		s.email.answersNext(throttle(30 * time.Second))
		s.tell(news("e1", "ana"), news("e2", "ben"))

		a := s.start("a")
		w.Sleep(25 * time.Second)
		w.Claim(harness.Reported(func() error {
			if h := a.Health(); !h.Live {
				return fmt.Errorf("a says live=false (%s); what the provider asked to wait for is not wedged", h.Cause())
			}
			return nil
		}))

		w.Until(s.settled())
		first := s.email.first()
		w.Claim(s.email.Once("e1 to ana", "e2 to ben"), harness.Times("calls to email", s.email.called, first, first+30*time.Second, first+30*time.Second),
			harness.AtMost("the text", s.sms.first(), first+time.Second))
	})
}

// Being asked to slow down is no failure: it uses up no attempt, and it does not make a provider one that is down.
func TestStep11_BeingThrottledIsNoFailure(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		s := set(w, []string{Email}, func(c *Config) { c.MaxAttempts, c.BreakerAfter = 2, 2 })
		s.user("ana", Email)
		for range 5 {
			s.email.answersNext(throttle(time.Second))
		}
		s.tell(news("e1", "ana"))

		a := s.start("a")

		w.Until(s.settled())
		first := s.email.first()
		w.Claim(s.email.Once("e1 to ana"), s.deadLetters(), a.extra("email_throttled", 5),
			harness.Times("calls", s.email.called, first, first+time.Second, first+2*time.Second, first+3*time.Second, first+4*time.Second, first+5*time.Second))
	})
}

// Two calls are under way, and the second one's answer is later and milder. The first one still holds.
func TestStep11_AShorterRetryAfterTakesNothingBack(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		s := set(w, []string{Email}, func(c *Config) { c.Email.Concurrency = 2 })
		s.user("ana", Email)
		s.email.answersNext(answer{err: &Throttled{After: 30 * time.Second}, after: 2 * time.Second}, answer{err: &Throttled{After: 5 * time.Second}, after: 4 * time.Second})
		s.tell(news("e1", "ana"), news("e2", "ana"))

		s.start("a")

		w.Until(s.settled())
		w.Claim(s.email.Once("e1 to ana", "e2 to ana"), s.email.calledTimes(4))
		calls := s.email.called()
		again := calls[0].At + 32*time.Second
		w.Claim(harness.Times("calls to email", s.email.called, calls[0].At, calls[1].At, again, again))
	})
}

// "No such number" is the last word: no other attempt, no dead letter, and not with the same event again either.
func TestStep11_ARefusalForGoodIsNotTriedAgain(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		s := set(w, []string{SMS})
		s.user("ana", SMS)
		s.sms.answersNext(refuse("number is not assigned"))
		s.tell(news("e1", "ana"))
		a := s.start("a")
		w.Until(s.settled())

		s.tell(news("e1", "ana"))
		w.Sleep(10 * time.Second)

		w.Until(s.settled())
		w.Claim(s.sms.calledTimes(1), s.sms.Once(), s.deadLetters(), a.extra("sms_refused", 1))
	})
}

// The provider counts calls of the account. It does not know of partitions or goroutines.
func TestStep12_TheRateLimitIsSharedByAllPartitions(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		s := set(w, []string{Email}, func(c *Config) { c.Email.PerSecond, c.Email.Burst, c.Email.Concurrency = 4, 1, 4 })
		s.often()
		var want []string
		for i := range 8 {
			user := fmt.Sprintf("user%d", i)
			s.user(user, Email)
			s.tell(news("e1", user))
			want = append(want, "e1 to "+user)
		}

		s.start("a")

		w.Until(s.settled())
		w.Claim(s.email.Once(want...), s.email.every(250*time.Millisecond, 0, 1, 2, 3, 4, 5, 6, 7))
	})
}

// Burst messages may go at once after a pause, and never more.
func TestStep12_ABurstIsAllowedAfterAPause(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		s := set(w, []string{Email}, func(c *Config) { c.Email.PerSecond, c.Email.Burst, c.Email.Concurrency = 2, 3, 8 })
		s.user("ana", Email)
		s.start("a")
		w.Sleep(10 * time.Second)

		s.tell(numbered("ana", 6)...)

		w.Until(s.settled())
		w.Claim(s.email.calledTimes(6), s.email.every(500*time.Millisecond, 0, 0, 0, 1, 2, 3))
	})
}

// every claims that calls came at these multiples of an interval after the first one.
//
//go:noinline
func (v *provider) every(interval time.Duration, at ...int) harness.Claim {
	return func(w *harness.World) error {
		var want []time.Duration
		for _, n := range at {
			want = append(want, v.first()+time.Duration(n)*interval)
		}
		return harness.Times("calls to "+v.name, v.called, want...)(w)
	}
}

// Concurrency is how many sends a provider has at once: all of them if there is work, never one more.
func TestStep12_ConcurrencyIsUsedAndNeverExceeded(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		s := set(w, []string{Email}, func(c *Config) { c.Email.Concurrency = 3 })
		s.user("ana", Email)
		s.user("ben", Email)
		s.email.takes = time.Second
		s.tell(append(numbered("ana", 5), news("m-1", "ben"), news("m-2", "ben"), news("m-3", "ben"), news("m-4", "ben"))...)
		s.email.answersNext(throttle(5 * time.Second)) // until the line has formed

		s.start("a")

		w.Until(s.settled())
		w.Claim(s.email.atMostAtOnce(3), s.email.calledTimes(10), s.email.lastedAtMost(8*time.Second+10*time.Millisecond))
	})
}

// A provider that is slow fills no memory: a partition's fetching pauses at MaxQueued.
func TestStep12_WhatWaitsForAProviderIsBounded(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		s := set(w, []string{Email}, func(c *Config) { c.MaxQueued = 10 })
		s.user("ana", Email)
		s.email.answersNext(throttle(30 * time.Second))
		s.tell(numbered("ana", 60)...)

		a := s.start("a")

		w.Sleep(20 * time.Second)
		w.Claim(a.holdsAtMost(20))
		w.Until(s.settled())
		w.Claim(s.email.calledTimes(61))
	})
}

// holdsAtMost claims that no partition has more records in the process than that.
//
//go:noinline
func (m *member) holdsAtMost(n int64) harness.Claim {
	return func(*harness.World) error {
		for _, p := range m.Stats().Partitions {
			if p.InFlight > n {
				return harness.Broke[harness.Wasteful]("whoever keeps what nobody takes is out of memory when the provider is down",
					"%s holds %d records of %s/%d in memory; it should be at most %d", m.Name, p.InFlight, p.Topic, p.Partition, n)
			}
		}
		return nil
	}
}

// atMostAtOnce claims that a provider never had more than n calls at once.
//
//go:noinline
func (v *provider) atMostAtOnce(n int) harness.Claim {
	return func(*harness.World) error {
		v.mu.Lock()
		defer v.mu.Unlock()
		if v.most > n {
			return harness.Shown(harness.Broke[harness.Overlapped]("a provider closes the connections that it did not agree to",
				"%s had %d calls at once; it should be at most %d", v.name, v.most, n), v.called()...)
		}
		return nil
	}
}

// lastedAtMost claims that a provider was called for no longer than that, from the first to the last call.
//
//go:noinline
func (v *provider) lastedAtMost(d time.Duration) harness.Claim {
	return func(w *harness.World) error {
		calls := v.called()
		if len(calls) == 0 {
			return nil
		}
		return harness.AtMost("the time from the first call to the last", calls[len(calls)-1].At-calls[0].At, d)(w)
	}
}

// A provider that is down is left alone, and tried with one message from time to time. Nobody else notices, and nothing is
// given up for it.
func TestStep15_AProviderThatIsDownIsLeftAlone(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		s := set(w, []string{Email, SMS}, func(c *Config) { c.BreakerAfter, c.BreakerFor, c.MaxAttempts = 3, 30*time.Second, 2 })
		s.user("ana", Email, SMS)
		for range 6 {
			s.sms.answersNext(fail)
		}
		a := s.start("a")
		w.Sleep(20 * time.Second) // its fetches are of all that it owns by now
		s.tell(numbered("ana", 5)...)
		w.Within(time.Second, s.email.calledTimes(5))
		w.Sleep(10 * time.Second)
		w.Claim(a.healthy(true, false))
		w.Until(harness.Happened("a text", harness.Of(harness.Affected), harness.Keyed("n-0 to ana")))
		s.tell(news("e9", "ana"))
		w.Within(time.Second, harness.Happened("e9", harness.Of(harness.Affected), harness.Keyed("e9 to ana")))

		w.Until(s.settled())
		w.Claim(s.deadLetters(), s.sms.every(30*time.Second, 0, 0, 0, 1, 2, 3, 4, 4, 4, 4, 4, 4), a.healthy(true, true), s.sms.calledTimes(12))
	})
}

// Failures in a row make a provider one that is down. Whoever accepts or refuses in between is not.
func TestStep15_OnlyFailuresInARowMeanThatAProviderIsDown(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		s := set(w, []string{SMS}, func(c *Config) { c.BreakerAfter = 3 })
		s.user("ana", SMS)
		s.sms.answersNext(fail, fail, accept, fail, refuse("number is not assigned"), fail)
		s.tell(numbered("ana", 4)...)

		s.start("a")

		w.Until(s.settled())
		w.Claim(s.deadLetters(), s.sms.calledTimes(8), s.sms.lastedAtMost(5*time.Second))
	})
}

// Health names the channel that is down, so that whoever is woken knows whom to call. A restart would not help: what waits for
// the provider is not wedged.
func TestStep15_HealthNamesTheChannelThatIsDown(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		s := set(w, []string{Email, SMS}, func(c *Config) {
			c.BreakerAfter, c.BreakerFor, c.StallAfter, c.SMS.Concurrency = 1, 45*time.Second, 20*time.Second, 4
		})
		s.user("ana", Email, SMS)
		s.sms.always = &hang
		a := s.start("a")
		w.Sleep(5 * time.Second)
		w.Claim(a.healthy(true, true))

		s.tell(news("e1", "ana"))
		w.Sleep(20 * time.Second)
		s.tell(numbered("ana", 3)...)
		w.Sleep(75 * time.Second)

		w.Claim(a.healthy(true, false), harness.Reported(func() error {
			for _, c := range a.Health().Failing() {
				if c.Name == "channel_sms" && c.Affects == ops.Readiness && c.Cause != "" {
					return nil
				}
			}
			return errors.New("no check channel_sms fails; it should, with a cause")
		}), s.sms.calledTimes(2)) // one finds out whether it still is, not four
	})
}
