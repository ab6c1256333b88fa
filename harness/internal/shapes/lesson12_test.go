package shapes

import (
	"net/http"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/kafka-katas/kafka-katas/harness"
	"github.com/kafka-katas/kafka-katas/harness/httpfake"
)

// Wherever the saga crashes, each step is carried out once, a declined order is compensated once, and both end the same.
func TestLesson12_ACrashAnywhereLeadsToTheSameEnd(t *testing.T) {
	harness.Sweep(t, "saga", ordersAreFulfilled(asItShould))
}

func TestLesson12_AFreshIdempotencyKeyPerAttemptChargesTwice(t *testing.T) {
	harness.Sweep(t, "saga", ordersAreFulfilled(freshKeyPerAttempt), harness.Red("DUPLICATED"))
}

func TestLesson12_ATimeoutTakenForAFailureCancelsAPaidOrder(t *testing.T) {
	harness.Sweep(t, "saga", ordersAreFulfilled(timeoutIsFailure), harness.Red("MISROUTED"))
}

func TestLesson12_CommittingFirstLosesAnOrder(t *testing.T) {
	harness.Sweep(t, "saga", ordersAreFulfilled(commitsFirst), harness.Red("LOST"))
}

func ordersAreFulfilled(mistake string) func(w *harness.World) {
	return func(w *harness.World) {
		orders, outcomes, shop := w.Topic("orders", 1), w.Topic("order-outcomes", 1), w.Group("shop")
		stock, payments := httpfake.Start(w, "stock:80"), httpfake.Start(w, "payments:80")
		w.Start("saga", sagaOf(shop, orders, outcomes, mistake)).RestartAfter(time.Second)

		payments.Next("POST /charges/o-1", httpfake.DoneButSilent())
		payments.Always("POST /charges/o-2", httpfake.Status(http.StatusPaymentRequired))
		orders.Produce(order("o-1"), order("o-2"))
		w.Until(shop.Drained(orders))

		w.Claim(
			payments.Effects().Once("POST /charges/o-1"),
			stock.Effects().Once("POST /reservations/o-1", "POST /reservations/o-2", "POST /releases/o-2"),
			outcomes.AsTable(map[string]string{"o-1": "confirmed", "o-2": "cancelled"}),
		)
	}
}

func order(id string) *kgo.Record { return kgo.KeyStringRecord(id, "one book") }
