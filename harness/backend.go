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
	// known waits until every broker knows that the topic has so many partitions.
	known(ctx context.Context, name string, partitions int32) error

	// exact says that time is virtual: a promise about an instant is judged to the nanosecond.
	exact() bool
	// slack is how much later than promised an event may be seen. 0 in virtual time.
	slack() time.Duration
	// haste is how much earlier than promised it may seem to be, when what it counts from was seen late. 0 in virtual time.
	haste() time.Duration
	// linger gives what ends by itself the time to, such as a client that leaves its group in the background.
	linger()
	// settle lets everything that can happen now happen.
	settle()

	moveLeader(ctx context.Context, topic string, partition int32) error
	moveCoordinator(ctx context.Context, group string) error
	stopBroker(id int32) (port string, err error)
	startBroker(id int32) error

	// mend corrects what the backend answers wrongly; true if it changed resp.
	mend(req kmsg.Request, resp kmsg.Response) bool

	// outlive sees to it that a member which vanished while it was joining is removed in the end.
	outlive(ctx context.Context, ghost ghost)

	close()
}

// ghost is a member whose process vanished while its JoinGroup was in flight.
type ghost struct {
	group, member string
	session       time.Duration
	back          func() bool // the process is heard of again
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

	// No requests, but boundaries all the same, for crash points: the call of a handler, an effect outside Kafka, and
	// an exchange with somebody outside.
	Handle   = Request(-1)
	Effect   = Request(-2)
	Exchange = Request(-3)
)

// String is Kafka's name of the request, such as "OffsetCommit".
func (r Request) String() string {
	switch r {
	case Handle:
		return "handle"
	case Effect:
		return "effect"
	case Exchange:
		return "exchange"
	}
	return kmsg.NameForKey(int16(r))
}
