package lesson10

import (
	"errors"
	"fmt"
	"net/url"
	"time"
)

// Config is everything about a pipeline that an operator may want to change. It comes from config.yaml and the
// environment; DefaultConfig fills in the rest. What the shop decides about its events is [Rules].
type Config struct {
	Group       string `doc:"Consumer group; its members share the partitions of the source."`
	Source      string `doc:"Topic of raw events."`
	Audit       string `doc:"Topic for what was filtered or rejected, as it came, with the reason."`
	DeadLetters string `doc:"Topic for what cannot be processed, as it came, with the error."`
	Parked      string `doc:"Topic for what waits for its reference data, as it came, with the reason."`
	Quarantine  string `doc:"Topic for what is of poor quality, as it came, with its score."`

	Reference string  `doc:"Compacted topic that says which segment a customer is in; empty for no such step."`
	Service   string  `doc:"Address of the service that knows a customer's risk, such as http://risk:80; empty for no such step."`
	Missing   Missing `doc:"What becomes of an event whose customer is not known there: default or park."`
	Default   string  `doc:"Segment or risk of such a customer under missing: default."`

	LookupTimeout time.Duration `doc:"How long one request to the service may take; then it is made again after retry_after."`
	CacheTTL      time.Duration `doc:"How long an answer of the service is good for."`
	MaxLookups    int           `doc:"Requests to the service at once."`

	MaxBatch       int           `doc:"Records that are taken up together. What was taken up is done with, or waited for, before more is."`
	MaxRecordBytes int           `doc:"Key, value and headers of an output; an event that makes a larger one is dead-lettered."`
	RetryAfter     time.Duration `doc:"What has failed and may pass is tried again after this."`
	CommitInterval time.Duration `doc:"How long progress may stay uncommitted."`

	QualityWindow int `doc:"How many of the latest judged events quality_limit is about."`
	QualityLimit  int `doc:"More quarantined and rejected events than this among them stop the pipeline; 0 for no limit."`

	SessionTimeout   time.Duration `doc:"Without a heartbeat for this long a member is dead to its group."`
	RebalanceTimeout time.Duration `doc:"How long a member may take to give partitions up before it is expelled."`
	DrainTimeout     time.Duration `doc:"How long giving up partitions, or stopping, waits for the work in hand; less than rebalance_timeout."`
	StallAfter       time.Duration `doc:"A record that is worked on for this long is wedged, and the process not live."`
	ErrorSamples     int           `doc:"Latest errors kept per group of errors."`
	MaxErrorGroups   int           `doc:"Groups of errors kept apart; what is beyond is counted together."`
}

// Missing is what becomes of an event whose customer the reference data does not know.
type Missing uint8

// The policies.
const (
	MissingDefault Missing = iota // it gets Config.Default
	MissingPark                   // it goes to Config.Parked
)

var policies = [...]string{MissingDefault: "default", MissingPark: "park"}

// String is "default" or "park".
func (m Missing) String() string {
	if int(m) < len(policies) {
		return policies[m]
	}
	return fmt.Sprintf("Missing(%d)", uint8(m))
}

// MarshalText is String, so that configuration is written as it is read.
func (m Missing) MarshalText() ([]byte, error) { return []byte(m.String()), nil }

// UnmarshalText accepts what String returns.
func (m *Missing) UnmarshalText(text []byte) error {
	for i, p := range policies {
		if p == string(text) {
			*m = Missing(i)
			return nil
		}
	}
	return fmt.Errorf("%q is none of %q", text, policies)
}

// DefaultConfig is a working configuration for the shop's customer events, without enrichment.
func DefaultConfig() Config {
	return Config{
		Group:            "customer-events",
		Source:           "customer-events-raw",
		Audit:            "customer-events-audit",
		DeadLetters:      "customer-events-dlt",
		Parked:           "customer-events-parked",
		Quarantine:       "customer-events-quarantine",
		Default:          "unknown",
		LookupTimeout:    2 * time.Second,
		CacheTTL:         5 * time.Minute,
		MaxLookups:       8,
		MaxBatch:         5000,
		MaxRecordBytes:   900_000,
		RetryAfter:       time.Second,
		CommitInterval:   time.Second,
		QualityWindow:    1000,
		SessionTimeout:   45 * time.Second,
		RebalanceTimeout: 60 * time.Second,
		DrainTimeout:     30 * time.Second,
		StallAfter:       5 * time.Minute,
		ErrorSamples:     5,
		MaxErrorGroups:   100,
	}
}

// Validate reports everything that is wrong with c, joined into one error, so that an operator corrects a file once.
// Each problem names the field as it stands in config.yaml (DeadLetters is dead_letters), the value it has, and what would be
// allowed.
//
// Every field is checked: Group, Source, Audit, DeadLetters, Parked, Quarantine and Default are named, and none of the
// topics that are written to is Source; Service is empty or an absolute http or https URL; Missing is a policy that exists;
// counts and durations are positive, QualityLimit may be 0; QualityLimit is less than QualityWindow, or it could never
// be exceeded; DrainTimeout is less than RebalanceTimeout.
func (c Config) Validate() error {
	var problems []error
	wrong := func(field string, value any, must string) {
		problems = append(problems, fmt.Errorf("%s is %v: %s", field, value, must))
	}
	for _, f := range []struct {
		field, value string
		written      bool
	}{
		{"group", c.Group, false}, {"source", c.Source, false}, {"audit", c.Audit, true}, {"dead_letters", c.DeadLetters, true},
		{"parked", c.Parked, true}, {"quarantine", c.Quarantine, true}, {"default", c.Default, false},
	} {
		if f.value == "" {
			wrong(f.field, `""`, "must be named")
		} else if f.written && f.value == c.Source {
			wrong(f.field, f.value, "must not be the source, which would feed itself")
		}
	}
	if u, err := url.Parse(c.Service); c.Service != "" && (err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https") {
		wrong("service", c.Service, "must be an absolute http or https URL")
	}
	if int(c.Missing) >= len(policies) {
		wrong("missing", c.Missing, fmt.Sprintf("must be one of %q", policies))
	}
	for _, f := range []struct {
		field string
		value int
	}{
		{"max_lookups", c.MaxLookups}, {"max_batch", c.MaxBatch}, {"max_record_bytes", c.MaxRecordBytes},
		{"quality_window", c.QualityWindow}, {"error_samples", c.ErrorSamples}, {"max_error_groups", c.MaxErrorGroups},
	} {
		if f.value < 1 {
			wrong(f.field, f.value, "must be at least 1")
		}
	}
	if c.QualityLimit < 0 || c.QualityWindow > 0 && c.QualityLimit >= c.QualityWindow {
		wrong("quality_limit", c.QualityLimit, fmt.Sprintf("must be at least 0 and less than quality_window (%d)", c.QualityWindow))
	}
	for _, f := range []struct {
		field string
		value time.Duration
	}{
		{"lookup_timeout", c.LookupTimeout}, {"cache_ttl", c.CacheTTL}, {"retry_after", c.RetryAfter}, {"commit_interval", c.CommitInterval},
		{"session_timeout", c.SessionTimeout}, {"rebalance_timeout", c.RebalanceTimeout}, {"drain_timeout", c.DrainTimeout}, {"stall_after", c.StallAfter},
	} {
		if f.value <= 0 {
			wrong(f.field, f.value, "must be positive")
		}
	}
	if c.DrainTimeout > 0 && c.RebalanceTimeout > 0 && c.DrainTimeout >= c.RebalanceTimeout {
		wrong("drain_timeout", c.DrainTimeout, fmt.Sprintf("must be less than rebalance_timeout (%v)", c.RebalanceTimeout))
	}
	return errors.Join(problems...)
}
