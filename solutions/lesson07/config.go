package lesson07

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Config is everything about a consumer that an operator may want to change. It comes from config.yaml and the
// environment; DefaultConfig fills in the rest.
type Config struct {
	Group       string   `doc:"Consumer group; its members share the partitions of the topics."`
	Topics      []string `doc:"Topics to consume."`
	Concurrency int      `doc:"Records in work at once, each of another partition."`
	Start       Start    `doc:"Where a group without a commit begins: earliest, latest, or committed (an error without one)."`
	Protocol    Protocol `doc:"Group protocol: classic (cooperative-sticky) or consumer (KIP-848, Kafka 4)."`
	InstanceID  string   `doc:"Static membership: a name that is this instance's alone; empty for a dynamic member."`

	SessionTimeout    time.Duration `doc:"Without a heartbeat for this long a member is dead to its group. Under protocol consumer the broker decides."`
	HeartbeatInterval time.Duration `doc:"How often a member says that it lives; at most a third of the session timeout. Under protocol consumer the broker decides."`
	RebalanceTimeout  time.Duration `doc:"How long a member may take to give partitions up before it is expelled."`
	DrainTimeout      time.Duration `doc:"How long giving up partitions, or stopping, waits for the work in hand before cancelling it; less than rebalance_timeout."`
	RetryAfter        time.Duration `doc:"A record whose handler failed is handed over again after this; its partition waits, the others flow."`
	CommitInterval    time.Duration `doc:"How long progress may stay uncommitted; one request commits all partitions."`
	MaxQueued         int           `doc:"Records of one partition that may wait for their handler; fetching it pauses before there are more."`
	StallAfter        time.Duration `doc:"A handler that works on one record for this long is wedged, and the process not live."`
	MetadataMaxAge    time.Duration `doc:"How soon added partitions are noticed."`

	ErrorSamples   int   `doc:"Latest errors kept per group of errors."`
	MaxErrorGroups int   `doc:"Groups of errors kept apart; what is beyond is counted together."`
	Alert          Alert `doc:"When failing handlers are worth waking somebody."`
}

// Alert says when failed handler attempts are worth waking somebody, and when that is over.
type Alert struct {
	Threshold    int           `doc:"Failed attempts within window from which on something is wrong."`
	Window       time.Duration `doc:"How far back failed attempts count."`
	For          time.Duration `doc:"It fires after this long at or above threshold without a break."`
	ResolveBelow int           `doc:"Failed attempts within window below which it is over; at most threshold."`
	ResolveAfter time.Duration `doc:"It resolves after this long below resolve_below without a break."`
}

// Start is where a group begins on a partition for which it has no commit. With a commit it plays no part.
type Start uint8

// The places to start.
const (
	// StartEarliest begins at the oldest record.
	StartEarliest Start = iota
	// StartLatest begins after the newest record that is there when the group first owns the partition. That is decided
	// once: the place is committed, so that a restart does not jump over what came in between. A partition that is
	// added to the topic while a consumer runs is read from its start all the same: nothing in it is old. Each Consumer
	// judges that by what the topic had when it first looked itself: a partition that was added while none ran is old.
	StartLatest
	// StartCommitted begins nowhere: Run ends with ErrNoCommit rather than jump to a place nobody chose. That holds for
	// a partition that is added while a consumer runs as well: whoever adds one commits a place in it first.
	StartCommitted
)

var starts = [...]string{StartEarliest: "earliest", StartLatest: "latest", StartCommitted: "committed"}

// String is "earliest", "latest" or "committed".
func (s Start) String() string { return word(starts[:], s) }

// MarshalText is String, so that configuration is written as it is read.
func (s Start) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText accepts what String returns.
func (s *Start) UnmarshalText(text []byte) error { return parse(s, starts[:], text) }

// Protocol is how the members of a group agree on who owns which partition.
type Protocol uint8

// The protocols. All members of a group must use the same one.
const (
	// ProtocolClassic has the members decide, by cooperative-sticky: only partitions that move are revoked.
	ProtocolClassic Protocol = iota
	// ProtocolConsumer has the broker decide (KIP-848). It needs Kafka 4.
	ProtocolConsumer
)

var protocols = [...]string{ProtocolClassic: "classic", ProtocolConsumer: "consumer"}

// String is "classic" or "consumer".
func (p Protocol) String() string { return word(protocols[:], p) }

// MarshalText is String, so that configuration is written as it is read.
func (p Protocol) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// UnmarshalText accepts what String returns.
func (p *Protocol) UnmarshalText(text []byte) error { return parse(p, protocols[:], text) }

func word[T ~uint8](words []string, v T) string {
	if int(v) < len(words) {
		return words[v]
	}
	return fmt.Sprintf("%T(%d)", v, uint8(v))
}

func parse[T ~uint8](to *T, words []string, text []byte) error {
	for i, w := range words {
		if w == string(text) {
			*to = T(i)
			return nil
		}
	}
	return fmt.Errorf("%q is none of %q", text, words)
}

// DefaultConfig is a working configuration for the shop's orders.
func DefaultConfig() Config {
	return Config{
		Group:             "validation",
		Topics:            []string{"orders"},
		Concurrency:       4,
		SessionTimeout:    45 * time.Second,
		HeartbeatInterval: 3 * time.Second,
		RebalanceTimeout:  60 * time.Second,
		DrainTimeout:      30 * time.Second,
		RetryAfter:        time.Second,
		CommitInterval:    time.Second,
		MaxQueued:         5000,
		StallAfter:        5 * time.Minute,
		MetadataMaxAge:    time.Minute,
		ErrorSamples:      5,
		MaxErrorGroups:    100,
		Alert: Alert{
			Threshold:    10,
			Window:       time.Minute,
			For:          30 * time.Second,
			ResolveBelow: 5,
			ResolveAfter: time.Minute,
		},
	}
}

// Validate reports everything that is wrong with c, joined into one error, so that an operator corrects a file once.
// Each problem is one line: the field by the name it has in config.yaml, the value it has, and what would be allowed.
//
// Every field is checked: Group and every topic are named; counts and durations are positive (Alert.For and
// Alert.ResolveAfter may be 0, InstanceID may be empty); HeartbeatInterval is at most a third of SessionTimeout, or one
// lost heartbeat ends a session; DrainTimeout is less than RebalanceTimeout, or a slow handler gets its member
// expelled; Alert.ResolveBelow is at least 1 and at most Alert.Threshold; Start and Protocol are ones that exist.
func (c Config) Validate() error {
	var problems []error
	wrong := func(field string, value any, allowed string) {
		problems = append(problems, fmt.Errorf("%s is %v: %s", field, value, allowed))
	}
	atLeast := func(field string, value, least int) {
		if value < least {
			wrong(field, value, fmt.Sprintf("must be at least %d", least))
		}
	}
	positive := func(field string, value time.Duration) {
		if value <= 0 {
			wrong(field, value, "must be longer than 0s")
		}
	}

	if strings.TrimSpace(c.Group) == "" {
		wrong("group", strconv.Quote(c.Group), "must be a name")
	}
	if len(c.Topics) == 0 {
		wrong("topics", "[]", "must name at least one topic")
	}
	for i, topic := range c.Topics {
		if strings.TrimSpace(topic) == "" {
			wrong(fmt.Sprintf("topics[%d]", i), strconv.Quote(topic), "must be a name")
		}
	}
	atLeast("concurrency", c.Concurrency, 1)
	if int(c.Start) >= len(starts) {
		wrong("start", c.Start, fmt.Sprintf("must be one of %q", starts))
	}
	if int(c.Protocol) >= len(protocols) {
		wrong("protocol", c.Protocol, fmt.Sprintf("must be one of %q", protocols))
	}

	positive("session_timeout", c.SessionTimeout)
	positive("heartbeat_interval", c.HeartbeatInterval)
	if c.SessionTimeout > 0 && c.HeartbeatInterval > c.SessionTimeout/3 {
		wrong("heartbeat_interval", c.HeartbeatInterval, fmt.Sprintf("must be at most a third of session_timeout (%v)", c.SessionTimeout))
	}
	positive("rebalance_timeout", c.RebalanceTimeout)
	positive("drain_timeout", c.DrainTimeout)
	if c.RebalanceTimeout > 0 && c.DrainTimeout >= c.RebalanceTimeout {
		wrong("drain_timeout", c.DrainTimeout, fmt.Sprintf("must be less than rebalance_timeout (%v)", c.RebalanceTimeout))
	}
	positive("retry_after", c.RetryAfter)
	positive("commit_interval", c.CommitInterval)
	atLeast("max_queued", c.MaxQueued, 1)
	positive("stall_after", c.StallAfter)
	positive("metadata_max_age", c.MetadataMaxAge)

	atLeast("error_samples", c.ErrorSamples, 1)
	atLeast("max_error_groups", c.MaxErrorGroups, 1)
	atLeast("alert.threshold", c.Alert.Threshold, 1)
	positive("alert.window", c.Alert.Window)
	if c.Alert.For < 0 {
		wrong("alert.for", c.Alert.For, "must not be negative")
	}
	atLeast("alert.resolve_below", c.Alert.ResolveBelow, 1)
	if c.Alert.Threshold > 0 && c.Alert.ResolveBelow > c.Alert.Threshold {
		wrong("alert.resolve_below", c.Alert.ResolveBelow, fmt.Sprintf("must be at most alert.threshold (%d)", c.Alert.Threshold))
	}
	if c.Alert.ResolveAfter < 0 {
		wrong("alert.resolve_after", c.Alert.ResolveAfter, "must not be negative")
	}
	return errors.Join(problems...)
}
