package lesson07

import (
	"context"
	"errors"

	"github.com/twmb/franz-go/pkg/kgo"
)

// Handler does the work for one record.
//
// The consumer calls it for one record of a partition at a time, in order of offset, and for at most Concurrency
// partitions at once. nil means that the record is done with and may be committed. An error means that it is not: the
// same record comes again after RetryAfter and nothing behind it in its partition is handed over before. A panic counts
// as an error. The record belongs to the handler until it returns.
//
// ctx ends when the partition has to be given up, or the process has to stop, and DrainTimeout has passed; and at once
// when the partition is lost, or will be, because the coordinator has not answered for nearly SessionTimeout. A handler
// must then return: until it has, nobody else may get the partition.
type Handler func(ctx context.Context, record *kgo.Record) error

var (
	// ErrFenced ends Run when another member joined with the same InstanceID. That one is the newer; going on here
	// would be two processes fighting for one name. So it is under ProtocolClassic. Under ProtocolConsumer the older
	// keeps the name while it lives, and the newer is the one that is refused (UNRELEASED_INSTANCE_ID): it waits, and
	// Health says why.
	ErrFenced = errors.New("fenced by a newer member with the same instance id")
	// ErrNoCommit ends Run when Start is StartCommitted and the group has no commit for a partition, or its commit
	// points to records that no longer exist.
	ErrNoCommit = errors.New("no committed offset to start from")
)

// Consumer is one member of a consumer group. Its methods are safe for concurrent use.
type Consumer struct {
	// TODO: the client, the partitions that it owns, and what Stats and Health need to answer from memory.
}

// New makes a consumer that calls handle for each record. It returns what Validate says of cfg, and an error for a nil
// handler or an option that the client refuses. It does not wait for the network: a service starts while Kafka is down.
//
// opts are the client's own: brokers, dialer, TLS, SASL, client id, hooks. What cfg decides, and how offsets are
// committed, opts cannot change. ConsumeRegex, BlockRebalanceOnPoll and an InstanceID that cfg does not have, which no
// later option would undo, are an error as well: of New, or of Run where nothing but a client can tell.
func New(cfg Config, handle Handler, opts ...kgo.Opt) (*Consumer, error) {
	// TODO: validate, then check the options by kgo.ValidateOpts: opts first, then what cfg decides. Run makes the client.
	return nil, errors.New("lesson07: New is not written yet")
}

// Run joins the group and consumes until ctx ends. Then it takes no more records, lets the ones in work finish
// (DrainTimeout, after which they are cancelled), commits, leaves the group, closes the client, and returns nil. A static
// member does not leave: it is expected back.
//
// An error means that going on would be wrong: ErrFenced, ErrNoCommit. Anything that may pass is waited for and shown by
// Health: a broker that is down, a topic or group that may not be read. Run may be called once.
func (c *Consumer) Run(ctx context.Context) error {
	// TODO: poll, hand over per partition, commit what is done.
	return errors.New("lesson07: Consumer.Run is not written yet")
}
