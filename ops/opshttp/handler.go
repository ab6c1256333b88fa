package opshttp

import (
	"crypto/sha256"
	"crypto/subtle"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/kafka-katas/kafka-katas/ops"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Option changes what [Handler] does.
type Option func(*handler)

// Timeout is how long the service has for an answer; 1 s without this option. A probe must learn of a hanging service
// before its own patience ends, so keep it below the probe's.
func Timeout(d time.Duration) Option { return func(h *handler) { h.timeout = d } }

// Token asks for "Authorization: Bearer <token>" on the management calls. The empty token asks for nothing. Without TLS
// in front a token can be read on the way: it keeps out accidents, not attackers on the network.
func Token(token string) Option { return func(h *handler) { h.token = token } }

// ReadOnly leaves the management calls out.
func ReadOnly() Option { return func(h *handler) { h.readOnly = true } }

// Handler shows s. The management calls are there if s has [ops.Controls] too. Handlers share nothing: each has its own
// Prometheus registry, so that several services in one process do not clash.
func Handler(s ops.Source, opts ...Option) http.Handler {
	h := &handler{timeout: time.Second, pages: map[string]page{}}
	for _, o := range opts {
		o(h)
	}
	h.stats, h.health, h.controls = newGate(h.timeout), newGate(h.timeout), newGate(h.timeout)

	get := []string{http.MethodGet, http.MethodHead}
	h.pages["/"] = page{get, h.index}
	h.pages["/stats"] = page{get, h.showStats(s)}
	h.pages["/metrics"] = page{get, h.metrics(s)}
	h.pages["/healthz"] = page{get, h.showHealth(s, liveness)}
	h.pages["/readyz"] = page{get, h.showHealth(s, readiness)}
	if c, ok := s.(ops.Controls); ok && !h.readOnly {
		post := []string{http.MethodPost}
		h.pages["/pause"] = page{post, h.manage("pause", "Pause", c.Pause)}
		h.pages["/resume"] = page{post, h.manage("resume", "Resume", c.Resume)}
		h.pages["/reset"] = page{post, h.manage("reset", "ResetStats", c.ResetStats)}
	}
	return h
}

type handler struct {
	timeout  time.Duration
	token    string
	readOnly bool
	pages    map[string]page

	stats, health, controls *gate
}

type page struct {
	methods []string
	show    http.HandlerFunc
}

func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p, ok := h.pages[r.URL.Path]
	if !ok {
		reply(w, http.StatusNotFound, failureView{Error: "there is no page " + r.URL.Path, Paths: h.paths()})
		return
	}
	if !slices.Contains(p.methods, r.Method) {
		allow := strings.Join(p.methods, ", ")
		w.Header().Set("Allow", allow)
		reply(w, http.StatusMethodNotAllowed, failureView{Error: r.URL.Path + " takes " + allow + ", not " + r.Method})
		return
	}
	p.show(w, r)
}

// paths lists what there is, as "GET /stats".
func (h *handler) paths() []string {
	out := make([]string, 0, len(h.pages))
	for path, p := range h.pages {
		if path != "/" {
			out = append(out, p.methods[0]+" "+path)
		}
	}
	slices.Sort(out)
	return out
}

func (h *handler) index(w http.ResponseWriter, _ *http.Request) {
	reply(w, http.StatusOK, indexView{Paths: h.paths()})
}

func (h *handler) showStats(s ops.Source) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		stats, err := ask(r.Context(), h.stats, "Stats", s.Stats)
		if err != nil {
			reply(w, http.StatusServiceUnavailable, failureView{Error: err.Error()})
			return
		}
		reply(w, http.StatusOK, viewOfStats(stats))
	}
}

func (h *handler) showHealth(s ops.Source, view func(ops.Health) healthView) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		health, err := ask(r.Context(), h.health, "Health", s.Health)
		if err != nil {
			reply(w, http.StatusServiceUnavailable, healthView{Cause: err.Error(), Checks: []checkView{}})
			return
		}
		v := view(health)
		status := http.StatusOK
		if !v.OK {
			status = http.StatusServiceUnavailable
		}
		reply(w, status, v)
	}
}

func (h *handler) metrics(s ops.Source) http.HandlerFunc {
	registry := prometheus.NewRegistry()
	registry.MustRegister(&collector{h: h, source: s})
	// What can be shown is shown: one bad value must not blind the rest of the monitoring.
	prom := promhttp.HandlerFor(registry, promhttp.HandlerOpts{ErrorHandling: promhttp.ContinueOnError, DisableCompression: true})
	return func(w http.ResponseWriter, r *http.Request) {
		noStore(w)
		prom.ServeHTTP(w, r)
	}
}

// manage makes a page that calls do.
func (h *handler) manage(word, method string, do func()) http.HandlerFunc {
	// A web page that somebody has open must not be able to pause a consumer on their machine.
	sameOrigin := http.NewCrossOriginProtection()
	return func(w http.ResponseWriter, r *http.Request) {
		if err := sameOrigin.Check(r); err != nil {
			reply(w, http.StatusForbidden, failureView{Error: err.Error()})
			return
		}
		if !h.allowed(r) {
			w.Header().Set("WWW-Authenticate", "Bearer")
			reply(w, http.StatusUnauthorized, failureView{Error: word + " needs the header Authorization: Bearer <token>, with the right token"})
			return
		}
		_, err := ask(r.Context(), h.controls, method, func() struct{} { do(); return struct{}{} })
		if err != nil {
			reply(w, http.StatusServiceUnavailable, failureView{Error: err.Error()})
			return
		}
		reply(w, http.StatusOK, doneView{Done: word})
	}
}

// allowed compares digests, so that the time taken tells nothing of the token, not even its length.
func (h *handler) allowed(r *http.Request) bool {
	if h.token == "" {
		return true
	}
	scheme, given, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	want, got := sha256.Sum256([]byte(h.token)), sha256.Sum256([]byte(strings.TrimSpace(given)))
	return strings.EqualFold(scheme, "Bearer") && subtle.ConstantTimeCompare(want[:], got[:]) == 1
}
