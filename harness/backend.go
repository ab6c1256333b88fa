package harness

import (
	"context"
	"net"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// backend is what a story runs on: kfake in virtual time, or a real cluster in real time.
// Everything that a process does goes through dial and listen, so that journal, faults and crash points are the same on both.
type backend interface {
	seeds() []string
	dial(ctx context.Context, network, address string) (net.Conn, error)
	listen(address string) (net.Listener, error)

	// unique turns a story's name for a topic, group or transaction into the cluster's.
	unique(name string) string
	createTopic(ctx context.Context, name string, partitions int32, configs map[string]string) error

	// exact says that time is virtual: a promise about an instant is judged to the nanosecond.
	exact() bool
	// slack is how much later than promised an event may be seen. 0 in virtual time.
	slack() time.Duration
	// settle lets everything that can happen now happen.
	settle()

	moveLeader(ctx context.Context, topic string, partition int32) error
	moveCoordinator(ctx context.Context, group string) error
	stopBroker(id int32) error
	startBroker(id int32) error

	close()
}

// requestNames are the requests that faults and crash points name.
type Request int16

// The requests that stories disturb. Their numbers are Kafka's API keys.
const (
	Produce            = Request(kmsg.Produce)
	Fetch              = Request(kmsg.Fetch)
	ListOffsets        = Request(kmsg.ListOffsets)
	Metadata           = Request(kmsg.Metadata)
	OffsetCommit       = Request(kmsg.OffsetCommit)
	OffsetFetch        = Request(kmsg.OffsetFetch)
	FindCoordinator    = Request(kmsg.FindCoordinator)
	JoinGroup          = Request(kmsg.JoinGroup)
	Heartbeat          = Request(kmsg.Heartbeat)
	LeaveGroup         = Request(kmsg.LeaveGroup)
	SyncGroup          = Request(kmsg.SyncGroup)
	InitProducerID     = Request(kmsg.InitProducerID)
	AddPartitionsToTxn = Request(kmsg.AddPartitionsToTxn)
	AddOffsetsToTxn    = Request(kmsg.AddOffsetsToTxn)
	EndTxn             = Request(kmsg.EndTxn)
	TxnOffsetCommit    = Request(kmsg.TxnOffsetCommit)
	GroupHeartbeat     = Request(kmsg.ConsumerGroupHeartbeat)
	ShareFetch         = Request(kmsg.ShareFetch)
	ShareAcknowledge   = Request(kmsg.ShareAcknowledge)

	// Handle is no request: it names the call of a handler, for crash points.
	Handle = Request(-1)
)

// String is Kafka's name of the request, such as "OffsetCommit".
func (r Request) String() string {
	if r == Handle {
		return "handle"
	}
	return kmsg.NameForKey(int16(r))
}
