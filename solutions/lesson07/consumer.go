package lesson07

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/kafka-katas/kafka-katas/ops"
)

// Handler does the work for one record.
//
// The consumer calls it for one record of a partition at a time, in order of offset, and for at most Concurrency
// partitions at once. nil means that the record is done with and may be committed. An error means that it is not: the
// same record comes again after RetryAfter and nothing behind it in its partition is handed over before. A panic counts
// as an error. The record belongs to the handler until it returns.
//
// ctx ends when the partition has to be given up, or the process has to stop, and DrainTimeout has passed, and at once
// when the partition is lost. A handler must then return: until it has, nobody else may get the partition.
type Handler func(ctx context.Context, record *kgo.Record) error

var (
	// ErrFenced ends Run when another member joined with the same InstanceID. That one is the newer; going on here
	// would be two processes fighting for one name.
	ErrFenced = errors.New("fenced by a newer member with the same instance id")
	// ErrNoCommit ends Run when Start is StartCommitted and the group has no commit for a partition, or its commit
	// points to records that no longer exist.
	ErrNoCommit = errors.New("no committed offset to start from")
)

// Consumer is one member of a consumer group. Its methods are safe for concurrent use.
type Consumer struct {
	cfg    Config
	handle Handler
	opts   []kgo.Opt

	mu       sync.Mutex // guards what follows, for work in memory alone: never held across a handler, a request or a wait
	started  bool
	failure  error // what Run ended with
	paused   bool
	session  *session // nil while not running
	owned    map[topicPartition]*partition
	line     line
	toDo     sync.Cond // the line has a partition for an idle worker, or the workers' session is over
	idlers   int
	existing map[string]int // how many partitions each topic had when this consumer first looked
	checks   map[string]checked

	since    time.Time
	tallies  map[topicPartition]*tally
	latency  latencies
	failures failures
	alarm    alarm
	extra    map[string]int64
}

// New makes a consumer that calls handle for each record. It returns what Validate says of cfg, and an error for a nil
// handler or an option that the client refuses. It does not wait for the network: a service starts while Kafka is down.
//
// opts are the client's own: brokers, dialer, TLS, SASL, client id, hooks. What cfg decides, and how offsets are
// committed, opts cannot change.
func New(cfg Config, handle Handler, opts ...kgo.Opt) (*Consumer, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if handle == nil {
		return nil, errors.New("handler is nil: must be a function")
	}
	now := time.Now()
	c := &Consumer{
		cfg: cfg, handle: handle, opts: opts,
		owned:    map[topicPartition]*partition{},
		checks:   map[string]checked{},
		since:    now,
		tallies:  map[topicPartition]*tally{},
		failures: failures{groups: map[failure]*ops.ErrorGroup{}, maxGroups: cfg.MaxErrorGroups, maxSamples: cfg.ErrorSamples},
		alarm:    alarm{rule: cfg.Alert, alert: ops.Alert{Since: now}},
		extra:    map[string]int64{},
	}
	c.toDo.L = &c.mu
	// The client itself is made by Run: it joins the group the moment it exists.
	if err := kgo.ValidateOpts(c.newSession(context.Background()).options()...); err != nil {
		return nil, fmt.Errorf("client options: %w", err)
	}
	return c, nil
}

// Run joins the group and consumes until ctx ends. Then it takes no more records, lets the ones in work finish
// (DrainTimeout, after which they are cancelled), commits, leaves the group, closes the client, and returns nil. A static
// member does not leave: it is expected back.
//
// An error means that going on would be wrong: ErrFenced, ErrNoCommit. Anything that may pass is waited for and shown by
// Health: a broker that is down, a topic or group that may not be read. Run may be called once.
func (c *Consumer) Run(ctx context.Context) error {
	c.mu.Lock()
	before := c.started
	c.started = true
	c.mu.Unlock()
	if before {
		return errors.New("Run was called before: a consumer runs once")
	}
	for {
		err := c.newSession(ctx).run()
		again := errors.Is(err, errExpelled) || errors.Is(err, errGaveUp)
		switch {
		case again && ctx.Err() == nil:
		case again:
			return nil
		default:
			c.mu.Lock()
			c.failure = err
			c.mu.Unlock()
			return err
		}
		// Nothing that is left of a membership which may be over is worth trusting: not a position, not a queue, not
		// the client's idea of what it owns. Starting over repeats the uncommitted tail, as any crash does.
		slog.Warn("joining the group anew", "group", c.cfg.Group, "error", err)
	}
}
