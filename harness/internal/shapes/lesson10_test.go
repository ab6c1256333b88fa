package shapes

import (
	"testing"
	"time"

	"github.com/kafka-katas/kafka-katas/harness"
	"github.com/kafka-katas/kafka-katas/harness/httpfake"
)

// The same input gives the same bytes, whenever it is replayed: nothing of the moment of processing is in the output.
func aReplayGivesTheSameBytes(mistake string) func(w *harness.World) {
	return func(w *harness.World) {
		raw, customers, replayed := w.Topic("customer-events-raw", 2), w.Topic("customers", 2), w.Topic("customers-replayed", 2)
		now, later := w.Group("normaliser"), w.Group("replay")
		raw.Produce(event("c-1", " LogIn"), event("c-2", "login"), event("c-1", "Order "), event("c-3", "\tlogout"))
		startMapper(w, "n", now, raw, customers, mistake, normalises(mistake))
		w.Until(now.Drained(raw))

		w.Sleep(time.Minute)
		startMapper(w, "r", later, raw, replayed, mistake, normalises(mistake))

		w.Until(later.Drained(raw))
		w.Claim(replayed.Holds(customers.Records()...),
			customers.Holds(event("c-1", "login"), event("c-1", "order"), event("c-2", "login"), event("c-3", "logout")))
	}
}

func TestLesson10_AReplayGivesTheSameBytes(t *testing.T) {
	harness.Run(t, aReplayGivesTheSameBytes(""))
}

func TestLesson10_TheMomentOfProcessingInTheOutputIsCaught(t *testing.T) {
	harness.Run(t, aReplayGivesTheSameBytes("stamps now"), harness.Red("MISROUTED"))
}

// A lookup that hangs is given up after two seconds and made again, once for all who wait for it; meanwhile others are
// looked up, two at once, and nobody overtakes.
func aSlowLookupKeepsTheOrder(mistake string) func(w *harness.World) {
	return func(w *harness.World) {
		events, enriched, etl := w.Topic("customers", 1), w.Topic("enriched", 1), w.Group("etl")
		profiles := httpfake.Start(w, "profiles:80").Next("GET /customers/c-1", httpfake.Hang()).
			Always("GET", httpfake.OK("gold").After(500*time.Millisecond))
		events.Produce(household("c-1 login", "c-2 login", "c-1 order", "c-3 login", "c-1 logout")...)

		startMapper(w, "e", etl, events, enriched, mistake, enriches(profiles, mistake))

		w.Until(etl.Drained(events))
		asked := profiles.Requests("GET /customers/c-1")[0].At
		w.Claim(enriched.Holds(household("c-1 login (gold)", "c-2 login (gold)", "c-1 order (gold)", "c-3 login (gold)", "c-1 logout (gold)")...),
			profiles.AtMost(2, "GET /customers/c-1"), profiles.AtMost(1, "GET /customers/c-2"), profiles.AtOnce(2),
			harness.Times("lookups of c-1", profiles.Times("GET /customers/c-1"), asked, asked+2*time.Second))
	}
}

func TestLesson10_ASlowLookupKeepsTheOrder(t *testing.T) {
	harness.Run(t, aSlowLookupKeepsTheOrder(""))
}

func TestLesson10_OvertakingIsCaught(t *testing.T) {
	harness.Run(t, aSlowLookupKeepsTheOrder("as they come"), harness.Red("REORDERED"))
}

func TestLesson10_AStampedeIsCaught(t *testing.T) {
	harness.Run(t, aSlowLookupKeepsTheOrder("stampede"), harness.Red("WASTEFUL"))
}
