package lesson11

import (
	"fmt"
	"testing"
	"time"

	"github.com/kafka-katas/kafka-katas/harness"
)

// A crash at any point: before and after each request of the service and each call of a provider. Each user of
// a list is told by one channel, once, whoever is in between.
func TestStep22_ACrashAtAnyPointTellsEveryUserOnce(t *testing.T) {
	harness.Sweep(t, "a", func(w *harness.World) {
		s := set(w, []string{SMS, Push}, short, func(c *Config) { c.CommitInterval = 200 * time.Millisecond })
		s.audience = everyone(w, 1)
		s.user("u0", SMS, Push)
		s.push.always = &answer{err: &Refused{Reason: "app was removed"}}
		s.tell(news("e1", "", fallback, func(t *Trigger) { t.Audience = "all" }))
		s.start("a")
		w.Until(harness.Any(s.settled(), harness.Gone("a")))

		if harness.Gone("a")(w) == nil {
			s.start("b")
		}

		w.Until(s.settled())
		w.Claim(s.sms.Once("e1 to u0"), s.push.Once(), s.sms.keyed(), s.deadLetters())
	}, harness.Brokers(1))
}

// Members join, leave and crash, leaders and coordinators move, commits fail, and a provider is moody: every message goes out
// once.
func TestStep22_DuringAnyChurnEveryMessageGoesOutOnce(t *testing.T) {
	plan := harness.Plan{Schedules: 50, Members: 2, AtMost: 4, Within: 20 * time.Second, Moves: []harness.MoveKind{
		harness.Join, harness.Leave, harness.Crash, harness.RefuseCommit, harness.LoseCommit, harness.CutFetch, harness.CutHeartbeat,
		harness.MoveLeader, harness.MoveCoordinator,
	}}
	harness.Explore(t, plan, func(w *harness.World, churn *harness.Schedule) {
		s := set(w, []string{Email}, short, func(c *Config) { c.MaxAttempts = 10 })
		s.email.takes = 700 * time.Millisecond
		s.email.answersNext(accept, fail, throttle(2*time.Second), acceptThenTimeOut, accept, fail)
		var want []string
		for i := range 6 {
			user := fmt.Sprintf("user%d", i)
			s.user(user, Email)
			s.tell(news("e1", user), news("e1", user))
			want = append(want, "e1 to "+user)
		}
		churn.Play(s.senders[Email], []*harness.Topic{s.tasks[s.cfg.Topics.Task(Email, false)]}, func(name string) *harness.Process {
			return s.start(name).Process
		})
		w.Until(harness.All(s.settled(), s.email.Once(want...)))
		w.Claim(s.email.Once(want...), s.email.keyed(), s.deadLetters())
	})
}
