package lesson08

import (
	"strconv"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/kafka-katas/kafka-katas/harness"
)

// A crash between the retry's publication and the commit publishes it again. There are two at most, and whoever meets
// both can tell: same origin, same attempts.
func TestStep19_ACrashBeforeTheCommitMakesOneRecognisableDuplicate(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		shop := open(w, 1).withTiers(1)
		shop.payments.Produce(payment("p-1"), payment("p-2"))
		a := shop.start("a", shop.config(), both(takes(1500*time.Millisecond), fails("p-1", 2, ErrUnavailable)))

		a.CrashAfter(harness.Produce)
		w.Until(harness.Gone("a"))
		a.restart()

		w.Until(shop.drained())
		w.Claim(shop.settled(), shop.safe(), shop.recognisable())
	})
}

// recognisable claims that no retry or dead letter is there more than twice, and that copies agree in their origin and
// attempts.
//
//go:noinline
func (s *shop) recognisable() harness.Claim {
	return func(*harness.World) error {
		for _, t := range append(s.topics()[1:], s.dead) {
			seen := map[string]int{}
			for _, r := range t.Records() {
				id := ""
				for _, name := range []string{HeaderOriginTopic, HeaderOriginPartition, HeaderOriginOffset, HeaderAttempts} {
					value, n := headerOf(r, name)
					if n != 1 {
						return harness.Broke[harness.Duplicated]("a duplicate that cannot be recognised is charged twice",
							"the record of %s in %v has %s %d times; it should be there once", r.Key, t, name, n)
					}
					id += value + " "
				}
				if seen[id]++; seen[id] > 2 {
					return harness.Broke[harness.Duplicated]("one crash costs one repetition at most", "%v holds %d copies of %s, of origin and attempts %s", t, seen[id], r.Key, id)
				}
			}
		}
		return nil
	}
}

// A crash at any point of a member's life loses nothing, in whichever mode.
func TestStep19_ACrashAtAnyPointLosesNothing(t *testing.T) {
	for _, stage := range stages {
		harness.Sweep(t, "a", func(w *harness.World) {
			shop := stage(w)
			shop.payments.Produce(payment("p-0"), payment("p-1"))
			short := func(c *Config) { c.SessionTimeout = 6 * time.Second }
			handle := both(fails("p-0", 1, ErrUnavailable), fails("p-1", always, ErrDeclined))
			shop.start("a", shop.config(short), handle)
			w.Until(harness.Any(shop.drained(), harness.Gone("a")))
			shop.start("b", shop.config(short), handle)
			w.Until(shop.drained())
			w.Claim(shop.settled(), shop.safe(), shop.recognisable())
		})
	}
}

// stages are one for each mode.
var stages = []func(w *harness.World) *shop{
	func(w *harness.World) *shop { return open(w, 1) },
	func(w *harness.World) *shop { return open(w, 1).withTiers(1) },
	func(w *harness.World) *shop { return open(w, 1).withParking() },
}

// Members come, go and crash, commits fail and leaders move: every payment is settled, and none is committed before.
func TestStep19_DuringAnyChurnNothingIsLost(t *testing.T) {
	plan := harness.Plan{Schedules: 20, Members: 3, Within: 40 * time.Second, Moves: []harness.MoveKind{
		harness.Join, harness.Leave, harness.Crash, harness.RefuseCommit, harness.LoseCommit, harness.DelayCommit, harness.CutFetch,
		harness.CutHeartbeat, harness.MoveLeader, harness.MoveCoordinator,
	}}
	for i, stage := range stages {
		harness.Explore(t, plan, func(w *harness.World, churn *harness.Schedule) {
			shop := stage(w)
			for i := range 12 {
				shop.payments.To(0, &kgo.Record{Key: []byte("p-" + strconv.Itoa(i%4)), Value: []byte(strconv.Itoa(i))})
			}
			handle := both(takes(2*time.Second), fails("p-0", 3, ErrUnavailable), fails("p-1", 2, ErrDeclined))
			churn.Play(shop.desk, shop.topics(), func(name string) *harness.Process {
				return shop.start(name, shop.config(), handle).Process
			})
			w.Until(shop.drained())
			w.Claim(shop.settled(), shop.safe())
			if i != 1 { // tiers give order up
				w.Claim(shop.keyOrder())
			}
		}, harness.Deadline(20*time.Minute))
	}
}
