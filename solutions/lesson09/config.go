package lesson09

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Config is everything about the services of this lesson that an operator may want to change. It comes from config.yaml
// and the environment; DefaultConfig fills in the rest.
type Config struct {
	Group       string   `doc:"Consumer group; its members share the partitions of the topics."`
	Topics      []string `doc:"Topics to consume."`
	Concurrency int      `doc:"Records in work at once, of one partition too: order within a partition is not kept."`

	Window         int           `doc:"Records of one partition that may be in the process and not behind its commit; fetching it pauses before there are more."`
	RetryAfter     time.Duration `doc:"A record whose handler failed is handed over again after this, unless the handler says when."`
	CommitEvery    int           `doc:"This many records to commit are committed at once, without waiting for commit_interval."`
	CommitInterval time.Duration `doc:"How long anything to commit may wait; one request commits all partitions."`

	SessionTimeout   time.Duration `doc:"Without a heartbeat for this long a member is dead to its group."`
	RebalanceTimeout time.Duration `doc:"How long a member may take to give partitions up before it is expelled."`
	DrainTimeout     time.Duration `doc:"How long giving up partitions, or stopping, waits for the work in hand before cancelling it; less than rebalance_timeout."`
	StallAfter       time.Duration `doc:"A handler that works on one record for this long is wedged; a record that holds up its partition for this long makes the service unready."`

	TransactionalID    string        `doc:"The processor's name as a producer, which no other instance may have; empty for a consumer without transactions."`
	TransactionTimeout time.Duration `doc:"The longest transaction: then the broker aborts it, and readers go on."`
	TransactionBatch   int           `doc:"The most records that one transaction takes in."`

	Deduplication Deduplication `doc:"How long and how many business ids are remembered."`

	ErrorSamples   int `doc:"Latest errors kept per group of errors."`
	MaxErrorGroups int `doc:"Groups of errors kept apart; what is beyond is counted together."`
}

// Deduplication bounds the memory of a Store.
type Deduplication struct {
	TTL        time.Duration `doc:"An id is remembered for this long; longer than a record can take to come again."`
	MaxEntries int           `doc:"The most ids that are remembered; the oldest goes first."`
}

// DefaultConfig is a working configuration for the shop's transfers.
func DefaultConfig() Config {
	return Config{
		Group:              "bank",
		Topics:             []string{"transfers"},
		Concurrency:        4,
		Window:             1000,
		RetryAfter:         time.Second,
		CommitEvery:        500,
		CommitInterval:     time.Second,
		SessionTimeout:     45 * time.Second,
		RebalanceTimeout:   60 * time.Second,
		DrainTimeout:       30 * time.Second,
		StallAfter:         5 * time.Minute,
		TransactionTimeout: 40 * time.Second,
		TransactionBatch:   100,
		Deduplication:      Deduplication{TTL: 24 * time.Hour, MaxEntries: 1_000_000},
		ErrorSamples:       5,
		MaxErrorGroups:     100,
	}
}

// Validate reports everything that is wrong with c, joined into one error, so that an operator corrects a file once.
// Each problem is one line: the field by the name it has in config.yaml, the value it has, and what would be allowed.
//
// Every field is checked: Group and every topic are named; counts and durations are positive (TransactionalID may be
// empty); DrainTimeout is less than RebalanceTimeout. Deduplication.TTL is longer than SessionTimeout, RebalanceTimeout
// and CommitInterval together: so long after its effect a record may come again, when its member crashed before the
// commit and its partition then moved. Deduplication.MaxEntries is at least Window.
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
	atLeast("window", c.Window, 1)
	positive("retry_after", c.RetryAfter)
	atLeast("commit_every", c.CommitEvery, 1)
	positive("commit_interval", c.CommitInterval)

	positive("session_timeout", c.SessionTimeout)
	positive("rebalance_timeout", c.RebalanceTimeout)
	positive("drain_timeout", c.DrainTimeout)
	if c.RebalanceTimeout > 0 && c.DrainTimeout >= c.RebalanceTimeout {
		wrong("drain_timeout", c.DrainTimeout, fmt.Sprintf("must be less than rebalance_timeout (%v)", c.RebalanceTimeout))
	}
	positive("stall_after", c.StallAfter)
	positive("transaction_timeout", c.TransactionTimeout)
	atLeast("transaction_batch", c.TransactionBatch, 1)

	positive("deduplication.ttl", c.Deduplication.TTL)
	horizon := c.SessionTimeout + c.RebalanceTimeout + c.CommitInterval
	if c.Deduplication.TTL > 0 && c.Deduplication.TTL <= horizon {
		wrong("deduplication.ttl", c.Deduplication.TTL, fmt.Sprintf("must be longer than session_timeout, rebalance_timeout and commit_interval together (%v)", horizon))
	}
	atLeast("deduplication.max_entries", c.Deduplication.MaxEntries, max(1, c.Window))

	atLeast("error_samples", c.ErrorSamples, 1)
	atLeast("max_error_groups", c.MaxErrorGroups, 1)
	return errors.Join(problems...)
}
