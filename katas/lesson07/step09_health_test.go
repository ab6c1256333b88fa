package lesson07

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/kafka-katas/kafka-katas/harness"
	"github.com/kafka-katas/kafka-katas/ops"
)

// An outage of Kafka makes a member unready, not dead: killing it would not bring Kafka back.
func TestStep09_WithoutKafkaItIsNotReadyButAlive(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		orders, validation := w.Topic("orders", 2), w.Group("validation")
		a := start(w, "a", config(validation, orders), atOnce)
		w.Within(time.Minute, a.healthy(true, true))

		w.Kafka().Down()
		w.Within(time.Minute, a.healthy(true, false))
		w.Sleep(time.Minute)
		w.Claim(a.healthy(true, false), a.answers())

		w.Kafka().Up()
		orders.Fill(1)
		w.Within(2*time.Minute, a.healthy(true, true))
		w.Until(validation.Drained(orders))
	})
}

// A service starts whatever state Kafka is in: one that cannot start during an outage cannot be rolled out, nor come back
// from a crash, until somebody helps it.
func TestStep09_AServiceStartsDuringAnOutage(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		orders, validation := w.Topic("orders", 2), w.Group("validation")
		orders.Fill(1)
		w.Kafka().Down()

		began := w.Now()
		a := start(w, "a", config(validation, orders), atOnce)
		w.Claim(harness.AtMost("New", w.Now()-began, 0))
		w.Sleep(3 * time.Minute)
		w.Claim(a.healthy(true, false))

		w.Kafka().Up()
		w.Within(time.Minute, validation.Drained(orders))
		w.Claim(validation.Handled(orders), a.healthy(true, true))
	})
}

// A handler that is wedged is found by its lack of progress: its membership alone looks fine for ever, and so do its other
// partitions.
func TestStep09_AWedgedHandlerIsNotAlive(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		orders, validation := w.Topic("orders", 2), w.Group("validation")
		a := start(w, "a", config(validation, orders, func(c *Config) { c.StallAfter = 2 * time.Minute }), slowOn(0, time.Hour))
		w.Sleep(10 * time.Minute)
		w.Claim(a.healthy(true, true)) // an idle topic is no reason to worry

		orders.Send(0, 1)
		w.Until(a.Busy(1))
		w.Sleep(time.Minute)
		orders.Send(1, 1) // which is handled at once
		w.Sleep(time.Minute - 2*time.Second)
		w.Claim(a.healthy(true, true))
		w.Sleep(4 * time.Second)
		w.Claim(a.healthy(false, false), validation.Member(a.Process))
	}, harness.Lasts(13*time.Minute))
}

// A queue that takes longer than StallAfter is a slow partition and not a wedged handler: each record has its own time.
func TestStep09_ALongQueueIsNotAWedgedHandler(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		orders, validation := w.Topic("orders", 1), w.Group("validation")
		orders.Fill(5)

		a := start(w, "a", config(validation, orders, func(c *Config) { c.StallAfter = 2 * time.Minute }), takes(time.Minute))

		w.Until(a.Busy(1))
		for range 4 {
			w.Sleep(time.Minute - time.Second)
			w.Claim(a.healthy(true, true))
		}
	}, harness.Lasts(6*time.Minute))
}

// Nothing to do is healthy, however long it lasts.
func TestStep09_AnIdleTopicIsHealthy(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		orders, validation := w.Topic("orders", 2), w.Group("validation")
		orders.Fill(2)
		a := start(w, "a", config(validation, orders), atOnce)
		w.Until(validation.Drained(orders))

		w.Sleep(time.Hour)

		w.Claim(a.healthy(true, true), a.lagIs(0), a.Rate(harness.OffsetCommit, 0.1, 6))
	}, harness.Lasts(time.Hour))
}

// A topic that may not be read looks idle, unless somebody looks at the errors of the fetches.
func TestStep09_AForbiddenTopicIsNotMistakenForAnIdleOne(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		orders, validation := w.Topic("orders", 1), w.Group("validation")
		a := start(w, "a", config(validation, orders), atOnce)
		w.Until(validation.Owns(a.Process, 1, orders))

		a.Fault(harness.Fail(harness.Fetch, kerr.TopicAuthorizationFailed).Times(1000000))
		w.Within(time.Minute, a.unready("authori"))

		a.ClearFaults()
		orders.Fill(1)
		w.Until(validation.Drained(orders))
		w.Within(2*time.Minute, a.healthy(true, true))
	})
}

// A group that may not be joined is a cause that an operator must be told.
func TestStep09_AForbiddenGroupIsReported(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		orders, validation := w.Topic("orders", 1), w.Group("validation")
		orders.Fill(1)
		forbidden := harness.Fail(harness.JoinGroup, kerr.GroupAuthorizationFailed).Times(1000000)
		a := &member{}
		a.Process = w.Start("a", func(p *harness.Process) (harness.Runner, error) {
			p.Fault(forbidden)
			c, err := New(config(validation, orders), p.Handler(atOnce), p.Options()...)
			a.Consumer = c
			if c == nil {
				return nil, err
			}
			return c, err
		})

		w.Within(time.Minute, a.unready("authori"))

		a.ClearFaults()
		w.Until(validation.Drained(orders))
		w.Within(2*time.Minute, a.healthy(true, true))
	})
}

// Probes are answered from memory: also while every request to Kafka hangs.
func TestStep09_HealthAnswersWhileKafkaHangs(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		orders, validation := w.Topic("orders", 2), w.Group("validation")
		a := start(w, "a", config(validation, orders), atOnce)
		w.Until(validation.Owns(a.Process, 2, orders))

		a.Isolate()

		for range 10 {
			w.Sleep(7 * time.Second)
			w.Claim(a.answers())
		}
		w.Claim(a.healthy(true, false))
		a.Heal()
	})
}

// unready claims that the member is alive, not ready, and says why.
//
//go:noinline
func (m *member) unready(cause string) harness.Claim {
	return harness.All(m.healthy(true, false), m.reported(func() error {
		if got := m.Health().Cause(); !strings.Contains(strings.ToLower(got), cause) {
			return fmt.Errorf("%s does not say what is wrong: its cause is %q, which should speak of %q", m.Name, got, cause)
		}
		return nil
	}))
}

// Errors are grouped, so that an outage fills neither memory nor a monitoring system, and nothing of a record leaks.
func TestStep10_ErrorsAreGroupedBoundedAndRedacted(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		orders, validation := w.Topic("orders", 6), w.Group("validation")
		var records []*kgo.Record
		for p := range 6 {
			for i := range 10 {
				records = append(records, &kgo.Record{Partition: int32(p), Key: fmt.Appendf(nil, "customer-%d", i), Value: []byte("card 4111-1111")})
			}
		}
		for p := range int32(6) {
			orders.To(p, records[p*10:p*10+10]...)
		}
		failures := make(chan struct{}, 50)
		a := start(w, "a", config(validation, orders, func(c *Config) {
			c.MaxErrorGroups, c.ErrorSamples, c.RetryAfter = 3, 2, 100*time.Millisecond
		}), func(_ context.Context, r *kgo.Record) error {
			select {
			case failures <- struct{}{}:
				return fmt.Errorf("cannot charge %s for %s: %w", r.Value, r.Key, context.DeadlineExceeded)
			default:
				return nil
			}
		})

		w.Until(validation.Drained(orders))
		w.Claim(a.reported(func() error { return errorGroups(a.Stats(), 50) }))
	})
}

func errorGroups(s ops.Stats, failures int64) error {
	var sum int64
	for _, g := range s.Errors {
		sum += g.Count
		if g.Class == "" || len(g.Class) > 40 || strings.Contains(g.Class, "4111") {
			return fmt.Errorf("%q is no class of errors", g.Class)
		}
		if len(g.Samples) == 0 || len(g.Samples) > 2 {
			return fmt.Errorf("group %s of partition %d keeps %d samples; it should be 1 or 2", g.Class, g.Partition, len(g.Samples))
		}
		if latest := g.Samples[len(g.Samples)-1]; !latest.At.Equal(g.Last) || g.Last.Before(g.First) {
			return fmt.Errorf("group %s of partition %d lasted from %v to %v and its latest sample is of %v; the latest are kept, oldest first", g.Class, g.Partition, g.First, g.Last, latest.At)
		}
		for _, sample := range g.Samples {
			if strings.Contains(sample.Message, "4111") || strings.Contains(sample.Message, "customer-") {
				return fmt.Errorf("an error sample shows what is in the record: %q", sample.Message)
			}
		}
	}
	if len(s.Errors) < 2 || len(s.Errors) > 4 {
		return fmt.Errorf("there are %d groups of errors; it should be 2 to 3, and one for what is beyond", len(s.Errors))
	}
	if sum != failures {
		return fmt.Errorf("the groups count %d errors; it should be %d", sum, failures)
	}
	return nil
}

// An alert waits for its "for" time, fires once, and resolves only when the trouble is clearly over.
func TestStep10_AnAlertFiresOnceAndResolvesWithHysteresis(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		orders, validation := w.Topic("orders", 1), w.Group("validation")
		var away atomic.Bool
		away.Store(true)
		a := start(w, "a", config(validation, orders, func(c *Config) {
			c.Alert = Alert{Threshold: 5, Window: time.Minute, For: 30 * time.Second, ResolveBelow: 2, ResolveAfter: time.Minute}
		}), func(context.Context, *kgo.Record) error {
			if away.Load() {
				return errFlaky
			}
			return nil
		})
		orders.Send(0, 1)
		w.Until(failed(a, 5)) // the fifth failure within a minute: from here on something is wrong
		w.Claim(a.alertIs(ops.Pending, 0))
		w.Sleep(29 * time.Second)
		w.Claim(a.alertIs(ops.Pending, 0))
		w.Sleep(time.Second)
		w.Claim(a.alertIs(ops.Firing, 1))
		w.Sleep(2 * time.Minute)
		w.Claim(a.alertIs(ops.Firing, 1)) // once, not at every look

		away.Store(false)
		w.Until(validation.Drained(orders))
		w.Sleep(90 * time.Second) // the window is empty after a minute; a minute below is not over yet
		w.Claim(a.alertIs(ops.Firing, 1))
		w.Sleep(time.Minute)
		w.Claim(a.alertIs(ops.Inactive, 1))
	}, harness.Lasts(8*time.Minute))
}

// A few failures that pass are nothing to wake anybody for.
func TestStep10_ABlipDoesNotFire(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		orders, validation := w.Topic("orders", 1), w.Group("validation")
		a := start(w, "a", config(validation, orders, func(c *Config) {
			c.Alert = Alert{Threshold: 5, Window: 10 * time.Second, For: 30 * time.Second, ResolveBelow: 2, ResolveAfter: time.Minute}
		}), failsFirst(8))
		orders.Send(0, 1)

		w.Until(validation.Drained(orders))
		for range 12 {
			w.Sleep(10 * time.Second)
			w.Claim(a.reported(func() error {
				if got := a.alert(); got.Fired != 0 {
					return fmt.Errorf("the alert fired at %v although the failures were over in 8 s; it waits 30 s", got.FiredAt)
				}
				return nil
			}))
		}
		w.Claim(a.alertIs(ops.Inactive, 0))
	})
}
