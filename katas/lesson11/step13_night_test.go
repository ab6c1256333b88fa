package lesson11

import (
	"testing"
	"time"
	_ "time/tzdata"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/kafka-katas/kafka-katas/harness"
)

// In Berlin the clocks go forward on 26 March 2000, from 02:00 to 03:00, and back on 29 October, from 03:00 to 02:00.
func berlin(t *testing.T, clock string) time.Time {
	zone, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	at, err := time.ParseInLocation("2006-01-02 15:04", "2000-"+clock, zone)
	if err != nil {
		t.Fatal(err)
	}
	return at
}

// night is a story that begins at that time in Berlin.
func night(t *testing.T, clock string) []harness.Option {
	return []harness.Option{harness.Begins(berlin(t, clock)), harness.Lasts(6 * time.Hour), harness.Brokers(1)}
}

// atNight sets the stage for hours in which nearly nothing happens: long polls are long, and shorter than a story's beginning.
func atNight(w *harness.World, channels ...string) *stage {
	s := set(w, channels, func(c *Config) {
		c.SessionTimeout, c.HeartbeatInterval, c.CommitInterval = 15*time.Minute, 5*time.Minute, 10*time.Second
	})
	s.opts = []kgo.Opt{kgo.FetchMaxWait(4 * time.Minute), kgo.MetadataMaxAge(time.Hour), kgo.ConnIdleTimeout(15 * time.Minute)}
	return s
}

// sleeper prefers to be left alone from 01:00 to 04:00 in Berlin.
func (s *stage) sleeper(name string, channels ...string) Preferences {
	p := s.user(name, channels...)
	p.Zone, p.Quiet = "Europe/Berlin", &Quiet{From: "01:00", To: "04:00"}
	s.prefers(name, p)
	return p
}

// A night ends at four by the clock on the wall, in the night that has an hour less too. And whoever waits holds up nobody:
// the offset is committed long before the morning.
func TestStep13_ANightEndsByTheUsersClockWhenItIsShort(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		s := atNight(w, Email)
		s.sleeper("ana", Email)
		s.user("ben", Email)
		a := s.start("a")
		w.SleepUntil(w.At(berlin(t, "03-26 01:10")))

		s.triggers.To(0, record("e1", news("e1", "ana")), record("e2", news("e2", "ben")))

		w.Within(30*time.Second, s.settled())
		w.Claim(s.email.Once("e2 to ben"), a.extra("email_deferred", 1))
		w.SleepUntil(w.At(berlin(t, "03-26 04:00")) + time.Minute)
		w.Claim(s.email.Once("e1 to ana", "e2 to ben"), harness.Times("mails to ana", s.email.Of("e1 to ana"), w.At(berlin(t, "03-26 04:00"))))
	}, night(t, "03-26 01:05")...)
}

// The night that has an hour more ends at four as well.
func TestStep13_ANightEndsByTheUsersClockWhenItIsLong(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		s := atNight(w, Email)
		s.sleeper("ana", Email)
		s.start("a")
		w.SleepUntil(w.At(berlin(t, "10-29 01:10")))

		s.tell(news("e1", "ana"))

		w.SleepUntil(w.At(berlin(t, "10-29 04:00")) + time.Minute)
		w.Claim(s.email.Once("e1 to ana"), harness.Times("mails to ana", s.email.Of("e1 to ana"), w.At(berlin(t, "10-29 04:00"))))
	}, night(t, "10-29 01:05")...)
}

// The first quiet minute is quiet, and the first after it is not; a night may begin before midnight.
func TestStep13_ANightBeginsAndEndsOnTheMinute(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		s := atNight(w, Email)
		p := s.sleeper("ana", Email)
		p.Quiet = &Quiet{From: "23:30", To: "00:20"}
		s.prefers("ana", p)
		s.start("a")

		w.SleepUntil(w.At(berlin(t, "06-01 23:29")))
		s.tell(news("e1", "ana"))
		w.SleepUntil(w.At(berlin(t, "06-01 23:30")))
		s.tell(news("e2", "ana"))
		w.SleepUntil(w.At(berlin(t, "06-02 00:20")))
		s.tell(news("e3", "ana"))
		w.Sleep(time.Minute)

		end := w.At(berlin(t, "06-02 00:20"))
		w.Claim(harness.Due("the mail before the night", time.Second, s.email.Of("e1 to ana"), w.At(berlin(t, "06-01 23:29"))),
			harness.Times("the mail of the night", s.email.Of("e2 to ana"), end), harness.Due("the mail after it", time.Second, s.email.Of("e3 to ana"), end))
	}, night(t, "06-01 23:20")...)
}

// What cannot wait is sent at night.
func TestStep13_CriticalIsSentAtNight(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		s := atNight(w, Email, SMS)
		s.sleeper("ana", Email, SMS)
		s.start("a")
		w.SleepUntil(w.At(berlin(t, "06-01 02:00")))

		s.tell(news("recall", "ana", critical))

		w.Within(time.Second, harness.All(s.email.Once("recall to ana"), s.sms.Once("recall to ana")))
	}, night(t, "06-01 01:55")...)
}

// In the morning the question is asked again: does the user still want it, and where, and is it still of use?
func TestStep13_WhatWaitedIsJudgedAgainInTheMorning(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		s := atNight(w, Email, SMS)
		s.sleeper("ana", Email)
		p := s.sleeper("ben", SMS)
		s.start("a")
		w.SleepUntil(w.At(berlin(t, "06-01 03:00")))
		s.tell(news("e1", "ana"), news("e2", "ben"),
			news("e3", "ben", func(t *Trigger) { t.Expires = time.Now().Add(59 * time.Minute) }))
		w.Within(time.Minute, s.settled())

		s.preferences.Produce(&kgo.Record{Key: []byte("ana")}) // she has left
		p.Channels[SMS] = Contact{Address: "another number", Enabled: p.Channels[SMS].Enabled}
		s.prefers("ben", p)
		w.SleepUntil(w.At(berlin(t, "06-01 04:05")))

		w.Claim(s.email.Once(), s.sms.Once("e2 to ben"), s.sms.to("another number"))
	}, night(t, "06-01 02:55")...)
}

// A message that waits for the morning is on record, not in memory alone: it goes out on time although its owner crashed.
func TestStep13_WhatWaitsSurvivesACrash(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		s := atNight(w, Email)
		s.sleeper("ana", Email)
		a := s.start("a")
		w.SleepUntil(w.At(berlin(t, "06-01 03:40")))
		s.tell(news("e1", "ana"))
		w.Within(time.Minute, s.settled())

		a.Crash()
		s.start("b")

		w.SleepUntil(w.At(berlin(t, "06-01 04:01")))
		w.Claim(s.email.Once("e1 to ana"), harness.Times("mails to ana", s.email.Of("e1 to ana"), w.At(berlin(t, "06-01 04:00"))))
	}, night(t, "06-01 03:37")...)
}

// A code that has expired helps nobody. It is dropped and counted wherever it is found: at the start, or after a wait.
func TestStep14_WhatHasExpiredIsNotSent(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		s := set(w, []string{SMS})
		s.user("ana", SMS)
		s.sms.answersNext(throttle(time.Minute))
		a := s.start("a")
		w.Sleep(time.Second)
		in := func(d time.Duration) func(*Trigger) { return func(t *Trigger) { t.Expires = time.Now().Add(d) } }

		s.tell(news("old", "ana", in(-time.Second)), news("e1", "ana", critical, in(30*time.Second)), news("e2", "ana", in(2*time.Minute)))

		w.Until(s.settled())
		w.Claim(s.sms.Once("e2 to ana"), s.deadLetters(), a.extra("expired", 1), a.extra("sms_expired", 1), s.sms.calledTimes(2))
	})
}
