package lesson11

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/kafka-katas/kafka-katas/harness"
	"github.com/kafka-katas/kafka-katas/ops"
)

// The code that somebody waits for at the till does not stand behind the newsletter.
func TestStep07_CriticalOvertakesABulkBacklog(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		s := set(w, []string{Email}, func(c *Config) { c.Email.PerSecond, c.Email.Burst = 1, 1 })
		s.user("ana", Email)
		s.tell(numbered("ana", 40)...)
		s.start("a")
		w.Await("the third call", harness.Of(harness.Called), harness.Saying("email: n-"))
		w.Sleep(2500 * time.Millisecond)

		s.tell(news("code", "ana", critical))
		told := w.Now()

		w.Within(2100*time.Millisecond, harness.Happened("the critical message", harness.Of(harness.Affected), harness.Keyed("code to ana")))
		w.Claim(s.email.sentBetween(told, w.Now(), 2))
		w.Until(s.settled())
		w.Claim(s.email.calledTimes(41))
	})
}

// numbered are n bulk triggers for a user.
func numbered(user string, n int, changes ...func(*Trigger)) (out []Trigger) {
	for i := range n {
		out = append(out, news(fmt.Sprintf("n-%d", i), user, changes...))
	}
	return out
}

// sentBetween claims that at most that many messages were sent in some time.
//
//go:noinline
func (v *provider) sentBetween(from, to time.Duration, most int) harness.Claim {
	return func(w *harness.World) error {
		events := w.Journal().Events(harness.Of(harness.Affected), func(e harness.Event) bool { return e.Text == v.name && e.At >= from && e.At <= to })
		if len(events) > most {
			return harness.Shown(harness.Broke[harness.Mistimed]("a limit that is exceeded for a moment is exceeded: the provider counts",
				"%d messages were sent by %s from %v to %v; it should be at most %d", len(events), v.name, from, to, most), events...)
		}
		return nil
	}
}

// Each channel has a text of its own.
func TestStep08_EachChannelHasItsOwnText(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		s := set(w, []string{Email, SMS, Push})
		s.user("ana", Email, SMS, Push)
		s.tell(Trigger{Event: "e1", Template: "code", User: "ana", Data: map[string]string{"code": "77 <b>"}})

		s.start("a")

		w.Until(s.settled())
		w.Claim(s.email.Once("Dear ana, your code is 77 <b>"), s.sms.Once("code 77 <b>"), s.push.Once("77 <b>"), s.email.to("ana's email"), s.sms.to("ana's sms"))
	})
}

// to claims to which address a provider's messages went.
//
//go:noinline
func (v *provider) to(address string) harness.Claim {
	return func(*harness.World) error {
		for _, c := range v.heard() {
			if c.To != address {
				return harness.Broke[harness.Misrouted]("somebody else reads it", "%s sent %q to %q; it should be %q", v.name, c.Body, c.To, address)
			}
		}
		return nil
	}
}

// A text that cannot be made completely is not sent: nobody wants to read "your code is <no value>".
func TestStep08_AHalfTextIsADeadLetterAndNoMessage(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		s := set(w, []string{Email, SMS})
		s.user("ana", Email, SMS)
		s.tell(
			Trigger{Event: "e1", Template: "code", User: "ana", Data: map[string]string{"Code": "77"}},
			Trigger{Event: "e2", Template: "mail", User: "ana"}, // has no text for SMS
			news("e3", "ana"),
		)

		a := s.start("a")

		w.Until(s.settled())
		w.Claim(s.email.Once("e2 to ana", "e3 to ana"), s.sms.Once("e3 to ana"),
			s.deadLetters("ana", "ana", "ana"), a.extra("email_sent", 2))
	})
}

// An operator sees per channel what became of the messages, and that no record is unaccounted for.
func TestStep09_StatisticsSayWhatBecameOfEachChannelsMessages(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		s := set(w, []string{Email, SMS})
		s.user("ana", Email, SMS)
		s.sms.answersNext(fail, throttle(5*time.Second), refuse("number is not assigned"))
		s.tell(news("e1", "ana"), news("e1", "ana"), Trigger{Event: "e2", Template: "mail", User: "ana"})

		a := s.start("a")

		w.Until(s.settled())
		w.Claim(s.deadLetters("ana"),
			a.extra("email_sent", 2), a.extra("email_deduplicated", 1), a.extra("email_retried", 0),
			a.extra("sms_sent", 0), a.extra("sms_retried", 2), a.extra("sms_throttled", 1), a.extra("sms_refused", 1), a.extra("sms_dead", 1),
			a.totals(ops.Counts{Received: 9, Processed: 5, Filtered: 3, Dead: 1}))
	})
}

// A paused service takes nothing up and is healthy; what it has in hand goes on.
func TestStep09_APauseStopsNothingButTheIntake(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		s := set(w, []string{Email})
		s.user("ana", Email)
		s.email.answersNext(throttle(20 * time.Second))
		a := s.start("a")
		s.tell(news("e1", "ana"))
		w.Await("the first call", harness.Of(harness.Called))

		a.Pause()
		w.Sleep(time.Second)
		s.tell(news("e2", "ana"))
		w.Sleep(time.Minute)
		w.Claim(s.email.Once("e1 to ana"), a.healthy(true, true), harness.Reported(func() error {
			if !a.Stats().Paused {
				return fmt.Errorf("%s is paused and does not report it", a.Name)
			}
			return nil
		}))
		a.Resume()

		w.Within(20*time.Second, s.settled())
		w.Claim(s.email.Once("e1 to ana", "e2 to ana"))
	})
}

// totals claims what became of the records of all topics together, and that it adds up.
//
//go:noinline
func (m *member) totals(want ops.Counts) harness.Claim {
	return harness.Reported(func() error {
		got := m.Stats().Totals
		judged := got
		judged.Failed, judged.Retried = want.Failed, want.Retried
		if judged != want {
			return fmt.Errorf("%s says %+v; it should be %+v, whatever Failed and Retried are", m.Name, got, want)
		}
		return nil
	})
}

// What a report shows must not be what the message says, nor to whom it went.
func TestStep09_ReportsDoNotShowWhatMessagesSay(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		s := set(w, []string{SMS})
		s.user("ana", SMS)
		s.sms.answersNext(refuse("secret77 is no text that we send"), refuse("ana has gone"))
		secret := Trigger{Event: "e1", Template: "code", User: "ana", Data: map[string]string{"code": "secret77"}}
		again := secret
		again.Event = "e2"
		s.tell(secret, again)

		a := s.start("a")

		w.Until(s.settled())
		w.Claim(harness.Reported(func() error {
			for _, group := range a.Stats().Errors {
				for _, sample := range group.Samples {
					if strings.Contains(sample.Message, "secret77") || strings.Contains(sample.Message, "ana") {
						return fmt.Errorf("an error sample says %q", sample.Message)
					}
				}
			}
			if len(a.Stats().Errors) == 0 {
				return fmt.Errorf("%s reports no error; two messages were refused", a.Name)
			}
			return nil
		}))
	})
}
