package opshttp_test

import (
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/kafka-katas/kafka-katas/ops"
	"github.com/stretchr/testify/require"
)

// service is a source whose answers a test chooses.
type service struct {
	stats  func() ops.Stats
	health func() ops.Health
	calls  []string
	delay  func()
}

func (s *service) Stats() ops.Stats   { return s.stats() }
func (s *service) Health() ops.Health { return s.health() }
func (s *service) Pause()             { s.call("pause") }
func (s *service) Resume()            { s.call("resume") }
func (s *service) ResetStats()        { s.call("reset") }

func (s *service) call(word string) {
	if s.delay != nil {
		s.delay()
	}
	s.calls = append(s.calls, word)
}

func newService() *service {
	return &service{stats: busy, health: func() ops.Health {
		return ops.HealthOf(
			ops.Check{Name: "broker", Affects: ops.Readiness, OK: true, Since: noon},
			ops.Check{Name: "progress", Affects: ops.Liveness, OK: true, Since: noon},
		)
	}}
}

// watched has no controls.
type watched struct{ ops.Source }

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// busy is a snapshot in which every field says something.
func busy() ops.Stats {
	p0 := ops.PartitionStats{
		Topic: "orders", Partition: 0, Assigned: true, Committed: 17, Position: 18, HighWatermark: 23, Lag: 6,
		LastProgress: noon.Add(89*time.Second + 250*time.Millisecond),
		Counts:       ops.Counts{Received: 20, Processed: 12, Filtered: 2, Parked: 1, Dead: 1, Released: 3, InFlight: 1, Failed: 4, Retried: 3, Redelivered: 2},
	}
	p1 := ops.PartitionStats{Topic: "orders", Partition: 1, Assigned: true, Committed: ops.Unknown, Position: ops.Unknown, HighWatermark: ops.Unknown, Lag: ops.Unknown}
	return ops.Stats{
		Since: noon, At: noon.Add(90 * time.Second).In(time.FixedZone("elsewhere", 3600)), Group: "validation",
		Totals: p0.Counts.Add(p1.Counts), Partitions: []ops.PartitionStats{p0, p1}, Assigned: 2, Paused: true,
		Latency: ops.Latency{Count: 12, Sum: 3 * time.Second, P50: 200 * time.Millisecond, P95: 900 * time.Millisecond, P99: time.Second, Max: 1500 * time.Millisecond},
		Errors: []ops.ErrorGroup{{
			Class: "timeout", Topic: "orders", Partition: 0, Count: 4, First: noon.Add(time.Second), Last: noon.Add(4 * time.Second),
			Samples: []ops.ErrorSample{{At: noon.Add(4 * time.Second), Offset: 16, Message: "no answer from <stock> in 1s"}},
		}},
		Alerts: []ops.Alert{
			{Name: "failures", State: ops.Firing, Since: noon.Add(time.Minute), FiredAt: noon.Add(time.Minute), Fired: 1, Value: 0.25, Threshold: 0.1},
			{Name: "lag", Value: math.NaN(), Threshold: 1000},
		},
		Extra: map[string]int64{"rebalances": 2, "commits_suppressed": 1},
	}
}

// get asks h for a page without a network.
func get(h http.Handler, path string) *httptest.ResponseRecorder { return do(h, "GET", path) }

func do(h http.Handler, method, path string, header ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, path, nil)
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// golden compares got with testdata/name; UPDATE_GOLDEN=1 writes it anew.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if os.Getenv("UPDATE_GOLDEN") != "" {
		require.NoError(t, os.WriteFile(path, []byte(got), 0o644))
	}
	want, err := os.ReadFile(path)
	require.NoError(t, err)
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s differs (-want +got); UPDATE_GOLDEN=1 accepts it:\n%s", path, diff)
	}
}
