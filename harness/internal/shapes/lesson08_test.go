package shapes

import (
	"testing"
	"time"

	"github.com/kafka-katas/kafka-katas/harness"
)

// A retry waits in Kafka, not in the process that asked for it: two crashes change neither when it is due nor how many
// attempts it has had, and nothing else waits with it.
func aRetryOutlivesItsProcess(mistake string) func(w *harness.World) {
	return func(w *harness.World) {
		shop := openPaymentShop(w, mistake, 10*time.Second, 30*time.Second)
		desk := shop.start("desk", map[string]int{"p-1": 2, "p-3": 3})
		shop.payments.Produce(payment("p-1"), payment("p-2"), payment("p-3"))
		first := w.Await("the first attempt", harness.Of(harness.Began)).At
		w.Until(shop.desk.Drained(shop.payments))

		desk.Crash() // long before the first retry
		w.SleepUntil(first + 2*time.Second)
		desk = desk.Restart()
		w.SleepUntil(first + 35*time.Second)
		desk.Crash() // and again when the second is due
		w.SleepUntil(first + 41*time.Second)
		desk.Restart()

		w.Until(shop.desk.Drained(shop.topics()...))
		w.Claim(harness.Due("attempts at p-2", time.Second, w.Attempts("p-2"), first),
			harness.Due("attempts at p-1", 8*time.Second, w.Attempts("p-1"), first, first+10*time.Second, first+40*time.Second),
			harness.Due("attempts at p-3", 8*time.Second, w.Attempts("p-3"), first, first+10*time.Second, first+40*time.Second),
			shop.dead.Holds(with(with(payment("p-3"), headerOrigin, "0@2"), headerAttempts, "3")))
	}
}

func TestLesson08_ARetryOutlivesItsProcess(t *testing.T) {
	harness.Run(t, aRetryOutlivesItsProcess(""))
}

func TestLesson08_AttemptsInMemoryAreCaught(t *testing.T) {
	harness.Run(t, aRetryOutlivesItsProcess("memory"), harness.Red("MISTIMED"))
}

// The main topic goes on while a retry waits.
func theMainTopicGoesOn(mistake string) func(w *harness.World) {
	return func(w *harness.World) {
		shop := openPaymentShop(w, mistake, 10*time.Second)
		shop.start("desk", map[string]int{"p-1": 1})
		shop.payments.Produce(payment("p-1"))
		refused := w.Await("the first attempt", harness.Of(harness.Began)).At

		w.SleepUntil(refused + 3*time.Second)
		shop.payments.Produce(payment("p-2"))

		w.Until(shop.desk.Drained(shop.topics()...))
		w.Claim(harness.Times("attempts at p-2", w.Attempts("p-2"), refused+3*time.Second),
			harness.Times("attempts at p-1", w.Attempts("p-1"), refused, refused+10*time.Second),
			shop.dead.Holds())
	}
}

func TestLesson08_TheMainTopicGoesOn(t *testing.T) { harness.Run(t, theMainTopicGoesOn("")) }

func TestLesson08_SleepingUntilARetryIsCaught(t *testing.T) {
	harness.Run(t, theMainTopicGoesOn("sleeps"), harness.Red("MISTIMED"))
}
