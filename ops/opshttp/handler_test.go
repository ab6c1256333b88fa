package opshttp_test

import (
	"encoding/json"
	"net/http"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kafka-katas/kafka-katas/ops"
	"github.com/kafka-katas/kafka-katas/ops/opshttp"
	"github.com/stretchr/testify/require"
)

func TestStatsAreStableJSON(t *testing.T) {
	w := get(opshttp.Handler(newService()), "/stats")
	require.Equal(t, http.StatusOK, w.Code)
	require.Equal(t, "application/json", w.Header().Get("Content-Type"))
	require.Equal(t, "no-store", w.Header().Get("Cache-Control"))
	golden(t, "stats.json", w.Body.String())
}

func TestStatsOfAServiceThatHasDoneNothingHaveNoNullLists(t *testing.T) {
	s := newService()
	s.stats = func() ops.Stats { return ops.Stats{} }
	golden(t, "stats_empty.json", get(opshttp.Handler(s), "/stats").Body.String())
}

func TestHealthHasTwoPages(t *testing.T) {
	unready := ops.Check{Name: "broker", Affects: ops.Readiness, Cause: "no broker answers"}
	wedged := ops.Check{Name: "progress", Affects: ops.Liveness, Cause: "orders/3 stands still for 30s"}
	well := ops.Check{Name: "progress", Affects: ops.Liveness, OK: true}
	for _, tt := range []struct {
		name          string
		health        ops.Health
		live, ready   int
		liveCause     string
		readyCause    string
		onLive, onAll int
	}{
		{"well", ops.HealthOf(well), 200, 200, "", "", 1, 1},
		{"no checks", ops.HealthOf(), 200, 200, "", "", 0, 0},
		{"broker down", ops.HealthOf(well, unready), 200, 503, "", "broker: no broker answers", 1, 2},
		{"wedged", ops.HealthOf(wedged), 503, 503, "progress: orders/3 stands still for 30s", "progress: orders/3 stands still for 30s", 1, 1},
		{"forgot to say", ops.Health{}, 503, 503,
			"the service says that it is not live and names no check that fails",
			"the service says that it is not ready and names no check that fails", 0, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newService()
			s.health = func() ops.Health { return tt.health }
			h := opshttp.Handler(s)
			for path, want := range map[string]struct {
				status, checks int
				cause          string
			}{"/healthz": {tt.live, tt.onLive, tt.liveCause}, "/readyz": {tt.ready, tt.onAll, tt.readyCause}} {
				w := get(h, path)
				require.Equal(t, want.status, w.Code, path)
				var body struct {
					OK     bool
					Cause  string
					Checks []struct{ Name, Affects string }
				}
				require.NoError(t, json.Unmarshal(w.Body.Bytes(), &body))
				require.Equal(t, want.status == 200, body.OK, path)
				require.Equal(t, want.cause, body.Cause, path)
				require.NotNil(t, body.Checks)
				require.Len(t, body.Checks, want.checks, path)
			}
		})
	}
}

func TestAServiceThatMisbehavesIsReportedInASentence(t *testing.T) {
	for _, tt := range []struct {
		name  string
		do    func()
		says  string
		after time.Duration
	}{
		{"panics", func() { panic("nil map") }, " panicked: nil map", 0},
		{"ends its goroutine", runtime.Goexit, " ended its goroutine instead of answering", 0},
		{"is late", func() { time.Sleep(time.Second + 1) }, " has not answered within 1s: ", time.Second},
		{"is just in time", func() { time.Sleep(time.Second - 1) }, "", time.Second - 1},
	} {
		for path, method := range map[string]string{"/stats": "Stats", "/healthz": "Health", "/readyz": "Health", "/pause": "Pause"} {
			t.Run(tt.name+path, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					s := newService()
					s.stats = func() ops.Stats { tt.do(); return busy() }
					s.health = func() ops.Health { tt.do(); return ops.HealthOf() }
					s.delay = tt.do
					began := time.Now()
					verb := "GET"
					if path == "/pause" {
						verb = "POST"
					}
					w := do(opshttp.Handler(s), verb, path)
					require.Equal(t, tt.after, time.Since(began))
					time.Sleep(time.Hour) // virtual: whoever was late may end
					if tt.says == "" {
						require.Equal(t, http.StatusOK, w.Code)
						return
					}
					require.Equal(t, http.StatusServiceUnavailable, w.Code)
					require.Contains(t, w.Body.String(), method+tt.says)
				})
			})
		}
	}
}

func TestAHangingServiceHoldsOneGoroutineHoweverOftenItIsProbed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var inside atomic.Int64
		release := make(chan struct{})
		s := newService()
		s.health = func() ops.Health { inside.Add(1); <-release; return ops.HealthOf() }
		h := opshttp.Handler(s, opshttp.Timeout(100*time.Millisecond))

		began := time.Now()
		for range 50 {
			require.Equal(t, http.StatusServiceUnavailable, get(h, "/healthz").Code)
		}
		require.EqualValues(t, 1, inside.Load())
		require.Equal(t, 50*100*time.Millisecond, time.Since(began))
		require.Equal(t, http.StatusOK, get(h, "/stats").Code, "statistics do not wait behind health")

		close(release)
		synctest.Wait()
		require.Equal(t, http.StatusOK, get(h, "/healthz").Code, "once the service is back, so is its health")
	})
}

func TestManagementCallsReachTheService(t *testing.T) {
	s := newService()
	h := opshttp.Handler(s)
	for _, path := range []string{"/pause", "/resume", "/reset"} {
		w := do(h, "POST", path)
		require.Equal(t, http.StatusOK, w.Code)
		require.JSONEq(t, `{"done":"`+path[1:]+`"}`, w.Body.String())
	}
	require.Equal(t, []string{"pause", "resume", "reset"}, s.calls)
}

func TestManagementCallsAreGuarded(t *testing.T) {
	token := []opshttp.Option{opshttp.Token("s3cret")}
	for _, tt := range []struct {
		name   string
		opts   []opshttp.Option
		method string
		header []string
		want   int
	}{
		{"a link or a crawler", nil, "GET", nil, http.StatusMethodNotAllowed},
		{"a HEAD", nil, "HEAD", nil, http.StatusMethodNotAllowed},
		{"switched off", []opshttp.Option{opshttp.ReadOnly()}, "POST", nil, http.StatusNotFound},
		{"no token", token, "POST", nil, http.StatusUnauthorized},
		{"another token", token, "POST", []string{"Authorization", "Bearer s3cre"}, http.StatusUnauthorized},
		{"another scheme", token, "POST", []string{"Authorization", "Basic s3cret"}, http.StatusUnauthorized},
		{"the token", token, "POST", []string{"Authorization", "bearer s3cret"}, http.StatusOK},
		{"the empty token asks for nothing", []opshttp.Option{opshttp.Token("")}, "POST", nil, http.StatusOK},
		{"a form on another site", nil, "POST", []string{"Sec-Fetch-Site", "cross-site"}, http.StatusForbidden},
		{"a form on another site, old browser", nil, "POST", []string{"Origin", "https://elsewhere.example"}, http.StatusForbidden},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newService()
			w := do(opshttp.Handler(s, tt.opts...), tt.method, "/pause", tt.header...)
			require.Equal(t, tt.want, w.Code, w.Body)
			require.Equal(t, tt.want == http.StatusOK, len(s.calls) == 1)
			require.NotContains(t, w.Body.String(), "s3cret")
			switch tt.want {
			case http.StatusMethodNotAllowed:
				require.Equal(t, "POST", w.Header().Get("Allow"))
			case http.StatusUnauthorized:
				require.Equal(t, "Bearer", w.Header().Get("WWW-Authenticate"))
			}
		})
	}
	t.Run("a service without controls", func(t *testing.T) {
		require.Equal(t, http.StatusNotFound, do(opshttp.Handler(watched{newService()}), "POST", "/pause").Code)
	})
}

func TestPagesAreReadOnly(t *testing.T) {
	for _, path := range []string{"/", "/stats", "/metrics", "/healthz", "/readyz"} {
		for _, method := range []string{"POST", "PUT", "DELETE", "OPTIONS"} {
			w := do(opshttp.Handler(newService()), method, path)
			require.Equal(t, http.StatusMethodNotAllowed, w.Code)
			require.Equal(t, "GET, HEAD", w.Header().Get("Allow"))
		}
	}
}

func TestAnUnknownPathListsWhatThereIs(t *testing.T) {
	const all = `"GET /healthz","GET /metrics","GET /readyz","GET /stats"`
	h := opshttp.Handler(newService(), opshttp.ReadOnly())
	for _, path := range []string{"/status", "/stats/", "/../stats"} {
		w := get(h, path)
		require.Equal(t, http.StatusNotFound, w.Code)
		require.JSONEq(t, `{"error":"there is no page `+path+`","paths":[`+all+`]}`, w.Body.String())
	}
	require.JSONEq(t, `{"paths":[`+all+`]}`, get(h, "/").Body.String())
	require.Equal(t, 3, strings.Count(get(opshttp.Handler(newService()), "/").Body.String(), "POST"))
}
