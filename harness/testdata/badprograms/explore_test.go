package badprograms

import (
	"testing"
	"time"

	"github.com/kafka-katas/kafka-katas/harness"
)

// Stories that only a crash at the right moment breaks.

func explored(t *testing.T, program func(Setup) (harness.Runner, error)) {
	harness.Explore(t, harness.Plan{Schedules: 60, Within: 10 * time.Second}, func(w *harness.World, s *harness.Schedule) {
		orders, bank := w.Topic("orders", 2), w.Group("bank")
		orders.Fill(50)
		s.Play(bank, []*harness.Topic{orders}, func(name string) *harness.Process {
			return start(w, name, Setup{Group: bank.Name, Topic: orders.Name}, program)
		})
		w.Sleep(5 * time.Minute)
		w.Claim(bank.Handled(orders))
	}, harness.Deadline(time.Hour))
}

func swept(t *testing.T, program func(Setup) (harness.Runner, error)) {
	harness.Sweep(t, "m1", func(w *harness.World) {
		orders, bank := w.Topic("orders", 1), w.Group("bank")
		setup := Setup{Group: bank.Name, Topic: orders.Name}
		orders.Fill(10)
		start(w, "m1", setup, program)
		w.Until(harness.Any(bank.Drained(orders), harness.Gone("m1")))
		start(w, "m2", setup, program)
		w.Sleep(2 * time.Minute)
		w.Claim(bank.Handled(orders))
	})
}

func TestExploreEager(t *testing.T) { explored(t, Eager) }
func TestExploreGood(t *testing.T)  { explored(t, Good) }
func TestSweepEager(t *testing.T)   { swept(t, Eager) }
func TestSweepGood(t *testing.T)    { swept(t, Good) }
