package meter

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/kafka-katas/kafka-katas/ops"
)

// checked is what was last said of a check.
type checked struct {
	affects ops.Aspect
	err     error
	since   time.Time
	own     bool // the service's, told by Check
}

// Check says how a standing check of the service's own stands: nil, or what is wrong. It is shown by Health from its first
// Check on, after the Meter's own and sorted by name. The names "broker", "group", "fetch", "progress" and "run" are taken;
// a Check of one of them is ignored.
func (m *Meter) Check(name string, affects ops.Aspect, err error) {
	switch name {
	case "broker", "group", "fetch", "progress", "run":
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.check(name, affects, err, time.Now()).own = true
}

// check takes note of how a check stands. The caller holds m.mu.
func (m *Meter) check(name string, affects ops.Aspect, err error, now time.Time) *checked {
	c := m.checks[name]
	if c == nil {
		c = &checked{since: m.epoch}
		m.checks[name] = c
	}
	if (c.err == nil) != (err == nil) {
		c.since = now
	}
	c.affects, c.err = affects, err
	return c
}

// Health says whether the process should live and whether it may be relied on; it answers from memory, also while Kafka
// hangs. The checks are
//
//	"broker"    readiness: a broker is connected and the group's coordinator answers
//	"group"     readiness: the service is a member, and no group, authorisation or fetch error stands
//	"progress"  liveness: no record has been in work for StallAfter; the cause names the oldest
//	"run"       liveness: the run has not ended with an error
//
// and then the service's own. Without a group "fetch" takes the place of "group": no authorisation or fetch error stands.
// A fetch error stands until the partition is fetched again or its ownership ends, or for 30 s since it was last told; but
// not just for 30 s if the client does not know where to begin, since it tells that once. A member without partitions, an
// idle topic and a paused service are healthy.
func (m *Meter) Health() ops.Health {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	broker, group := errors.New("not running"), errors.New("not running")
	if m.running {
		broker, group = m.link.judge(now)
	}
	var checks []ops.Check
	show := func(name string, c *checked) {
		check := ops.Check{Name: name, Affects: c.affects, OK: c.err == nil, Since: c.since}
		if c.err != nil {
			check.Cause = c.err.Error()
		}
		checks = append(checks, check)
	}
	membership := "group"
	if m.cfg.Group == "" {
		membership = "fetch"
	}
	show("broker", m.check("broker", ops.Readiness, broker, now))
	show(membership, m.check(membership, ops.Readiness, group, now))
	show("progress", m.check("progress", ops.Liveness, m.wedged(), now))
	show("run", m.check("run", ops.Liveness, m.failure, now))
	for _, name := range slices.Sorted(maps.Keys(m.checks)) {
		if c := m.checks[name]; c.own {
			show(name, c)
		}
	}
	return ops.HealthOf(checks...)
}

// wedged names the record that has been in work for too long, the oldest if there are more. Being a member says nothing of
// it: the client's heartbeats go on without us.
func (m *Meter) wedged() error {
	now := m.now()
	var (
		worst entry
		where *partition
	)
	for _, p := range m.table.Load().all {
		p.mu.Lock()
		p.count()
		older := func(e *entry) {
			if e != nil && (where == nil || e.clock < worst.clock) {
				worst, where = *e, p
			}
		}
		older(p.inFlight.oldest())
		for _, s := range p.series {
			older(s.working())
		}
		p.mu.Unlock()
	}
	if where == nil || time.Duration(now-worst.clock) < m.cfg.StallAfter {
		return nil
	}
	return fmt.Errorf("%s: offset %d has been in work for %v", where.topicPartition, worst.offset, time.Duration(now-worst.clock))
}
