package lesson11

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/kafka-katas/kafka-katas/harness"
)

// Who always lets the other go first never gets anywhere: of each hundred sends BulkShare go to bulk, while both wait.
func TestStep16_BulkIsNotStarved(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		s := set(w, []string{Email}, func(c *Config) { c.Email.PerSecond, c.Email.Burst, c.BulkShare = 10, 1, 25 })
		s.user("ana", Email)
		s.email.answersNext(throttle(10 * time.Second)) // until both lines have formed
		s.tell(numbered("ana", 10)...)
		for i := range 40 {
			s.tell(news(fmt.Sprintf("c-%d", i), "ana", critical))
		}

		s.start("a")

		w.Until(s.settled())
		w.Claim(s.email.calledTimes(51), s.email.sharesOf("n-", 25, 30))
	})
}

// sharesOf claims that bulk messages get their share of the first n messages, and no more.
//
//go:noinline
func (v *provider) sharesOf(prefix string, percent, n int) harness.Claim {
	return func(w *harness.World) error {
		bulk := 0
		sent := w.Journal().Events(harness.Of(harness.Affected))
		for i, e := range sent[:min(n, len(sent))] {
			if strings.HasPrefix(e.Key, prefix) {
				bulk++
			}
			fair := (i + 1) * percent / 100
			switch {
			case bulk < fair-1:
				return harness.Shown(harness.Broke[harness.Stuck]("a newsletter that never goes out while orders come in is not sent at all",
					"of the first %d messages %d were bulk; it should be about %d", i+1, bulk, fair), sent[:i+1]...)
			case bulk > fair+1:
				return harness.Shown(harness.Broke[harness.Mistimed]("somebody waits for what is critical",
					"of the first %d messages %d were bulk; it should be about %d", i+1, bulk, fair), sent[:i+1]...)
			}
		}
		return nil
	}
}

func digested(t *Trigger) {
	t.Digest, t.Template, t.Data = true, "offers", map[string]string{"item": t.Event}
}

// Several notifications in a window become one message at its end, which is DigestWindow after the first of them.
func TestStep17_SeveralInAWindowAreOneMessage(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		s := set(w, []string{Email}, func(c *Config) { c.DigestWindow = 30 * time.Second })
		s.user("ana", Email)
		s.user("ben", Email)
		s.start("a")
		w.Sleep(time.Second)
		began := w.Now()
		s.user("cy", Email)
		s.tell(news("e6", "cy", digested, func(t *Trigger) { t.Expires = time.Now().Add(20 * time.Second) })) // left out when it has
		for _, event := range []string{"e1", "e2", "e3"} {
			s.tell(news(event, "ana", digested))
			w.Sleep(5 * time.Second)
			s.tell(news("e7", "cy", digested))
			w.Sleep(5 * time.Second)
		}
		s.tell(news("e4", "ben", digested), news("e2", "ana", digested)) // e2 again

		w.Sleep(15 * time.Second)
		s.tell(news("e5", "ana", digested))
		w.Sleep(45 * time.Second)

		w.Claim(s.settled(), s.email.keyed(), s.email.Once("e1 e2 e3 to ana", "e4 to ben", "e5 to ana", "e7 to cy"), s.email.calledTimes(4),
			harness.Due("digests", 100*time.Millisecond, s.email.Of("e1 e2 e3 to ana"), began+30*time.Second))
	})
}

// A service that stops sends what it has collected, rather than leave it to somebody who may come in an hour.
func TestStep17_ADigestIsFlushedOnShutdown(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		s := set(w, []string{Email}, func(c *Config) { c.DigestWindow = 30 * time.Second })
		s.user("ana", Email)
		a := s.start("a")
		for _, event := range []string{"e1", "e2"} {
			s.tell(news(event, "ana", digested))
			w.Sleep(time.Second)
		}
		w.Sleep(2 * time.Second)

		a.Stop()

		w.Claim(s.email.Once("e1 e2 to ana"))
		s.start("b")
		w.Sleep(40 * time.Second)
		w.Claim(s.email.Once("e1 e2 to ana"), s.email.calledTimes(1))
	})
}

// A digest that moves to another member is not sent by both, and nothing in it is forgotten.
func TestStep17_ADigestIsFlushedOnARebalance(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		s := set(w, []string{Email}, func(c *Config) { c.DigestWindow = 40 * time.Second })
		var want []string
		s.start("a")
		for i := range 6 {
			user := fmt.Sprintf("user%d", i)
			s.user(user, Email)
			s.tell(news("e1", user, digested))
			want = append(want, "e1 to "+user)
		}
		w.Until(s.settled())

		for _, name := range []string{"b", "c", "d"} { // four members, four partitions: each keeps one
			s.start(name)
		}
		w.Sleep(20 * time.Second)
		w.Claim(s.flushed("a"))

		w.Sleep(30 * time.Second)
		w.Claim(s.email.Once(want...), s.email.calledTimes(6))
	})
}

// flushed claims that the digests of partitions that moved away from a member were sent when they moved.
//
//go:noinline
func (s *stage) flushed(from string) harness.Claim {
	return func(w *harness.World) error {
		bulk := s.tasks[s.cfg.Topics.Task(Email, false)]
		for tp, owners := range s.senders[Email].Owners(bulk) {
			if !slices.Contains(owners, from) && len(s.email.called()) == 0 {
				return harness.Broke[harness.Mistimed]("what is on its way to another owner waits for that one to come", "%s has moved from %s to %q, and no digest was sent", tp, from, owners)
			}
		}
		return nil
	}
}

// A digest is on record while it is collected, and goes out on time although its owner crashed.
func TestStep17_ADigestSurvivesACrash(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		s := set(w, []string{Email}, func(c *Config) { c.DigestWindow = 80 * time.Second })
		s.user("ana", Email)
		a := s.start("a")
		w.Sleep(time.Second)
		began := w.Now()
		for _, event := range []string{"e1", "e2"} {
			s.tell(news(event, "ana", digested))
			w.Sleep(time.Second)
		}
		w.Until(s.settled())

		a.Crash()
		s.start("b")
		w.SleepUntil(began + 90*time.Second)

		w.Claim(s.email.Once("e1 e2 to ana"), harness.Due("digests", 100*time.Millisecond, s.email.Of("e1 e2 to ana"), began+80*time.Second))
	})
}

// The provider has accepted the digest and nobody heard of it. Who asks again asks for the same one: what has come since
// would be ignored under its key.
func TestStep17_ADigestThatMayBeSentDoesNotGrow(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		s := set(w, []string{Email}, func(c *Config) { c.DigestWindow = 10 * time.Second })
		s.user("ana", Email)
		s.email.takes = 5 * time.Second
		s.start("a").CrashAfter(harness.Effect)
		for _, event := range []string{"e1", "e2"} {
			s.tell(news(event, "ana", digested))
			w.Sleep(time.Second)
		}
		w.Until(s.email.calledTimes(1))
		s.tell(news("e3", "ana", digested)) // while the digest is on its way
		w.Until(harness.Gone("a"))

		s.start("b")
		w.Sleep(80 * time.Second)

		w.Claim(s.email.keyed(), s.email.Once("e1 e2 to ana", "e3 to ana"))
	})
}

// One channel is enough: the next one is tried when the one before has refused for good, and not before.
func TestStep18_TheNextChannelIsTriedAfterARefusal(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		s := set(w, []string{Email, SMS, Push})
		s.user("ana", Email, SMS, Push)
		s.user("ben", Email, SMS)
		s.push.answersNext(refuse("app was removed"))
		s.tell(news("e1", "ana", fallback))
		s.start("a")
		w.Until(s.settled())

		s.sms.answersNext(refuse("number is not assigned"))
		s.tell(news("e2", "ben", fallback), news("e1", "ana", fallback)) // e1 again
		w.Sleep(time.Second)

		w.Until(s.settled())
		w.Claim(s.push.Once(), s.push.calledTimes(1), s.sms.Once("e1 to ana"), s.sms.calledTimes(2), s.email.Once("e2 to ben"))
	})
}

// Not knowing is not a refusal: who tries another channel after a time-out tells the user twice. That holds when the
// attempts are used up, too.
func TestStep18_AnAnswerThatNeverComesIsNoRefusal(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		s := set(w, []string{SMS, Push}, func(c *Config) { c.MaxAttempts = 2 })
		s.user("ana", SMS, Push)
		s.user("ben", SMS, Push)
		s.push.answersNext(acceptThenTimeOut)
		s.tell(news("e1", "ana", fallback))
		s.start("a")
		w.Until(s.settled())

		s.push.answersNext(hang, hang)
		s.tell(news("e2", "ben", fallback))

		w.Sleep(40 * time.Second)
		w.Claim(s.settled(), s.push.Once("e1 to ana"), s.sms.Once(), s.deadLetters("ben"))
		cy := s.user("cy", SMS, Push)
		s.push.answersNext(acceptThenTimeOut)
		s.tell(news("e3", "cy", fallback))
		w.Until(s.push.calledTimes(5))
		no := false
		cy.Channels[Push] = Contact{Address: "cy's push", Enabled: &no}
		s.prefers("cy", cy) // does not want what may be there already, and not by another channel either

		w.Sleep(40 * time.Second)
		w.Claim(s.settled(), s.push.Once("e1 to ana", "e3 to cy"), s.push.calledTimes(5), s.sms.Once())
	})
}

// Whoever says "no more" and then buys something gets no message about it: what was decided before an event counts for it,
// however far behind the service is with reading decisions.
func TestStep19_ADecisionBeforeTheEventIsHonoured(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		s := set(w, []string{Email})
		p := s.user("ana", Email)
		a := s.start("a")
		w.Sleep(5 * time.Second)
		a.Fault(harness.Delay(harness.Fetch, 4*time.Second))
		s.user("ben", Email) // whoever reads that now is slow to read on

		no := false
		p.Channels[Email] = Contact{Address: "a@x", Enabled: &no}
		s.prefers("ana", p)
		s.tell(news("e1", "ana"), news("e2", "ben"))

		w.Sleep(10 * time.Second)
		w.Until(s.settled())
		w.Claim(s.email.Once("e2 to ben"))
	}, harness.Brokers(1))
}

// A service that has just started knows nobody yet, which is no reason to skip everybody.
func TestStep19_PreferencesAreReadBeforeTheFirstEvent(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		s := set(w, []string{Email})
		s.user("ana", Email)
		s.tell(news("e1", "ana"))

		// Whoever joins is slow, so that it is a table which is fetched first.
		s.start("a").Fault(harness.Delay(harness.Fetch, 20*time.Second), harness.Delay(harness.JoinGroup, time.Second).Times(6))

		w.Until(s.settled())
		w.Claim(s.email.Once("e1 to ana"))
	}, harness.Brokers(1))
}

// A user who is gone from the table is unknown, and what was known is not kept for ever.
func TestStep19_AForgottenUserIsUnknown(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		s := set(w, []string{Email})
		s.user("ana", Email)
		a := s.start("a")
		s.tell(news("e1", "ana"))
		w.Until(s.email.Once("e1 to ana"))

		s.preferences.Produce(&kgo.Record{Key: []byte("ana")})
		s.tell(news("e2", "ana", critical))

		w.Sleep(time.Second)
		w.Until(s.settled())
		w.Claim(s.email.Once("e1 to ana"), a.extra("skipped_unknown_user", 1))
	})
}

// What is at the end of a table need not be a record: whoever writes in transactions ends with a marker, and retention may have
// left nothing at all. Who waits for a record with the last offset waits for ever.
func TestStep19_TheEndOfATableMayHoldNoRecord(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		s := set(w, []string{Email})
		s.user("ana", Email)
		s.tell(news("e1", "ana"))
		a := s.start("a")
		w.Until(s.settled())
		a.Stop()
		w.Start("shop", func(p *harness.Process) (harness.Runner, error) {
			return errand(func(ctx context.Context) error {
				client, err := kgo.NewClient(append(p.Options(), kgo.TransactionalID("shop"))...)
				if err != nil {
					return err
				}
				defer client.Close()
				var all kadm.Offsets
				all.AddOffset(s.log.Name, 0, s.log.End(0), -1)
				if deleted, err := kadm.NewClient(client).DeleteRecords(ctx, all); err != nil || deleted.Error() != nil {
					return errors.Join(err, deleted.Error())
				}
				yes := true
				ben := record("ben", Preferences{Channels: map[string]Contact{Email: {Address: "b@x", Enabled: &yes}}})
				ben.Topic = s.preferences.Name
				return errors.Join(client.BeginTransaction(), client.ProduceSync(ctx, ben).FirstErr(), client.EndTransaction(ctx, kgo.TryCommit))
			}), nil
		})
		w.Sleep(5 * time.Second)

		s.start("b")
		s.tell(news("e2", "ben"))

		w.Within(20*time.Second, s.settled())
		w.Claim(s.email.Once("e1 to ana", "e2 to ben"))
	})
}

// errand is a program that does something, and then nothing until it is stopped.
type errand func(ctx context.Context) error

func (e errand) Run(ctx context.Context) error {
	err := e(ctx)
	if err == nil {
		<-ctx.Done()
	}
	return err
}

// receipt is what a provider reports of a message.
func receipt(key, status string, second int) *kgo.Record {
	return record(key, Receipt{Status: status, At: time.Date(2000, 1, 1, 0, 0, second, 0, time.UTC)})
}

// Receipts come late, twice and out of order. What is known of a message only ever gets more: who has read it has got it.
func TestStep20_AStatusOnlyMovesForward(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		s := set(w, []string{Email})
		s.start("a")
		s.receipts.Produce(receipt("m1", "accepted", 1), receipt("m1", "read", 9), receipt("m1", "delivered", 5), receipt("m1", "read", 9),
			receipt("m2", "bounced", 2), receipt("m2", "accepted", 1), receipt("m3", "delivered", 3), receipt("m3", "bounced", 4), receipt("m3", "delivered", 3))

		w.Until(s.receiver.Drained(s.receipts))

		w.Claim(s.statuses("m1 accepted", "m1 read", "m2 bounced", "m3 delivered"))
	})
}

// statuses claims everything that the status topic has ever said, in order.
//
//go:noinline
func (s *stage) statuses(want ...string) harness.Claim {
	return func(*harness.World) error {
		rank := []string{"accepted", "bounced", "delivered", "read"}
		var got []string
		at := map[string]int{}
		for _, r := range s.status.Records() {
			key := string(r.Key)
			var receipt Receipt
			if err := json.Unmarshal(r.Value, &receipt); err != nil || receipt.At.IsZero() {
				return harness.Broke[harness.Lost]("whoever looks wants to know when, too", "the status of %s says %q, which is not the receipt that came", key, r.Value)
			}
			status := receipt.Status
			got = append(got, key+" "+status)
			now := slices.Index(rank, status) + 1
			if now < at[key] {
				return harness.Broke[harness.Rewound]("whoever looks is told that a message which was read has just been accepted", "the status of %s went back from %s to %s", key, rank[at[key]-1], status)
			}
			if now == at[key] {
				return harness.Broke[harness.Duplicated]("a receipt that comes again is no news", "the status of %s was %s, and is said to be so again", key, status)
			}
			at[key] = now
		}
		for _, line := range want {
			if !slices.Contains(got, line) {
				return harness.Broke[harness.Lost]("a status that is not told is not known", "the statuses were %q; there should be %q", got, line)
			}
		}
		if len(got) != len(want) {
			return harness.Broke[harness.Misreported]("", "the statuses were %q; it should be %q", got, want)
		}
		return nil
	}
}

// What an earlier life knew of a message is known to the next one.
func TestStep20_AStatusIsKnownAfterARestart(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		s := set(w, []string{Email})
		a := s.start("a")
		s.receipts.Produce(receipt("m1", "read", 9))
		w.Until(s.receiver.Drained(s.receipts))
		a.Crash()

		s.receipts.Produce(receipt("m1", "delivered", 5), record("m2", Receipt{Status: "eaten"}))
		s.start("b")

		w.Until(s.receiver.Drained(s.receipts))
		w.Claim(s.statuses("m1 read"), s.deadLetters("m2"))
	})
}

// A hundred thousand users are read a page at a time, and only those who want it get a task.
func TestStep21_AHundredThousandUsersAreReadByPages(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		s := set(w, []string{Email}, func(c *Config) { c.PageSize = 1000 })
		s.audience = everyone(w, 100_000)
		var want []string
		for i := 0; i < 100_000; i += 7_001 {
			s.user(fmt.Sprintf("u%d", i), Email)
			want = append(want, fmt.Sprintf("sale to u%d", i))
		}
		s.tell(Trigger{Event: "sale", Template: "news", Audience: "everyone"})

		s.start("a")

		w.Until(s.settled())
		w.Claim(s.email.Once(want...), s.audience.read(1000, 101))
	})
}

// everyone is an audience of users u0, u1 and so on.
func everyone(w *harness.World, n int) *audience {
	return &audience{w: w, users: n, name: func(i int) string { return fmt.Sprintf("u%d", i) }}
}

// read claims that no page was larger than that, and that there were at most so many.
//
//go:noinline
func (a *audience) read(size, pages int) harness.Claim {
	return func(*harness.World) error {
		asked := a.asked()
		for _, p := range asked {
			if p.n > size {
				return harness.Broke[harness.Wasteful]("a list of a million users does not fit into memory", "%s asked for %d users at once; it should be at most %d", p.by, p.n, size)
			}
		}
		if len(asked) > pages {
			return harness.Broke[harness.Wasteful]("who starts over has not remembered how far it was", "%d pages were asked for; it should be at most %d", len(asked), pages)
		}
		return nil
	}
}

// The next page is not read before the tasks of this one are acknowledged: a slow cluster fills no memory.
func TestStep21_ASlowClusterHoldsUpTheReading(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		s := set(w, []string{Email}, func(c *Config) { c.PageSize = 5 })
		s.audience = everyone(w, 40)
		var want []string
		for i := range 40 {
			s.user(fmt.Sprintf("u%d", i), Email)
			want = append(want, fmt.Sprintf("sale to u%d", i))
		}
		a := s.start("a")
		w.Sleep(time.Second)
		a.Fault(harness.Delay(harness.Produce, 10*time.Second).Times(3))

		s.tell(Trigger{Event: "sale", Template: "news", Audience: "everyone"})

		w.Sleep(5 * time.Second)
		w.Claim(s.audience.read(5, 2)) // the next page may be there already
		w.Until(s.settled())
		w.Claim(s.email.Once(want...), s.audience.read(5, 9))
	})
}

// A crash halfway is a crash halfway: the next owner goes on from there.
func TestStep21_ACrashHalfwayIsResumedThere(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		s := set(w, []string{Email}, func(c *Config) { c.PageSize = 1000 })
		s.audience = everyone(w, 40_000)
		s.user("u5", Email)
		s.user("u39999", Email)
		s.tell(Trigger{Event: "sale", Template: "news", Audience: "everyone"})
		s.start("a").CrashAt(harness.Point{When: harness.After, Request: harness.Exchange, Nth: 20})
		w.Until(harness.Gone("a"))

		s.start("b")

		w.Until(s.settled())
		w.Claim(s.email.Once("sale to u5", "sale to u39999"), s.audience.read(1000, 44))
	})
}

// The same sale told again, to another list with the same users on it, is no news for any of them. A list that cannot be read
// for a moment has not ended.
func TestStep21_AnAudienceIsToldOnce(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		s := set(w, []string{Email}, func(c *Config) { c.PageSize = 2 })
		s.audience = everyone(w, 4)
		s.audience.fails = 2
		for i := range 4 {
			s.user(fmt.Sprintf("u%d", i), Email)
		}
		sale := Trigger{Event: "sale", Template: "news", Audience: "everyone"}
		s.start("a")
		s.tell(sale)
		w.Until(harness.All(s.settled(), s.email.calledTimes(4)))

		other := sale
		other.Audience = "regulars"
		s.tell(sale, other)
		w.Sleep(time.Second)

		w.Until(s.settled())
		w.Claim(s.email.Once("sale to u0", "sale to u1", "sale to u2", "sale to u3"), s.email.calledTimes(4))
	})
}

// While a long list is read, others get their messages, and nobody takes the service for wedged.
func TestStep21_NobodyWaitsForALongList(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		s := set(w, []string{Email}, func(c *Config) { c.PageSize, c.StallAfter = 10, 12*time.Second })
		s.audience = everyone(w, 300)
		s.audience.takes = time.Second
		s.user("ana", Email)
		a := s.start("a")
		s.triggers.To(0, record("sale", Trigger{Event: "sale", Template: "news", Audience: "everyone"}))
		w.Sleep(5 * time.Second)

		s.triggers.To(0, record("e1", news("e1", "ana")), record("e2", news("e2", "ana", critical)))

		w.Within(500*time.Millisecond, s.email.Once("e1 to ana", "e2 to ana"))
		w.Sleep(15 * time.Second)
		w.Claim(a.healthy(true, true))
		w.Until(s.settled())
	})
}
