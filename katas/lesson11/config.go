package lesson11

import (
	"errors"
	"time"
	_ "time/tzdata" // where the system has no time zones, as on Windows
)

// The channels.
const (
	Email = "email"
	SMS   = "sms"
	Push  = "push"
)

// Config is everything about the service that an operator may want to change.
type Config struct {
	Group  string `doc:"Name of the service. Its consumer groups are planner-<group>, receipts-<group>, and <channel>-<group> for each channel."`
	Topics Topics

	Email    Limits
	SMS      Limits
	Push     Limits
	Fallback []string `doc:"In which order channels are tried when one is enough."`

	MaxAttempts  int           `doc:"Sends of one message that may fail before it is dead-lettered; those that find the provider down do not count."`
	RetryAfter   time.Duration `doc:"Wait after the first failed send; it doubles with each further one."`
	RetryMax     time.Duration `doc:"The longest wait between two sends of a message."`
	BreakerAfter int           `doc:"Failed sends in a row after which a provider is taken to be down."`
	BreakerFor   time.Duration `doc:"How long a provider that is down is left alone before one message tries it again."`
	BulkShare    int           `doc:"Of 100 sends, how many at least go to what is not critical, while some of it waits."`
	DigestWindow time.Duration `doc:"How long the first notification of a digest waits for others."`
	DedupWindow  time.Duration `doc:"How long what was sent, and a status, is remembered at least; longer than anything is redelivered."`
	PageSize     int           `doc:"Users of an audience that are in memory at once."`

	MaxQueued         int           `doc:"Records of one partition in memory; fetching it pauses before there are more."`
	CommitInterval    time.Duration `doc:"How long progress may stay uncommitted."`
	SessionTimeout    time.Duration `doc:"Without a heartbeat for this long a member is dead to its groups."`
	HeartbeatInterval time.Duration `doc:"How often a member says that it lives; at most a third of the session timeout."`
	RebalanceTimeout  time.Duration `doc:"How long a member may take to give partitions up."`
	DrainTimeout      time.Duration `doc:"How long giving up partitions, or stopping, waits for sends under way; less than rebalance_timeout."`
	StallAfter        time.Duration `doc:"A send that takes this long is wedged, and the process not live; longer than any timeout."`

	ErrorSamples   int `doc:"Latest errors kept per group of errors."`
	MaxErrorGroups int `doc:"Groups of errors kept apart."`
}

// Topics are the names of the service's topics. The task topics all have the same number of partitions.
type Topics struct {
	Triggers    string `doc:"What happened."`
	Preferences string `doc:"What users want; compacted, keyed by user."`
	Tasks       string `doc:"Name of the task topics: <channel>-critical-<tasks> and <channel>-bulk-<tasks>, keyed by user."`
	Log         string `doc:"What the service has to remember across crashes and rebalances; compacted. Its content is the service's own business."`
	Receipts    string `doc:"What providers report, keyed by message key."`
	Status      string `doc:"How far each message has got; compacted, keyed by message key."`
	DeadLetters string `doc:"Triggers and tasks that cannot be worked on."`
}

// Task is the name of a task topic.
func (t Topics) Task(channel string, critical bool) string {
	if critical {
		return channel + "-critical-" + t.Tasks
	}
	return channel + "-bulk-" + t.Tasks
}

// Limits are what a channel and its provider bear.
type Limits struct {
	OptIn       bool          `doc:"Whether users get messages by this channel who have an address and have not decided."`
	PerSecond   float64       `doc:"Sends a second, of all partitions together; 0 is no limit."`
	Burst       int           `doc:"Sends that may follow each other at once after a pause."`
	Concurrency int           `doc:"Sends under way at once, of all partitions together."`
	Timeout     time.Duration `doc:"How long one send may take."`
}

// Limits are those of a channel.
func (c Config) Limits(channel string) Limits {
	return map[string]Limits{Email: c.Email, SMS: c.SMS, Push: c.Push}[channel]
}

// DefaultConfig is a working configuration for the shop's notifications.
func DefaultConfig() Config {
	return Config{
		Group: "notifications",
		Topics: Topics{
			Triggers: "notification-triggers", Preferences: "notification-preferences", Tasks: "tasks",
			Log: "notification-log", Receipts: "notification-receipts", Status: "notification-status", DeadLetters: "notifications-dlt",
		},
		Email:             Limits{OptIn: true, PerSecond: 50, Burst: 10, Concurrency: 8, Timeout: 10 * time.Second},
		SMS:               Limits{PerSecond: 10, Burst: 1, Concurrency: 4, Timeout: 10 * time.Second},
		Push:              Limits{OptIn: true, PerSecond: 200, Burst: 50, Concurrency: 16, Timeout: 5 * time.Second},
		Fallback:          []string{Push, SMS, Email},
		MaxAttempts:       5,
		RetryAfter:        time.Second,
		RetryMax:          time.Minute,
		BreakerAfter:      5,
		BreakerFor:        30 * time.Second,
		BulkShare:         20,
		DigestWindow:      10 * time.Minute,
		DedupWindow:       7 * 24 * time.Hour,
		PageSize:          1000,
		MaxQueued:         1000,
		CommitInterval:    time.Second,
		SessionTimeout:    45 * time.Second,
		HeartbeatInterval: 3 * time.Second,
		RebalanceTimeout:  time.Minute,
		DrainTimeout:      20 * time.Second,
		StallAfter:        5 * time.Minute,
		ErrorSamples:      5,
		MaxErrorGroups:    100,
	}
}

// Validate reports everything that is wrong with c, joined into one error. Each problem is one line: the field by the
// name it has in config.yaml, the value it has, and what would be allowed.
//
// Group and every topic are named; counts and durations are positive (PerSecond may be 0); RetryMax is at least
// RetryAfter; BulkShare is from 1 to 99; Fallback names channels that exist, each once; HeartbeatInterval is at most a
// third of SessionTimeout; DrainTimeout is less than RebalanceTimeout; a Timeout is less than DrainTimeout, or a send
// under way could not be waited for, and StallAfter is longer than each.
func (c Config) Validate() error {
	// TODO: collect the problems with errors.Join; "drain_timeout is 1m30s: must be less than rebalance_timeout (1m0s)".
	return errors.New("lesson11: Config.Validate is not written yet")
}
