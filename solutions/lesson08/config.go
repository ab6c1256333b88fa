package lesson08

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Config is everything about the service that an operator may want to change. It comes from config.yaml and the
// environment; DefaultConfig fills in the rest.
type Config struct {
	Group  string   `doc:"Consumer group."`
	Topics []string `doc:"Topics to consume."`
	Mode   Mode     `doc:"Where a failed record waits: blocking (in its place), tiers (in retry topics), ordered (in the parking topic, its key behind it)."`

	Retry       Retry           `doc:"Which failures are tried again, how often and when."`
	RetryTopics []string        `doc:"Mode tiers: the retry topics, of this group alone, the first for the first failure. A record has one attempt more than there are topics."`
	RetryDelays []time.Duration `doc:"Mode tiers: how long a record waits in each of retry_topics."`

	ParkingTopic    string        `doc:"Mode ordered: where keys wait, of this group alone; it has at least as many partitions as each topic."`
	DeadLetterTopic string        `doc:"Where records end that are given up; it must exist."`
	MaxAge          time.Duration `doc:"A record older than this is given up instead of tried; 0 for no limit."`
	MaxRedrives     int           `doc:"How often one record may be redriven from the dead letters."`
	Breaker         Breaker       `doc:"When the handler's dependency counts as down."`

	SessionTimeout   time.Duration `doc:"Without a heartbeat for this long a member is dead to its group."`
	RebalanceTimeout time.Duration `doc:"How long a member may take to give partitions up before it is expelled."`
	DrainTimeout     time.Duration `doc:"How long giving up partitions, or stopping, waits for the work in hand before cancelling it; less than rebalance_timeout."`
	CommitInterval   time.Duration `doc:"How long progress may stay uncommitted."`
	MaxQueued        int           `doc:"Records of one partition that may wait; fetching it pauses when there are as many."`
	StallAfter       time.Duration `doc:"A handler that works on one record for this long is wedged, and the process not live."`

	ErrorSamples   int   `doc:"Latest errors kept per group of errors."`
	MaxErrorGroups int   `doc:"Groups of errors kept apart; what is beyond is counted together."`
	Alert          Alert `doc:"When dead letters are worth waking somebody."`
}

// Retry is the policy for failures that may pass.
type Retry struct {
	Attempts  int           `doc:"Attempts at a record in all, the first included; modes blocking and ordered."`
	Base      time.Duration `doc:"The wait after the first failed attempt."`
	Factor    float64       `doc:"Each wait is this many times the one before; at least 1."`
	Cap       time.Duration `doc:"No wait is longer."`
	Jitter    float64       `doc:"The part of each wait that is left to chance, from 0 to 1: a wait d lasts from d*(1-jitter) to d; modes blocking and ordered."`
	Seed      uint64        `doc:"Makes chance repeatable; 0 draws another sequence in each process, as production should."`
	Retryable []string      `doc:"Error classes that are tried again; empty for all that are not fatal."`
	Fatal     []string      `doc:"Error classes that are never tried again."`
}

// Breaker says when the handler's dependency counts as down: then nothing is attempted, rather than everything failed.
type Breaker struct {
	Failures int           `doc:"Retryable failures in a row, over all partitions, that open it; at most the attempts that a record has. 0 for no breaker."`
	OpenFor  time.Duration `doc:"How long it stays open before one record is tried."`
}

// Alert says when dead letters are worth waking somebody, and when that is over.
type Alert struct {
	Threshold    int           `doc:"Dead letters within window from which on something is wrong."`
	Window       time.Duration `doc:"How far back dead letters count."`
	For          time.Duration `doc:"It fires after this long at or above threshold without a break."`
	ResolveBelow int           `doc:"Dead letters within window below which it is over; at most threshold."`
	ResolveAfter time.Duration `doc:"It resolves after this long below resolve_below without a break."`
}

// Mode is where a record waits for its next attempt.
type Mode uint8

// The modes.
const (
	// ModeBlocking keeps it in its place: what is behind it in its partition waits too, in order.
	ModeBlocking Mode = iota
	// ModeTiers moves it to a retry topic; its partition goes on at once, so order is given up.
	ModeTiers
	// ModeOrdered moves it, and whatever follows with the same key, to the parking topic; other keys go on. The order of
	// each key is kept.
	ModeOrdered
)

var modes = [...]string{ModeBlocking: "blocking", ModeTiers: "tiers", ModeOrdered: "ordered"}

// String is "blocking", "tiers" or "ordered".
func (m Mode) String() string {
	if int(m) < len(modes) {
		return modes[m]
	}
	return fmt.Sprintf("Mode(%d)", uint8(m))
}

// MarshalText is String, so that configuration is written as it is read.
func (m Mode) MarshalText() ([]byte, error) { return []byte(m.String()), nil }

// UnmarshalText accepts what String returns.
func (m *Mode) UnmarshalText(text []byte) error {
	i := slices.Index(modes[:], string(text))
	if i < 0 {
		return fmt.Errorf("%q is none of %q", text, modes)
	}
	*m = Mode(i)
	return nil
}

// DefaultConfig is a working configuration for the shop's payments.
func DefaultConfig() Config {
	return Config{
		Group:  "payments",
		Topics: []string{"payments"},
		Retry: Retry{
			Attempts:  4,
			Base:      time.Second,
			Factor:    2,
			Cap:       time.Minute,
			Jitter:    0.2,
			Retryable: []string{},
			Fatal:     []string{"declined", "invalid", "undecodable"},
		},
		RetryTopics:      []string{"payments-retry-1", "payments-retry-2", "payments-retry-3"},
		RetryDelays:      []time.Duration{10 * time.Second, time.Minute, 10 * time.Minute},
		ParkingTopic:     "payments-parked",
		DeadLetterTopic:  "payments-dlt",
		MaxRedrives:      3,
		Breaker:          Breaker{OpenFor: 30 * time.Second},
		SessionTimeout:   45 * time.Second,
		RebalanceTimeout: 60 * time.Second,
		DrainTimeout:     30 * time.Second,
		CommitInterval:   time.Second,
		MaxQueued:        5000,
		StallAfter:       5 * time.Minute,
		ErrorSamples:     5,
		MaxErrorGroups:   100,
		Alert: Alert{
			Threshold:    10,
			Window:       5 * time.Minute,
			For:          time.Minute,
			ResolveBelow: 5,
			ResolveAfter: 5 * time.Minute,
		},
	}
}

// attempts is how many attempts a record has in all.
func (c Config) attempts() int {
	if c.Mode == ModeTiers {
		return len(c.RetryTopics) + 1
	}
	return c.Retry.Attempts
}

// Validate reports everything that is wrong with c, joined into one error, so that an operator corrects a file once.
// Each problem names the field as config.yaml has it ("retry.factor"), its value and what would be allowed; where two
// fields contradict each other it names both.
//
// Group, every topic and DeadLetterTopic are named; DeadLetterTopic is none of Topics. Attempts, counts, Base, Cap and
// timeouts are positive; Factor is at least 1, Cap at least Base, Jitter from 0 to 1; no class is empty, or both retryable
// and fatal. MaxAge, MaxRedrives, Breaker.Failures, Alert.For and Alert.ResolveAfter may be 0. In ModeTiers there is at
// least one retry topic, as many RetryDelays, each positive, and no topic has two parts to play; in ModeOrdered the same
// holds of ParkingTopic, and there is one of Topics. Breaker.Failures is at most the attempts that a record has in that mode, or good records would
// be given up before it opens; with it OpenFor is positive. DrainTimeout is less than RebalanceTimeout;
// Alert.ResolveBelow is from 1 to Alert.Threshold. What a mode does not use is not looked at.
func (c Config) Validate() error {
	v := &validator{}
	v.named("group", c.Group)
	if len(c.Topics) == 0 {
		v.wrong("topics", "[]", "must name at least one topic")
	}
	parts := map[string]string{} // which field a topic is in
	topic := func(field, name string) {
		v.named(field, name)
		if other, twice := parts[name]; twice && name != "" {
			v.wrong(field, strconv.Quote(name), "is in "+other+" already")
		}
		parts[name] = field
	}
	for i, name := range c.Topics {
		topic(fmt.Sprintf("topics[%d]", i), name)
	}
	topic("dead_letter_topic", c.DeadLetterTopic)
	switch c.Mode {
	case ModeBlocking:
	case ModeTiers:
		if len(c.RetryTopics) == 0 {
			v.wrong("retry_topics", "[]", "must name at least one topic in mode tiers")
		}
		for i, name := range c.RetryTopics {
			topic(fmt.Sprintf("retry_topics[%d]", i), name)
		}
		if len(c.RetryDelays) != len(c.RetryTopics) {
			v.wrong("retry_delays", c.RetryDelays, fmt.Sprintf("must be one for each of the %d retry_topics", len(c.RetryTopics)))
		}
		for i, d := range c.RetryDelays {
			v.positive(fmt.Sprintf("retry_delays[%d]", i), d)
		}
	case ModeOrdered:
		topic("parking_topic", c.ParkingTopic)
		if len(c.Topics) > 1 {
			v.wrong("topics", c.Topics, "must be one in mode ordered: a parking partition belongs to one partition")
		}
	default:
		v.wrong("mode", c.Mode, fmt.Sprintf("must be one of %q", modes))
	}
	c.Retry.validate(v)

	v.notNegative("max_age", c.MaxAge)
	v.atLeast("max_redrives", c.MaxRedrives, 0)
	v.atLeast("breaker.failures", c.Breaker.Failures, 0)
	if n := c.attempts(); c.Breaker.Failures > n && n > 0 {
		v.wrong("breaker.failures", c.Breaker.Failures, fmt.Sprintf("must be at most the %d attempts that a record has, or records are given up before it opens", n))
	}
	if c.Breaker.Failures > 0 {
		v.positive("breaker.open_for", c.Breaker.OpenFor)
	}

	v.positive("session_timeout", c.SessionTimeout)
	v.positive("rebalance_timeout", c.RebalanceTimeout)
	v.positive("drain_timeout", c.DrainTimeout)
	if c.RebalanceTimeout > 0 && c.DrainTimeout >= c.RebalanceTimeout {
		v.wrong("drain_timeout", c.DrainTimeout, fmt.Sprintf("must be less than rebalance_timeout (%v)", c.RebalanceTimeout))
	}
	v.positive("commit_interval", c.CommitInterval)
	v.atLeast("max_queued", c.MaxQueued, 1)
	v.positive("stall_after", c.StallAfter)
	v.atLeast("error_samples", c.ErrorSamples, 1)
	v.atLeast("max_error_groups", c.MaxErrorGroups, 1)
	v.atLeast("alert.threshold", c.Alert.Threshold, 1)
	v.positive("alert.window", c.Alert.Window)
	v.notNegative("alert.for", c.Alert.For)
	v.atLeast("alert.resolve_below", c.Alert.ResolveBelow, 1)
	if c.Alert.Threshold > 0 && c.Alert.ResolveBelow > c.Alert.Threshold {
		v.wrong("alert.resolve_below", c.Alert.ResolveBelow, fmt.Sprintf("must be at most alert.threshold (%d)", c.Alert.Threshold))
	}
	v.notNegative("alert.resolve_after", c.Alert.ResolveAfter)
	return errors.Join(v.problems...)
}

func (r Retry) validate(v *validator) {
	v.atLeast("retry.attempts", r.Attempts, 1)
	v.positive("retry.base", r.Base)
	if !(r.Factor >= 1) { // NaN too
		v.wrong("retry.factor", r.Factor, "must be at least 1, or waits would shrink")
	}
	v.positive("retry.cap", r.Cap)
	if r.Base > 0 && r.Cap > 0 && r.Cap < r.Base {
		v.wrong("retry.cap", r.Cap, fmt.Sprintf("must be at least retry.base (%v)", r.Base))
	}
	if !(r.Jitter >= 0 && r.Jitter <= 1) {
		v.wrong("retry.jitter", r.Jitter, "must be from 0 to 1")
	}
	for i, class := range r.Retryable {
		v.named(fmt.Sprintf("retry.retryable[%d]", i), class)
	}
	for i, class := range r.Fatal {
		field := fmt.Sprintf("retry.fatal[%d]", i)
		v.named(field, class)
		if slices.Contains(r.Retryable, class) && class != "" {
			v.wrong(field, strconv.Quote(class), "is in retry.retryable too")
		}
	}
}

// validator collects problems.
type validator struct{ problems []error }

func (v *validator) wrong(field string, value any, allowed string) {
	v.problems = append(v.problems, fmt.Errorf("%s is %v: %s", field, value, allowed))
}

func (v *validator) named(field, value string) {
	if strings.TrimSpace(value) == "" {
		v.wrong(field, strconv.Quote(value), "must be a name")
	}
}

func (v *validator) atLeast(field string, value, least int) {
	if value < least {
		v.wrong(field, value, fmt.Sprintf("must be at least %d", least))
	}
}

func (v *validator) positive(field string, value time.Duration) {
	if value <= 0 {
		v.wrong(field, value, "must be longer than 0s")
	}
}

func (v *validator) notNegative(field string, value time.Duration) {
	if value < 0 {
		v.wrong(field, value, "must not be negative")
	}
}
