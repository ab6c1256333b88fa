package meter_test

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kafka-katas/kafka-katas/ops"
	"github.com/kafka-katas/kafka-katas/ops/meter"
)

func TestTheServiceHasChecksOfItsOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		m := meter.New(meter.Config{Group: "g"})
		m.Check("store", ops.Liveness, nil)
		time.Sleep(time.Second)
		m.Check("dead_letter_topic", ops.Readiness, errors.New("does not exist"))
		m.Check("broker", ops.Liveness, errors.New("is taken"))
		time.Sleep(time.Minute)
		m.Check("dead_letter_topic", ops.Readiness, errors.New("may not be written"))

		checks := m.Health().Checks
		require.Equal(t, []ops.Check{
			{Name: "broker", Cause: "not running", Since: began.Add(time.Minute + time.Second)},
			{Name: "group", Cause: "not running", Since: began.Add(time.Minute + time.Second)},
			{Name: "progress", Affects: ops.Liveness, OK: true, Since: began},
			{Name: "run", Affects: ops.Liveness, OK: true, Since: began},
			{Name: "dead_letter_topic", Cause: "may not be written", Since: began.Add(time.Second)},
			{Name: "store", Affects: ops.Liveness, OK: true, Since: began},
		}, checks)
	})
}

func TestARunThatEndsWithAnErrorIsNotAlive(t *testing.T) {
	m := meter.New(meter.Config{})
	m.Started()
	m.Polled(fetched(records(0, 0, 3)))
	require.Equal(t, 1, m.Stats().Assigned)
	m.Stopped(errors.New("fenced"))
	require.False(t, m.Health().Live)
	require.Contains(t, m.Health().Cause(), "run: fenced")
	require.Equal(t, ops.Counts{Received: 3, Released: 3}, m.Stats().Totals)
	require.Zero(t, m.Stats().Assigned)

	m.Started()
	require.True(t, m.Health().Live)
	m.Stopped(nil)
	require.True(t, m.Health().Live)
}
