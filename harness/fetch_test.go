package harness_test

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/kafka-katas/kafka-katas/harness"
)

// fetchTimes is a hook that notes how long a client's fetches take.
type fetchTimes struct {
	mu   sync.Mutex
	took []time.Duration
}

func (f *fetchTimes) OnBrokerE2E(_ kgo.BrokerMetadata, key int16, e2e kgo.BrokerE2E) {
	if key == kmsg.Fetch.Int16() {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.took = append(f.took, e2e.DurationE2E())
	}
}

// A partition that a client adds an instant after its first fetch is not held up by that fetch.
func TestTheFetchOfTheInstantInWhichAClientBeginsDoesNotWait(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		orders := w.Topic("orders", 1)
		var times fetchTimes
		client := w.Client(kgo.ConsumeTopics(orders.Name), kgo.WithHooks(&times))
		defer client.Close()
		ctx, cancel := context.WithTimeout(context.Background(), 12*time.Second)
		defer cancel()
		client.PollFetches(ctx)
		times.mu.Lock()
		defer times.mu.Unlock()
		if want := []time.Duration{time.Millisecond, 5 * time.Second, 5 * time.Second}; !slices.Equal(times.took, want) {
			t.Errorf("fetches of an empty partition took %v, want %v", times.took, want)
		}
	}, harness.Brokers(1))
}
