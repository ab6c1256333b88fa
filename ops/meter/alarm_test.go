package meter_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kafka-katas/kafka-katas/ops"
	"github.com/kafka-katas/kafka-katas/ops/meter"
)

func TestAnAlertFiresOnceAndResolvesWithHysteresis(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := meter.New(meter.Config{Rules: []meter.Rule{
			meter.DefaultRule("handler_failures"),
			{Name: "dead_letters", Threshold: 3, Window: time.Minute, For: 30 * time.Second, ResolveBelow: 2, ResolveAfter: 20 * time.Second},
		}})
		began := time.Now()
		alert := func() ops.Alert {
			alerts := m.Stats().Alerts
			require.Equal(t, "handler_failures", alerts[1].Name)
			require.Equal(t, ops.Inactive, alerts[1].State)
			return alerts[0]
		}
		at := func(s int) time.Time { return began.Add(time.Duration(s) * time.Second) }
		want := ops.Alert{Name: "dead_letters", Threshold: 3, Since: began}

		for range 3 { // at 0, 10 and 20 s
			require.Equal(t, want, alert())
			m.Signal("dead_letters")
			m.Signal("unheard of")
			want.Value++
			if want.Value < 3 {
				time.Sleep(10 * time.Second)
			}
		}
		want.State, want.Since = ops.Pending, at(20)
		require.Equal(t, want, alert())
		time.Sleep(30*time.Second - time.Nanosecond)
		require.Equal(t, want, alert())
		time.Sleep(time.Nanosecond) // at 50 s
		want.State, want.Since, want.FiredAt, want.Fired = ops.Firing, at(50), at(50), 1
		require.Equal(t, want, alert())

		time.Sleep(20 * time.Second) // the second left the window this moment: below 2
		want.Value = 1
		require.Equal(t, want, alert())
		time.Sleep(10 * time.Second)
		m.Signal("dead_letters") // the third leaves, this one comes: still below
		require.Equal(t, want, alert())
		m.Signal("dead_letters") // at 80 s it is 2 again: all over
		want.Value = 2
		require.Equal(t, want, alert())

		time.Sleep(time.Hour) // nobody looks; both left at 140 s
		want.State, want.Since, want.ResolvedAt, want.Value = ops.Inactive, at(160), at(160), 0
		require.Equal(t, want, alert())
	})
}

func TestABlipDoesNotFire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := meter.New(meter.Config{Rules: []meter.Rule{{Name: "x", Threshold: 2, Window: 10 * time.Second, For: 30 * time.Second}}})
		for range 5000 {
			m.Signal("x")
		}
		require.EqualValues(t, 1024, m.Stats().Alerts[0].Value)
		time.Sleep(time.Hour)
		require.Zero(t, m.Stats().Alerts[0].Fired)
		require.Equal(t, ops.Inactive, m.Stats().Alerts[0].State)
	})
}
