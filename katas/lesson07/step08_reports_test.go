package lesson07

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"time"

	"github.com/kafka-katas/kafka-katas/harness"
	"github.com/kafka-katas/kafka-katas/ops"
)

// consistent claims that a snapshot accounts for every record, and that its parts agree.
//
//go:noinline
func (m *member) consistent() harness.Claim {
	return m.reported(func() error {
		s := m.Stats()
		if s.Group == "" || s.Since.IsZero() || s.At.Before(s.Since) {
			return fmt.Errorf("%s does not say which group and time its statistics are of: group %q, from %v to %v", m.Name, s.Group, s.Since, s.At)
		}
		if n := s.Totals.Unaccounted(); n != 0 {
			return fmt.Errorf("%s received %d records and its other columns add up to %d: %+v", m.Name, s.Totals.Received, s.Totals.Received-n, s.Totals)
		}
		var sum ops.Counts
		assigned := 0
		for _, p := range s.Partitions {
			sum = sum.Add(p.Counts)
			if p.Assigned {
				assigned++
			}
			if n := p.Unaccounted(); n != 0 {
				return fmt.Errorf("%s received %d records of partition %d and its other columns add up to %d: %+v", m.Name, p.Received, p.Partition, p.Received-n, p.Counts)
			}
		}
		if sum != s.Totals {
			return fmt.Errorf("%s's totals are not the sum of its partitions: %s", m.Name, unlike(sum, s.Totals))
		}
		if assigned != s.Assigned {
			return fmt.Errorf("%s says it owns %d partitions and lists %d", m.Name, s.Assigned, assigned)
		}
		return nil
	})
}

// accounts claims exact totals.
//
//go:noinline
func (m *member) accounts(want ops.Counts) harness.Claim {
	return harness.All(m.consistent(), m.reported(func() error {
		if diff := unlike(want, m.Stats().Totals); diff != "" {
			return fmt.Errorf("%s's totals are wrong: %s", m.Name, diff)
		}
		return nil
	}))
}

// latencies claims exact latencies.
//
//go:noinline
func (m *member) latencies(want ops.Latency) harness.Claim {
	return func(w *harness.World) error {
		return m.reported(func() error {
			got := m.Stats().Latency
			if w.Exact() && got != want {
				return fmt.Errorf("%s's latencies are wrong: %s", m.Name, unlike(want, got))
			}
			if got.Count != want.Count || got.Max < want.Max || got.P50 < want.P50 {
				return fmt.Errorf("%s's latencies are below what the handler took: %s", m.Name, unlike(want, got))
			}
			return nil
		})(w)
	}
}

// lagIs claims the lag over all partitions that the member owns.
//
//go:noinline
func (m *member) lagIs(want int64) harness.Claim {
	return m.reported(func() error {
		var lag int64
		for _, p := range m.Stats().Partitions {
			if p.Assigned {
				lag += p.Lag
			}
		}
		if lag != want {
			return fmt.Errorf("%s reports a lag of %d; it should be %d", m.Name, lag, want)
		}
		return nil
	})
}

// stands claims where a member says that a partition stands.
//
//go:noinline
func (m *member) stands(t *harness.Topic, partition int32, committed, position, end int64) harness.Claim {
	return m.reported(func() error {
		for _, p := range m.Stats().Partitions {
			if p.Topic != t.Name || p.Partition != partition {
				continue
			}
			if p.Committed != committed || p.Position != position || p.HighWatermark != end {
				return fmt.Errorf("%s reports %s/%d committed at %d, position %d and high watermark %d; it should be %d, %d and %d",
					m.Name, t, partition, p.Committed, p.Position, p.HighWatermark, committed, position, end)
			}
			return nil
		}
		return fmt.Errorf("%s reports nothing of %s/%d, which it owns", m.Name, t, partition)
	})
}

// unlike is what a report says otherwise than it should; "" for nothing. (cmp.Diff would do; but a program that has it keeps
// every method of every type, and takes a tenth of a second longer to link.)
func unlike(want, got any) string {
	w, g := reflect.ValueOf(want), reflect.ValueOf(got)
	var out []string
	for i := range w.NumField() {
		if a, b := w.Field(i).Interface(), g.Field(i).Interface(); !reflect.DeepEqual(a, b) {
			out = append(out, fmt.Sprintf("%s is %+v, not %+v", w.Type().Field(i).Name, b, a))
		}
	}
	return strings.Join(out, ", ")
}

// frozen is a copy of a snapshot that shares nothing with it.
func frozen(s ops.Stats) (out ops.Stats) {
	text, err := json.Marshal(s)
	if err == nil {
		err = json.Unmarshal(text, &out)
	}
	if err != nil {
		panic(err)
	}
	return out
}

//go:noinline
func (m *member) paused(want bool) harness.Claim {
	return m.reported(func() error {
		if got := m.Stats().Paused; got != want {
			return fmt.Errorf("%s reports paused=%t; it should be %t", m.Name, got, want)
		}
		return nil
	})
}

// answers claims that statistics and health are answered at once, whatever Kafka does.
//
//go:noinline
func (m *member) answers() harness.Claim {
	return func(w *harness.World) error {
		began := w.Now()
		done := make(chan struct{})
		go func() {
			m.Stats()
			m.Health()
			close(done)
		}()
		select {
		case <-done:
		case <-time.After(time.Minute):
			return harness.Broke[harness.Stuck]("a probe that does not answer gets the process killed, in the middle of an outage that it could have survived",
				"%s has not answered Stats and Health for a minute while Kafka hangs", m.Name)
		}
		err := harness.AtMost("answering Stats and Health, "+m.Name, w.Now()-began, 0)(w)
		if b := harness.BreachOf(err); b != nil {
			b.Why = "they answer from memory: a probe that asks Kafka times out with it, and gets a process killed that could have survived"
		}
		return harness.Shown(err, m.lately(w)...)
	}
}

// alert is the member's one alert.
func (m *member) alert() ops.Alert {
	for _, a := range m.Stats().Alerts {
		if a.Name == "handler_failures" {
			return a
		}
	}
	return ops.Alert{Name: "no alert handler_failures is reported"}
}

// alertIs claims where the alert stands and how often it has fired.
//
//go:noinline
func (m *member) alertIs(state ops.AlertState, fired int64) harness.Claim {
	return func(w *harness.World) error {
		return m.reported(func() error {
			if a := m.alert(); a.State != state || a.Fired != fired {
				return fmt.Errorf("at %v alert %s of %s is %v and has fired %d times; it should be %v, fired %d times", w.Now(), a.Name, m.Name, a.State, a.Fired, state, fired)
			}
			return nil
		})(w)
	}
}
