package lesson11

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/kafka-katas/kafka-katas/harness"
)

// One event reaches a user once by each channel that the user wants.
func TestStep02_AnEventReachesEachEnabledChannelOnce(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		s := set(w, []string{Email, SMS, Push})
		s.user("ana", Email, Push)
		s.user("ben", SMS)
		s.tell(news("e1", "ana"), news("e2", "ben"))

		s.start("a")

		w.Until(s.settled())
		w.Claim(s.email.Once("e1 to ana"), s.push.Once("e1 to ana"), s.sms.Once("e2 to ben"), s.email.calledTimes(1), s.push.calledTimes(1))
	})
}

// Between trigger and provider there is a task for each channel, in a topic of its channel and priority, keyed by user: so a
// user's messages have one owner, and a channel that waits holds up no other.
func TestStep02_EachChannelHasATaskOfItsOwnKeyedByUser(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		s := set(w, []string{Email, SMS})
		s.user("ana", Email, SMS)
		s.user("ben", Email)
		s.tell(news("e1", "ana"), news("e2", "ana", critical), news("e3", "ben"))

		s.start("a")

		w.Until(s.settled())
		w.Claim(s.hasTasks(Email, false, "e1 for ana", "e3 for ben"), s.hasTasks(Email, true, "e2 for ana"),
			s.hasTasks(SMS, false, "e1 for ana"), s.hasTasks(SMS, true, "e2 for ana"))
	})
}

// hasTasks claims what is in a task topic: "event for key".
//
//go:noinline
func (s *stage) hasTasks(channel string, critical bool, want ...string) harness.Claim {
	return func(w *harness.World) error {
		topic := s.tasks[s.cfg.Topics.Task(channel, critical)]
		var got []string
		for _, r := range topic.Records() {
			var task Task
			if err := json.Unmarshal(r.Value, &task); err != nil || task.Channel != channel {
				return harness.Broke[harness.Misrouted]("tasks are read by their channel's sender", "%s holds %q, which is no task of channel %s", topic, r.Value, channel)
			}
			got = append(got, fmt.Sprintf("%s for %s", task.Event, r.Key))
		}
		return harness.Once("tasks in "+topic.Name, func() []string { slices.Sort(got); return got }, want...)(w)
	}
}

// A trigger or task that nobody can read stays where somebody will look at it, as it came; those behind it go on.
func TestStep02_AnUnreadableTriggerIsDeadLettered(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		s := set(w, []string{Email})
		s.user("ana", Email)
		s.triggers.To(0, &kgo.Record{Key: []byte("k1"), Value: []byte(`{"event": 7`)})
		s.triggers.To(0, record("e0", Trigger{Event: "e0", Template: "news"}), record("e1", news("e1", "ana")))
		s.tasks[s.cfg.Topics.Task(Email, false)].To(0, &kgo.Record{Key: []byte("k2"), Value: []byte(`{`)})

		s.start("a")

		w.Until(s.settled())
		w.Claim(s.email.Once("e1 to ana"), s.deadLetters("k1", "e0", "k2"), s.deadLetterSays("k1", `{"event": 7`))
	})
}

// deadLetters claims the keys of the dead letters.
//
//go:noinline
func (s *stage) deadLetters(want ...string) harness.Claim {
	return func(*harness.World) error {
		var got []string
		for _, r := range s.letters.Records() {
			got = append(got, string(r.Key))
		}
		count := func(keys []string, key string) (n int) {
			for _, k := range keys {
				if k == key {
					n++
				}
			}
			return n
		}
		for _, key := range append(slices.Clone(want), got...) {
			switch had, should := count(got, key), count(want, key); {
			case had < should:
				return harness.Broke[harness.Lost]("what cannot be worked on is kept for a person to look at", "there are %d dead letters of %s; it should be %d. There are %q", had, key, should, got)
			case should == 0:
				return harness.Broke[harness.WronglyDeadLettered]("a dead letter is a notification that nobody got", "%s was dead-lettered", key)
			case had > should:
				return harness.Broke[harness.Duplicated]("whoever works through the dead letters does it twice", "there are %d dead letters of %s; it should be %d", had, key, should)
			}
		}
		return nil
	}
}

// deadLetterSays claims that a dead letter has the value of the record that it came from.
//
//go:noinline
func (s *stage) deadLetterSays(key, value string) harness.Claim {
	return func(*harness.World) error {
		for _, r := range s.letters.Records() {
			if string(r.Key) == key && string(r.Value) != value {
				return harness.Broke[harness.Lost]("what was the matter with it can only be seen in what came", "the dead letter of %s says %q; what came was %q", key, r.Value, value)
			}
		}
		return nil
	}
}

// Who has said no gets nothing by that channel; who has said nothing gets what the channel's default is; and what the law
// demands reaches both.
func TestStep03_OptOutIsRespectedAndOnlyCriticalOverridesIt(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		s := set(w, []string{Email, SMS}, func(c *Config) { c.Email.OptIn, c.SMS.OptIn = true, false })
		no := false
		s.prefers("ana", Preferences{Channels: map[string]Contact{Email: {Address: "a@x", Enabled: &no}, SMS: {Address: "1", Enabled: &no}}})
		s.prefers("ben", Preferences{Channels: map[string]Contact{Email: {Address: "b@x"}, SMS: {Address: "2"}}})
		s.tell(news("e1", "ana"), news("e1b", "ben"), news("recall", "ana", critical), news("recallb", "ben", critical))

		a := s.start("a")

		w.Until(s.settled())
		w.Claim(s.email.Once("e1b to ben", "recall to ana", "recallb to ben"), s.sms.Once("recall to ana", "recallb to ben"),
			a.extra("email_skipped_opted_out", 1), a.extra("sms_skipped_opted_out", 2))
	})
}

// A decision that is taken while a task waits counts too: an opt-out is not honoured "from the next event on".
func TestStep03_AnOptOutStopsWhatIsQueued(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		s := set(w, []string{Email})
		s.user("ana", Email)
		s.email.answersNext(throttle(10 * time.Second))
		s.start("a")
		s.tell(news("e1", "ana"))
		w.Await("the first call", harness.Of(harness.Called))

		no := false
		s.prefers("ana", Preferences{Channels: map[string]Contact{Email: {Address: "a@x", Enabled: &no}}})

		w.Sleep(20 * time.Second)
		w.Until(s.settled())
		w.Claim(s.email.Once(), s.email.calledTimes(1))
	})
}

// Not knowing is no reason to send: an unknown user, preferences that cannot be read, a user without an address, each
// skipped with its reason. Quiet hours in a zone that does not exist may be now, which matters to what is not critical.
func TestStep04_NobodyIsReachedByGuessing(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		s := set(w, []string{Email, SMS})
		s.prefers("ben", Preferences{Channels: map[string]Contact{Email: {Address: "b@x"}, SMS: {Address: " "}}})
		s.preferences.Produce(&kgo.Record{Key: []byte("cy"), Value: []byte(`{"channels": "all"}`)})
		di := s.user("di", Email)
		di.Zone, di.Quiet = "Europe/Berlyn", &Quiet{From: "22:00", To: "07:00"}
		s.prefers("di", di)
		s.tell(news("e1", "nobody"), news("e2", "ben", critical), news("e3", "cy"), news("e4", "cy", critical), news("e5", "di"), news("e6", "di", critical))

		a := s.start("a")

		w.Until(s.settled())
		w.Claim(s.email.Once("e2 to ben", "e6 to di"), s.sms.Once(), s.deadLetters(), a.extra("skipped_unknown_user", 1),
			a.extra("skipped_bad_preferences", 3), a.extra("sms_skipped_no_address", 2))
	})
}

// extra claims what a counter says.
//
//go:noinline
func (m *member) extra(name string, want int64) harness.Claim {
	return harness.Reported(func() error {
		if got := m.Stats().Extra[name]; got != want {
			return fmt.Errorf("%s says that %s is %d; it should be %d. It counts %v", m.Name, name, got, want, m.Stats().Extra)
		}
		return nil
	})
}

// A channel that fails tries again by itself, at RetryAfter, twice that, and so on up to RetryMax; the others have nothing to do with it.
func TestStep05_AFailedChannelAloneTriesAgain(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		s := set(w, []string{Email, SMS, Push}, func(c *Config) { c.RetryMax = 3 * time.Second })
		s.user("ana", Email, SMS, Push)
		s.sms.answersNext(fail, fail, fail, fail)
		s.tell(news("e1", "ana"))

		s.start("a")

		w.Until(s.settled())
		first := s.sms.first()
		w.Claim(s.email.Once("e1 to ana"), s.sms.Once("e1 to ana"), s.push.Once("e1 to ana"), s.email.calledTimes(1), s.push.calledTimes(1),
			harness.Times("calls to sms", s.sms.called, first, first+time.Second, first+3*time.Second, first+6*time.Second, first+9*time.Second), s.sms.keyed())
	})
}

// first is when a provider was first called.
func (v *provider) first() time.Duration {
	if calls := v.called(); len(calls) > 0 {
		return calls[0].At
	}
	return 0
}

// A message that fails for itself, again and again, is given up and kept; the next one goes on meanwhile.
func TestStep05_AMessageThatFailsTooOftenIsDeadLettered(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		s := set(w, []string{Email}, func(c *Config) { c.MaxAttempts = 3 })
		s.often()
		s.user("ana", Email)
		s.user("ben", Email)
		s.email.answersNext(fail)
		s.start("a")
		s.tell(news("e1", "ana"))
		w.Await("the first call", harness.Of(harness.Called))

		s.tell(news("e2", "ben"))
		w.Within(500*time.Millisecond, s.email.Once("e2 to ben"))
		s.email.answersNext(fail, fail)

		w.Until(s.settled())
		w.Claim(s.email.Once("e2 to ben"), s.email.calledTimes(4), s.deadLetters("ana"))
	})
}

// A bug in one provider's client is a failed send, not the end of the process.
func TestStep05_APanicIsAFailedSend(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		s := set(w, []string{Email})
		s.user("ana", Email)
		s.email.answersNext(answer{panics: true})
		s.tell(news("e1", "ana"))

		s.start("a")

		w.Until(s.settled())
		w.Claim(s.email.Once("e1 to ana"), s.email.calledTimes(2))
	})
}

// The same event at another offset, or in another partition, is no news: its provider is not even asked.
func TestStep06_TheSameEventAgainSendsNothing(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		s := set(w, []string{Email, SMS})
		s.user("ana", Email, SMS)
		s.start("a")
		s.triggers.To(0, record("e1", news("e1", "ana")))
		w.Until(s.settled())

		s.triggers.To(1, record("e1", news("e1", "ana")), record("e1", news("e1", "ana")))
		w.Sleep(time.Second)

		w.Until(s.settled())
		w.Claim(s.email.Once("e1 to ana"), s.email.calledTimes(1), s.sms.calledTimes(1))
	})
}

// What makes two notifications the same is event, user, channel and template, all four, whatever is in their names.
func TestStep06_AnotherUserOrTemplateIsAnotherNotification(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		s := set(w, []string{Email})
		s.user("ana", Email)
		for _, user := range []string{"ben", "c", "b/c"} {
			s.user(user, Email)
		}
		other := news("e1", "ana", func(t *Trigger) { t.Template, t.Data = "code", map[string]string{"code": "77"} })
		s.tell(news("e1", "ana"), news("e1", "ben"), other, news("e2", "ana"), news("a/b", "c"), news("a", "b/c"))

		s.start("a")

		w.Until(s.settled())
		w.Claim(s.email.Once("e1 to ana", "e1 to ben", "e2 to ana", "Dear ana, your code is 77", "a/b to c", "a to b/c"), s.email.keyed())
	})
}

// The second of two same ones waits for what becomes of the first.
func TestStep06_DuplicatesInWorkAtOnceAreSentOnce(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		s := set(w, []string{Email}, func(c *Config) { c.Email.Concurrency = 4 })
		s.user("ana", Email)
		s.email.takes = 2 * time.Second
		s.email.answersNext(fail)
		s.tell(news("e1", "ana"), news("e1", "ana"), news("e1", "ana"))

		a := s.start("a")

		w.Until(s.settled())
		w.Claim(s.email.Once("e1 to ana"), s.email.calledTimes(2), a.extra("email_deduplicated", 2))
	})
}

// After a restart, and at another member, what was sent is still known, until DedupWindow is over.
func TestStep06_ADuplicateIsKnownAfterARestart(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		s := set(w, []string{Email}, func(c *Config) { c.DedupWindow = 10 * time.Minute })
		s.user("ana", Email)
		s.tell(news("e1", "ana"))
		a := s.start("a")
		w.Until(s.settled())
		a.Stop()

		w.Sleep(9 * time.Minute)
		s.tell(news("e1", "ana"))
		s.start("b")

		w.Until(s.settled())
		w.Claim(s.email.Once("e1 to ana"), s.email.calledTimes(1))
	})
}
