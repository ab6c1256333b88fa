package meter

import (
	"cmp"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/kafka-katas/kafka-katas/ops"
)

// Config is what a Meter has to know of its service. The zero value of a field means its default.
type Config struct {
	// Group is the consumer group. Empty: the service consumes partitions directly; they need no Assigned, and Health
	// has a check "fetch" in place of "group".
	Group string
	// HeartbeatInterval is the client's, or the broker's under the consumer protocol: a coordinator that has not answered
	// for three of them is out of reach. Default: 5 s.
	HeartbeatInterval time.Duration
	// StallAfter is how long a record may be in work, or wait for its next attempt without [Meter.Waiting], before the
	// process is not live. Default: 5 min.
	StallAfter time.Duration
	// MaxErrorGroups is how many groups of errors are kept apart. What is beyond is counted in one further group of class
	// "other", without topic, of partition -1. Default: 100.
	MaxErrorGroups int
	// MaxErrorSamples is how many of its latest errors a group keeps. Default: 5.
	MaxErrorSamples int
	// Rules are the alerts, each of a name of its own.
	Rules []Rule
	// Class sorts errors into few classes. It may return "" for those it does not know; they get [ClassOf]'s. It must be
	// safe for concurrent use. Default: ClassOf.
	Class func(error) string
}

// Meter counts what a service does. Its methods are safe for concurrent use and answer from memory at once: no lock is
// held across anything that takes time. Two partitions that are worked on at once share no lock.
//
// Meter is an [ops.Source] and has the ResetStats of [ops.Controls].
type Meter struct {
	cfg   Config
	epoch time.Time // times of records are nanoseconds after this: cheaper to read, and half as big
	table atomic.Pointer[table]
	ring  ring
	link  link
	// placing: Placed is called, so that what is not placed can be told.
	placing atomic.Bool

	// Locks are taken in this order: mu, those of partitions, then one of failures, alarms, link.
	mu      sync.Mutex
	since   time.Time
	extra   map[string]int64
	running bool
	failure error // what the last run ended with
	paused  bool
	checks  map[string]*checked

	failures failures
	alarms   alarms
}

// New returns a Meter of a service that is not running yet.
func New(cfg Config) *Meter {
	orDefault(&cfg.HeartbeatInterval, 5*time.Second)
	orDefault(&cfg.StallAfter, 5*time.Minute)
	orDefault(&cfg.MaxErrorGroups, 100)
	orDefault(&cfg.MaxErrorSamples, 5)
	now := time.Now()
	m := &Meter{
		cfg:      cfg,
		epoch:    now,
		since:    now,
		link:     link{name: cfg.Group, heartbeat: cfg.HeartbeatInterval, brokers: map[string]error{}, fetches: map[topicPartition]standing{}},
		extra:    map[string]int64{},
		checks:   map[string]*checked{},
		failures: failures{groups: map[failure]*ops.ErrorGroup{}, maxGroups: cfg.MaxErrorGroups, maxSamples: cfg.MaxErrorSamples},
		alarms:   newAlarms(cfg.Rules, now),
	}
	m.table.Store(&table{})
	return m
}

func orDefault[T cmp.Ordered](field *T, value T) {
	var zero T
	if *field <= zero {
		*field = value
	}
}

// now is how many nanoseconds after the epoch it is.
func (m *Meter) now() int64 { return int64(time.Since(m.epoch)) }

// at is the time of so many nanoseconds after the epoch.
func (m *Meter) at(ns int64) time.Time { return m.epoch.Add(time.Duration(ns)) }

// Opts are options for the service's client, to be given before the service's own. They hook in the Meter, so that Health
// knows which brokers and which coordinator can be reached, and, with a group, read where the group stands when
// partitions begin (kgo.AdjustFetchOffsetsFn; a service that sets its own calls [Meter.Placed] in it). Every client of
// the service may have them; a new client of the group begins a new membership.
func (m *Meter) Opts() []kgo.Opt {
	opts := []kgo.Opt{kgo.WithHooks(&m.link)}
	if m.cfg.Group != "" {
		opts = append(opts, kgo.AdjustFetchOffsetsFn(m.Placed))
	}
	return opts
}

// Started says that the service runs. Before, and after Stopped, it is not ready.
func (m *Meter) Started() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.running, m.failure = true, nil
}

// Stopped says that the run is over: every partition counts as revoked, and with an error the process is not live.
func (m *Meter) Stopped(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.running, m.failure = false, err
	for _, p := range m.table.Load().all {
		p.mu.Lock()
		p.revoke()
		p.mu.Unlock()
	}
	m.link.reset()
}

// SetPaused says whether the service is paused. A paused service is healthy.
func (m *Meter) SetPaused(paused bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.paused = paused
}

// Count adds n to the counter of that name in Extra. Counters only grow: n below 0 is ignored. Count(name, 0) shows a
// counter that has counted nothing yet.
func (m *Meter) Count(name string, n int64) {
	if n < 0 {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.extra[name] += n
}

// Signal says that what the rule of that name watches happened once, now. Without such a rule it does nothing.
func (m *Meter) Signal(name string) { m.alarms.signal(name) }

// Stats returns one consistent snapshot, of all partitions at the same moment. The laws of [ops.Stats] hold in it.
//
// Redelivered counts deliveries of offsets that this Meter was told of before, also when the partition was elsewhere in
// between. Percentiles are exact over the latest 4096 records that were processed. Error samples are redacted, see
// [Redact].
func (m *Meter) Stats() ops.Stats {
	m.mu.Lock()
	all := m.table.Load().all
	for _, p := range all {
		p.mu.Lock()
		p.count()
	}
	now := time.Now()
	s := ops.Stats{
		Since:  m.since,
		At:     now,
		Group:  m.cfg.Group,
		Errors: m.failures.snapshot(),
		Alerts: m.alarms.snapshot(now),
		Paused: m.paused,
		Extra:  maps.Clone(m.extra),
	}
	for _, p := range all {
		s.Latency.Count += p.latency.count
		s.Latency.Sum += time.Duration(p.latency.sum)
		s.Latency.Max = max(s.Latency.Max, time.Duration(p.latency.max))
		if p.assigned {
			s.Assigned++
		}
		if p.assigned || p.Received > 0 {
			s.Partitions = append(s.Partitions, m.snapshot(p))
		}
	}
	window := m.ring.latest(s.Latency.Count)
	for _, p := range all {
		p.mu.Unlock()
	}
	m.mu.Unlock()

	slices.SortFunc(s.Partitions, func(a, b ops.PartitionStats) int {
		return cmp.Or(cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.Partition, b.Partition))
	})
	for _, p := range s.Partitions {
		s.Totals = s.Totals.Add(p.Counts)
	}
	slices.Sort(window)
	s.Latency.P50, s.Latency.P95, s.Latency.P99 = rank(window, 50), rank(window, 95), rank(window, 99)
	return s
}

// ResetStats starts a new period, as [ops.Controls] describes.
func (m *Meter) ResetStats() {
	m.mu.Lock()
	defer m.mu.Unlock()
	all := m.table.Load().all
	for _, p := range all {
		p.mu.Lock()
		p.count()
	}
	m.since = time.Now()
	for _, p := range all {
		p.Counts = ops.Counts{Received: int64(p.inFlight.live), InFlight: int64(p.inFlight.live)}
		p.latency = latency{}
	}
	m.ring.reset()
	m.failures.reset()
	clear(m.extra)
	for _, p := range all {
		p.mu.Unlock()
	}
}
