package opshttp

import (
	"context"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/kafka-katas/kafka-katas/ops"
	"github.com/prometheus/client_golang/prometheus"
)

// metric is one name on /metrics.
type metric struct {
	desc *prometheus.Desc
	kind prometheus.ValueType
}

func counter(name, help string, labels ...string) metric {
	return metric{prometheus.NewDesc(name, help, labels, nil), prometheus.CounterValue}
}

func gauge(name, help string, labels ...string) metric {
	return metric{prometheus.NewDesc(name, help, labels, nil), prometheus.GaugeValue}
}

// The metrics. Labels are of things that are few: partitions, error classes, checks, alerts. There are no totals, since
// Prometheus sums by itself and a total beside its parts would be counted twice.
var (
	received    = counter("kata_records_received_total", "Records received; redeliveries count again.", "topic", "partition")
	processed   = counter("kata_records_processed_total", "Records whose handler returned without an error.", "topic", "partition")
	filtered    = counter("kata_records_filtered_total", "Records deliberately not handled.", "topic", "partition")
	parked      = counter("kata_records_parked_total", "Records set aside to be taken up again.", "topic", "partition")
	dead        = counter("kata_records_dead_total", "Records given up.", "topic", "partition")
	released    = counter("kata_records_released_total", "Records handed back unfinished on revoke or stop.", "topic", "partition")
	redelivered = counter("kata_records_redelivered_total", "Deliveries of an offset that this process had received before.", "topic", "partition")
	failed      = counter("kata_attempts_failed_total", "Handler attempts that returned an error.", "topic", "partition")
	retried     = counter("kata_attempts_retried_total", "Handler attempts after a record's first.", "topic", "partition")
	inFlight    = gauge("kata_records_in_flight", "Records received and not done with.", "topic", "partition")

	lag           = gauge("kata_partition_lag", "Offsets between the end of the partition and the commit.", "topic", "partition")
	committed     = gauge("kata_partition_committed_offset", "The group's committed offset.", "topic", "partition")
	position      = gauge("kata_partition_position_offset", "The offset after the last record received.", "topic", "partition")
	highWatermark = gauge("kata_partition_high_watermark_offset", "The end of the partition at the last fetch.", "topic", "partition")
	assigned      = gauge("kata_partition_assigned", "1 while this process owns the partition.", "topic", "partition")
	lastProgress  = gauge("kata_partition_last_progress_timestamp_seconds", "When a record of the partition was last done with.", "topic", "partition")

	errorsSeen     = counter("kata_errors_total", "Errors by class.", "class", "topic", "partition")
	extra          = counter("kata_extra_total", "The lesson's own counters.", "counter")
	alertFiring    = gauge("kata_alert_firing", "1 while the alert is firing.", "alert")
	alertPending   = gauge("kata_alert_pending", "1 while the alert's condition holds and its time is not up.", "alert")
	alertFired     = counter("kata_alert_fired_total", "How often the alert became firing.", "alert")
	alertValue     = gauge("kata_alert_value", "What the alert watches.", "alert")
	alertThreshold = gauge("kata_alert_threshold", "What the alert's value is compared with.", "alert")
	latencyMax     = gauge("kata_latency_max_seconds", "The longest time from poll to success.")
	paused         = gauge("kata_paused", "1 while intake is paused.")
	since          = gauge("kata_stats_since_timestamp_seconds", "When the statistics began.")
	group          = gauge("kata_group_info", "The consumer group, as a label.", "group")

	up      = gauge("kata_up", "1 if the service answered in time; 0: what is missing is not known.")
	live    = gauge("kata_live", "1 while the service is live.")
	ready   = gauge("kata_ready", "1 while the service is ready.")
	checkOK = gauge("kata_check_ok", "1 while the check holds.", "check", "affects")

	latency = prometheus.NewDesc("kata_latency_seconds", "Time from poll, queue wait included, to the handler's success.", nil, nil)

	metrics = []metric{
		received, processed, filtered, parked, dead, released, redelivered, failed, retried, inFlight,
		lag, committed, position, highWatermark, assigned, lastProgress,
		errorsSeen, extra, alertFiring, alertPending, alertFired, alertValue, alertThreshold, latencyMax, paused, since, group,
		up, live, ready, checkOK,
	}
)

// collector asks the service at each scrape; it keeps nothing. It answers although the service does not, with kata_up 0:
// that is another cause than a process that cannot be reached, and the alert on it should say so.
type collector struct {
	h      *handler
	source ops.Source
}

func (c *collector) Describe(ch chan<- *prometheus.Desc) {
	for _, m := range metrics {
		ch <- m.desc
	}
	ch <- latency
}

func (c *collector) Collect(ch chan<- prometheus.Metric) {
	type answer struct {
		health ops.Health
		err    error
	}
	healthy := make(chan answer, 1)
	go func() { // both at once: a scrape waits for one timeout, not for two
		health, err := ask(context.Background(), c.h.health, "Health", c.source.Health)
		healthy <- answer{health, err}
	}()
	stats, err := ask(context.Background(), c.h.stats, "Stats", c.source.Stats)
	a := <-healthy

	s := sheet{values: map[string]*value{}}
	s.set(up, flag(err == nil && a.err == nil))
	if err == nil {
		s.addStats(stats)
		l := stats.Latency
		ch <- prometheus.MustNewConstSummary(latency, uint64(max(0, l.Count)), l.Sum.Seconds(), quantiles(l))
	}
	if a.err == nil {
		s.addHealth(a.health)
	}
	for _, v := range s.values {
		m, err := prometheus.NewConstMetric(v.desc, v.kind, v.number, v.labels...)
		if err != nil {
			m = prometheus.NewInvalidMetric(v.desc, err)
		}
		ch <- m
	}
}

// quantiles are those of l; of no records they are not a number, as Prometheus has it.
func quantiles(l ops.Latency) map[float64]float64 {
	if l.Count == 0 {
		return map[float64]float64{0.5: math.NaN(), 0.95: math.NaN(), 0.99: math.NaN()}
	}
	return map[float64]float64{0.5: l.P50.Seconds(), 0.95: l.P95.Seconds(), 0.99: l.P99.Seconds()}
}

// sheet gathers the values of a scrape. Two of the same name and labels become one (counters are added, of the others
// the last counts): Prometheus would refuse both.
type sheet struct{ values map[string]*value }

type value struct {
	metric
	labels []string
	number float64
}

func (s *sheet) set(m metric, number float64, labels ...string) {
	for i, l := range labels {
		labels[i] = strings.ToValidUTF8(l, "\uFFFD")
	}
	key := m.desc.String() + "\x00" + strings.Join(labels, "\x00")
	old, ok := s.values[key]
	switch {
	case !ok:
		s.values[key] = &value{m, labels, number}
	case m.kind == prometheus.CounterValue:
		old.number += number
	default:
		old.number = number
	}
}

func (s *sheet) addStats(st ops.Stats) {
	s.set(latencyMax, st.Latency.Max.Seconds())
	s.set(paused, flag(st.Paused))
	s.set(group, 1, st.Group)
	s.setTime(since, st.Since)
	for _, p := range st.Partitions {
		s.addPartition(p)
	}
	for _, e := range st.Errors {
		s.set(errorsSeen, float64(e.Count), e.Class, e.Topic, number32(e.Partition))
	}
	for name, n := range st.Extra {
		s.set(extra, float64(n), name)
	}
	for _, a := range st.Alerts {
		s.set(alertFiring, flag(a.State == ops.Firing), a.Name)
		s.set(alertPending, flag(a.State == ops.Pending), a.Name)
		s.set(alertFired, float64(a.Fired), a.Name)
		s.set(alertValue, a.Value, a.Name)
		s.set(alertThreshold, a.Threshold, a.Name)
	}
}

func (s *sheet) addPartition(p ops.PartitionStats) {
	at := func(m metric, n int64) { s.set(m, float64(n), p.Topic, number32(p.Partition)) }
	at(received, p.Received)
	at(processed, p.Processed)
	at(filtered, p.Filtered)
	at(parked, p.Parked)
	at(dead, p.Dead)
	at(released, p.Released)
	at(redelivered, p.Redelivered)
	at(failed, p.Failed)
	at(retried, p.Retried)
	at(inFlight, p.InFlight)
	s.set(assigned, flag(p.Assigned), p.Topic, number32(p.Partition))
	// What is not known is left out: a lag of -1 would lower every sum.
	known := func(m metric, n int64) {
		if n != ops.Unknown {
			at(m, n)
		}
	}
	known(lag, p.Lag)
	known(committed, p.Committed)
	known(position, p.Position)
	known(highWatermark, p.HighWatermark)
	s.setTime(lastProgress, p.LastProgress, p.Topic, number32(p.Partition))
}

func (s *sheet) addHealth(h ops.Health) {
	s.set(live, flag(h.Live))
	s.set(ready, flag(h.Ready))
	for _, c := range h.Checks {
		s.set(checkOK, flag(c.OK), c.Name, c.Affects.String())
	}
}

func (s *sheet) setTime(m metric, t time.Time, labels ...string) {
	if !t.IsZero() {
		s.set(m, float64(t.UnixMilli())/1e3, labels...)
	}
}

func number32(n int32) string { return strconv.FormatInt(int64(n), 10) }

func flag(on bool) float64 {
	if on {
		return 1
	}
	return 0
}
