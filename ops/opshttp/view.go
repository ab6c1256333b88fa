package opshttp

import (
	"bytes"
	"encoding/json"
	"math"
	"net/http"
	"strconv"
	"time"

	"github.com/kafka-katas/kafka-katas/ops"
)

// The views are the JSON that others rely on: fields are added, never renamed. Lists are never null, a time that is not
// known is null, and a duration comes twice, as text for people and in seconds for programs.
type (
	statsView struct {
		Since      *string          `json:"since"`
		At         *string          `json:"at"`
		Group      string           `json:"group"`
		Assigned   int              `json:"assigned"`
		Paused     bool             `json:"paused"`
		Totals     countsView       `json:"totals"`
		Latency    latencyView      `json:"latency"`
		Partitions []partitionView  `json:"partitions"`
		Errors     []errorView      `json:"errors"`
		Alerts     []alertView      `json:"alerts"`
		Extra      map[string]int64 `json:"extra"`
	}
	countsView struct {
		Received    int64 `json:"received"`
		Processed   int64 `json:"processed"`
		Filtered    int64 `json:"filtered"`
		Parked      int64 `json:"parked"`
		Dead        int64 `json:"dead"`
		Released    int64 `json:"released"`
		InFlight    int64 `json:"in_flight"`
		Unaccounted int64 `json:"unaccounted"`
		Failed      int64 `json:"failed"`
		Retried     int64 `json:"retried"`
		Redelivered int64 `json:"redelivered"`
	}
	latencyView struct {
		Count      int64   `json:"count"`
		Sum        string  `json:"sum"`
		SumSeconds float64 `json:"sum_seconds"`
		P50        string  `json:"p50"`
		P50Seconds float64 `json:"p50_seconds"`
		P95        string  `json:"p95"`
		P95Seconds float64 `json:"p95_seconds"`
		P99        string  `json:"p99"`
		P99Seconds float64 `json:"p99_seconds"`
		Max        string  `json:"max"`
		MaxSeconds float64 `json:"max_seconds"`
	}
	partitionView struct {
		Topic         string     `json:"topic"`
		Partition     int32      `json:"partition"`
		Assigned      bool       `json:"assigned"`
		Committed     int64      `json:"committed"`
		Position      int64      `json:"position"`
		HighWatermark int64      `json:"high_watermark"`
		Lag           int64      `json:"lag"`
		LastProgress  *string    `json:"last_progress"`
		Counts        countsView `json:"counts"`
	}
	errorView struct {
		Class     string       `json:"class"`
		Topic     string       `json:"topic"`
		Partition int32        `json:"partition"`
		Count     int64        `json:"count"`
		First     *string      `json:"first"`
		Last      *string      `json:"last"`
		Samples   []sampleView `json:"samples"`
	}
	sampleView struct {
		At      *string `json:"at"`
		Offset  int64   `json:"offset"`
		Message string  `json:"message"`
	}
	alertView struct {
		Name       string         `json:"name"`
		State      ops.AlertState `json:"state"`
		Since      *string        `json:"since"`
		FiredAt    *string        `json:"fired_at"`
		ResolvedAt *string        `json:"resolved_at"`
		Fired      int64          `json:"fired"`
		Value      number         `json:"value"`
		Threshold  number         `json:"threshold"`
	}
	healthView struct {
		OK     bool        `json:"ok"`
		Cause  string      `json:"cause"`
		Checks []checkView `json:"checks"`
	}
	checkView struct {
		Name    string     `json:"name"`
		Affects ops.Aspect `json:"affects"`
		OK      bool       `json:"ok"`
		Cause   string     `json:"cause"`
		Since   *string    `json:"since"`
	}
	failureView struct {
		Error string   `json:"error"`
		Paths []string `json:"paths,omitempty"`
	}
	indexView struct {
		Paths []string `json:"paths"`
	}
	doneView struct {
		Done string `json:"done"`
	}
)

// number is a float that JSON may not have a word for: those become null.
type number float64

func (n number) MarshalJSON() ([]byte, error) {
	if math.IsNaN(float64(n)) || math.IsInf(float64(n), 0) {
		return []byte("null"), nil
	}
	return strconv.AppendFloat(nil, float64(n), 'g', -1, 64), nil
}

func viewOfStats(s ops.Stats) statsView {
	v := statsView{
		Since: moment(s.Since), At: moment(s.At), Group: s.Group, Assigned: s.Assigned, Paused: s.Paused,
		Totals: viewOfCounts(s.Totals), Latency: viewOfLatency(s.Latency),
		Partitions: []partitionView{}, Errors: []errorView{}, Alerts: []alertView{}, Extra: s.Extra,
	}
	if v.Extra == nil {
		v.Extra = map[string]int64{}
	}
	for _, p := range s.Partitions {
		v.Partitions = append(v.Partitions, partitionView{
			p.Topic, p.Partition, p.Assigned, p.Committed, p.Position, p.HighWatermark, p.Lag,
			moment(p.LastProgress), viewOfCounts(p.Counts),
		})
	}
	for _, e := range s.Errors {
		samples := []sampleView{}
		for _, x := range e.Samples {
			samples = append(samples, sampleView{moment(x.At), x.Offset, x.Message})
		}
		v.Errors = append(v.Errors, errorView{e.Class, e.Topic, e.Partition, e.Count, moment(e.First), moment(e.Last), samples})
	}
	for _, a := range s.Alerts {
		v.Alerts = append(v.Alerts, alertView{
			a.Name, a.State, moment(a.Since), moment(a.FiredAt), moment(a.ResolvedAt),
			a.Fired, number(a.Value), number(a.Threshold),
		})
	}
	return v
}

func viewOfCounts(c ops.Counts) countsView {
	return countsView{
		Received: c.Received, Processed: c.Processed, Filtered: c.Filtered, Parked: c.Parked, Dead: c.Dead,
		Released: c.Released, InFlight: c.InFlight, Unaccounted: c.Unaccounted(),
		Failed: c.Failed, Retried: c.Retried, Redelivered: c.Redelivered,
	}
}

func viewOfLatency(l ops.Latency) latencyView {
	return latencyView{
		Count: l.Count,
		Sum:   l.Sum.String(), SumSeconds: l.Sum.Seconds(),
		P50: l.P50.String(), P50Seconds: l.P50.Seconds(),
		P95: l.P95.String(), P95Seconds: l.P95.Seconds(),
		P99: l.P99.String(), P99Seconds: l.P99.Seconds(),
		Max: l.Max.String(), MaxSeconds: l.Max.Seconds(),
	}
}

// liveness shows the checks on liveness alone.
func liveness(h ops.Health) healthView {
	var checks []ops.Check
	for _, c := range h.Checks {
		if c.Affects == ops.Liveness {
			checks = append(checks, c)
		}
	}
	return viewOfHealth(h.Live, "live", checks)
}

// readiness shows all checks: who is not live is not ready either.
func readiness(h ops.Health) healthView { return viewOfHealth(h.Ready, "ready", h.Checks) }

func viewOfHealth(ok bool, word string, checks []ops.Check) healthView {
	v := healthView{OK: ok, Cause: ops.Health{Checks: checks}.Cause(), Checks: []checkView{}}
	if !ok && v.Cause == "" {
		v.Cause = "the service says that it is not " + word + " and names no check that fails"
	}
	for _, c := range checks {
		v.Checks = append(v.Checks, checkView{c.Name, c.Affects, c.OK, c.Cause, moment(c.Since)})
	}
	return v
}

// moment is t in UTC, so that two snapshots can be compared as text; null when there is none.
func moment(t time.Time) *string {
	if t.IsZero() {
		return nil
	}
	s := t.UTC().Format(time.RFC3339Nano)
	return &s
}

func reply(w http.ResponseWriter, status int, v any) {
	var body bytes.Buffer
	enc := json.NewEncoder(&body)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	noStore(w)
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(body.Len()))
	w.WriteHeader(status)
	_, _ = w.Write(body.Bytes()) // who asked may be gone; there is nobody to tell
}

// noStore keeps caches out: what these pages say is true now and not later.
func noStore(w http.ResponseWriter) {
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
}
