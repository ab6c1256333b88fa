package opshttp_test

import (
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kafka-katas/kafka-katas/ops"
	"github.com/kafka-katas/kafka-katas/ops/opshttp"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	"github.com/stretchr/testify/require"
)

func TestMetricsFollowTheConventions(t *testing.T) {
	w := get(opshttp.Handler(newService()), "/metrics")
	require.Equal(t, http.StatusOK, w.Code)
	golden(t, "metrics.txt", w.Body.String())
	problems, err := promlint.New(strings.NewReader(w.Body.String())).Lint()
	require.NoError(t, err)
	require.Empty(t, problems)
}

func TestMetricsOfAServiceThatHasDoneNothing(t *testing.T) {
	s := newService()
	s.stats = func() ops.Stats { return ops.Stats{} }
	page := get(opshttp.Handler(s), "/metrics").Body.String()
	require.Contains(t, page, "kata_up 1\n")
	require.Contains(t, page, "kata_latency_seconds{quantile=\"0.5\"} NaN\n")
	require.NotContains(t, page, "timestamp", "a time that is not known is left out")
}

func TestMetricsOfServicesInOneProcessDoNotClash(t *testing.T) {
	one, two := newService(), newService()
	two.stats = func() ops.Stats { return ops.Stats{Group: "analytics"} }
	a, b := opshttp.Handler(one), opshttp.Handler(two)
	require.Contains(t, get(a, "/metrics").Body.String(), `kata_group_info{group="validation"} 1`)
	require.Contains(t, get(b, "/metrics").Body.String(), `kata_group_info{group="analytics"} 1`)
}

func TestMetricsSurviveWhatPrometheusRefuses(t *testing.T) {
	s := newService()
	s.stats = func() ops.Stats {
		return ops.Stats{
			Latency: ops.Latency{Count: -1},
			Errors: []ops.ErrorGroup{
				{Class: "timeout", Topic: "orders", Count: 2}, {Class: "timeout", Topic: "orders", Count: 3},
				{Class: "bad\xff", Topic: "orders", Count: 1},
			},
			Alerts: []ops.Alert{{Name: "lag", Value: 1}, {Name: "lag", Value: 2}},
		}
	}
	w := get(opshttp.Handler(s), "/metrics")
	require.Equal(t, http.StatusOK, w.Code)
	require.Contains(t, w.Body.String(), `kata_errors_total{class="timeout",partition="0",topic="orders"} 5`)
	require.Contains(t, w.Body.String(), "kata_errors_total{class=\"bad\uFFFD\"")
	require.Contains(t, w.Body.String(), `kata_alert_value{alert="lag"} 2`)
}

func TestAScrapeOfAHangingServiceSaysSoInTime(t *testing.T) {
	hang := func() { time.Sleep(time.Hour) }
	for _, tt := range []struct {
		name          string
		stats, health bool
		has, lacks    string
	}{
		{"both hang", true, true, "kata_up 0\n", "kata_ready"},
		{"statistics hang", true, false, "kata_ready 1\n", "kata_paused"},
		{"health hangs", false, true, "kata_paused 1\n", "kata_ready"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newService()
				well := s.health()
				s.stats = func() ops.Stats {
					if tt.stats {
						hang()
					}
					return busy()
				}
				s.health = func() ops.Health {
					if tt.health {
						hang()
					}
					return well
				}
				began := time.Now()
				w := get(opshttp.Handler(s), "/metrics")
				require.Equal(t, time.Second, time.Since(began), "one timeout, not two")
				time.Sleep(2 * time.Hour) // virtual: whoever hangs may end
				require.Equal(t, http.StatusOK, w.Code)
				require.Contains(t, w.Body.String(), "kata_up 0\n")
				require.Contains(t, w.Body.String(), tt.has)
				require.NotContains(t, w.Body.String(), tt.lacks)
			})
		})
	}
}
