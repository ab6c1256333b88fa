package lesson08

import (
	"errors"
	"fmt"
	"slices"
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
	// TODO: collect the problems with errors.Join; "retry.cap is 500ms: must be at least retry.base (1s)".
	return errors.New("lesson08: Config.Validate is not written yet")
}
