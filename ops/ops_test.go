package ops_test

import (
	"fmt"
	"reflect"
	"testing"

	"github.com/kafka-katas/kafka-katas/ops"
	"github.com/stretchr/testify/require"
)

func TestCountsAddEveryField(t *testing.T) {
	var a, b ops.Counts
	av, bv := reflect.ValueOf(&a).Elem(), reflect.ValueOf(&b).Elem()
	for i := range av.NumField() {
		av.Field(i).SetInt(int64(i + 1))
		bv.Field(i).SetInt(100 * int64(i+1))
	}
	sum := reflect.ValueOf(a.Add(b))
	for i := range sum.NumField() {
		require.EqualValues(t, 101*(i+1), sum.Field(i).Int(), sum.Type().Field(i).Name)
	}
}

func TestUnaccountedIsWhatNoCountKnows(t *testing.T) {
	for _, tt := range []struct {
		name string
		c    ops.Counts
		want int64
	}{
		{"nothing yet", ops.Counts{}, 0},
		{"one of each", ops.Counts{Received: 6, Processed: 1, Filtered: 1, Parked: 1, Dead: 1, Released: 1, InFlight: 1}, 0},
		{"one missing", ops.Counts{Received: 3, Processed: 2}, 1},
		{"one too many", ops.Counts{Received: 1, Processed: 2}, -1},
		{"attempts and redeliveries are apart", ops.Counts{Received: 1, Processed: 1, Failed: 4, Retried: 4, Redelivered: 1}, 0},
	} {
		t.Run(tt.name, func(t *testing.T) { require.Equal(t, tt.want, tt.c.Unaccounted()) })
	}
}

func TestHealthKeepsLivenessAndReadinessApart(t *testing.T) {
	up := ops.Check{Name: "broker", OK: true}
	unready := ops.Check{Name: "broker", Affects: ops.Readiness, Cause: "no broker answers"}
	dead := ops.Check{Name: "progress", Affects: ops.Liveness, Cause: "orders/3 stands still"}
	for _, tt := range []struct {
		name        string
		checks      []ops.Check
		live, ready bool
		cause       string
	}{
		{"no checks", nil, true, true, ""},
		{"all well", []ops.Check{up}, true, true, ""},
		{"broker down", []ops.Check{unready}, true, false, "broker: no broker answers"},
		{"wedged", []ops.Check{up, dead}, false, false, "progress: orders/3 stands still"},
		{"both", []ops.Check{dead, unready}, false, false, "progress: orders/3 stands still; broker: no broker answers"},
		{"aspect and cause forgotten", []ops.Check{{Name: "group"}}, true, false, "group"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := ops.HealthOf(tt.checks...)
			require.Equal(t, [2]bool{tt.live, tt.ready}, [2]bool{h.Live, h.Ready})
			require.Equal(t, tt.cause, h.Cause())
		})
	}
}

func TestWordsSurviveTheWayThroughText(t *testing.T) {
	for _, s := range []ops.AlertState{ops.Inactive, ops.Pending, ops.Firing} {
		text, err := s.MarshalText()
		require.NoError(t, err)
		var back ops.AlertState
		require.NoError(t, back.UnmarshalText(text))
		require.Equal(t, s, back)
	}
	var a ops.Aspect
	require.NoError(t, a.UnmarshalText([]byte("liveness")))
	require.Equal(t, ops.Liveness, a)
	require.EqualError(t, a.UnmarshalText([]byte("alive")), `"alive" is none of ["readiness" "liveness"]`)
	require.Equal(t, "ops.AlertState(9)", ops.AlertState(9).String())
}

func ExampleCounts_Unaccounted() {
	c := ops.Counts{Received: 10, Processed: 7, Dead: 1, InFlight: 1}
	fmt.Println(c.Unaccounted(), "record went missing")
	// Output: 1 record went missing
}

func ExampleHealthOf() {
	h := ops.HealthOf(
		ops.Check{Name: "broker", Affects: ops.Readiness, Cause: "no broker has answered for 12s"},
		ops.Check{Name: "progress", Affects: ops.Liveness, OK: true},
	)
	fmt.Println("live:", h.Live, "ready:", h.Ready)
	fmt.Println(h.Cause())
	// Output:
	// live: true ready: false
	// broker: no broker has answered for 12s
}
