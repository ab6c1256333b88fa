package harness

import (
	"context"
	"fmt"
	"net"
	"slices"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// firstPort is where the fake cluster's brokers listen on the story's own network: 9092, 9093, …
const firstPort = 9092

// virtual is kfake on a virtual network in a synctest bubble.
type virtual struct {
	network kfake.VirtualNetwork
	cluster *kfake.Cluster
	brokers int
}

func newVirtual(o options) (*virtual, error) {
	v := &virtual{brokers: o.brokers}
	ports := make([]int, o.brokers)
	for i := range ports {
		ports[i] = firstPort + i
	}
	opts := append([]kfake.Opt{
		kfake.ListenFn(v.network.Listen), kfake.Ports(ports...), kfake.NumBrokers(o.brokers),
		kfake.GroupMinSessionTimeout(time.Second), kfake.GroupMaxSessionTimeout(30 * time.Minute),
		// kfake lowers the heartbeat interval inside test binaries; stories want Kafka's own.
		kfake.BrokerConfigs(map[string]string{"group.consumer.heartbeat.interval.ms": "5000"}),
	}, o.cluster...)
	var err error
	if v.cluster, err = kfake.NewCluster(opts...); err != nil {
		return v, err
	}
	v.hasten()
	return v, nil
}

// beginnings is how long after a client was told where to begin its fetches do not wait.
const beginnings = time.Millisecond

// hasten lets fetches of the instant in which clients learn where to begin return at once, also with nothing. A client
// adds its partitions one by one: when the machine is slow in the middle of that, its fetch goes out with the first one
// alone, and the others wait until that fetch returns, 5 s by default. Whether they do must not depend on the machine.
// Kafka may return a fetch earlier than it was asked to, too.
func (v *virtual) hasten() {
	var last time.Time // control functions run one at a time
	begins := func(kmsg.Request) (kmsg.Response, error, bool) {
		last = time.Now()
		return nil, nil, false
	}
	for _, key := range []int16{int16(OffsetFetch), int16(ListOffsets), int16(kmsg.OffsetForLeaderEpoch)} {
		v.cluster.ControlKey(key, begins)
	}
	v.cluster.ControlKey(int16(Fetch), func(req kmsg.Request) (kmsg.Response, error, bool) {
		if fetch, ok := req.(*kmsg.FetchRequest); ok && time.Since(last) < beginnings {
			fetch.MaxWaitMillis = min(fetch.MaxWaitMillis, int32(beginnings.Milliseconds()))
		}
		return nil, nil, false
	})
}

func (v *virtual) seeds() []string {
	out := make([]string, v.brokers)
	for i := range out {
		out[i] = fmt.Sprintf("127.0.0.1:%d", firstPort+i)
	}
	return out
}

func (v *virtual) dial(ctx context.Context, network, address string) (net.Conn, error) {
	return v.network.DialContext(ctx, network, address)
}

func (v *virtual) listen(address string) (net.Listener, error) {
	return v.network.Listen("tcp", address)
}
func (v *virtual) unique(name string) string { return name }
func (v *virtual) exact() bool               { return true }
func (v *virtual) slack() time.Duration      { return 0 }
func (v *virtual) haste() time.Duration      { return 0 }
func (v *virtual) settle()                   { synctest.Wait() }
func (v *virtual) close()                    { v.cluster.Close() }

// linger is longer than any request of a closed client may take. What is still there then has no end.
func (v *virtual) linger() { time.Sleep(time.Minute) }

func (v *virtual) createTopic(_ context.Context, name string, partitions int32, configs map[string]string) error {
	return v.cluster.CreateTopic(name, partitions, configs)
}

func (v *virtual) known(context.Context, string, int32) error { return nil } // they share what they know

func (v *virtual) moveLeader(_ context.Context, topic string, partition int32) error {
	old := v.cluster.LeaderFor(topic, partition)
	if old < 0 {
		return fmt.Errorf("there is no partition %s/%d", topic, partition)
	}
	for next := range int32(v.brokers) {
		if v.cluster.MoveTopicPartition(topic, partition, (old+1+next)%int32(v.brokers)) == nil { // not to a stopped one
			break
		}
	}
	if v.cluster.LeaderFor(topic, partition) == old {
		return fmt.Errorf("the leader of %s/%d stays at broker %d: there is no other", topic, partition, old)
	}
	return nil
}

// moveCoordinator rehashes until the group's coordinator is another one: kfake moves all of them at once, at random.
func (v *virtual) moveCoordinator(_ context.Context, group string) error {
	if v.brokers < 2 {
		return fmt.Errorf("a coordinator can only move between two brokers or more: give the story Brokers(3)")
	}
	old := v.cluster.CoordinatorFor(group)
	for range 100 {
		v.cluster.RehashCoordinators()
		if v.cluster.CoordinatorFor(group) != old {
			return nil
		}
	}
	return fmt.Errorf("the coordinator of %s stays at broker %d", group, old)
}

func (v *virtual) stopBroker(id int32) (port string, err error) {
	return fmt.Sprint(firstPort + id), v.cluster.RemoveNode(id)
}

func (v *virtual) startBroker(id int32) error {
	_, _, err := v.cluster.AddNode(id, firstPort+int(id))
	return err
}

// mend puts right what kfake of 2026-09-18 says after a leader has moved and before anything was produced to the new
// one: it knows an epoch only by its batches, and answers that the old epoch's end is unknown. kgo takes that for data
// loss and reads the partition again from its start. Kafka notes an epoch when the leader takes office, and answers
// with the end of the log (KIP-101).
func (v *virtual) mend(req kmsg.Request, resp kmsg.Response) bool {
	asked, ok := req.(*kmsg.OffsetForLeaderEpochRequest)
	if !ok {
		return false
	}
	epochs := map[TopicPartition]int32{}
	for _, t := range asked.Topics {
		for _, p := range t.Partitions {
			epochs[TopicPartition{t.Topic, p.Partition}] = p.LeaderEpoch
		}
	}
	changed := false
	answer := resp.(*kmsg.OffsetForLeaderEpochResponse)
	for i, t := range answer.Topics {
		for j := range t.Partitions {
			p := &answer.Topics[i].Partitions[j]
			info := v.cluster.PartitionInfo(t.Topic, p.Partition)
			epoch := epochs[TopicPartition{t.Topic, p.Partition}]
			if p.ErrorCode != 0 || p.EndOffset != -1 || info == nil || epoch >= info.Epoch {
				continue
			}
			p.LeaderEpoch, p.EndOffset, changed = epoch, info.HighWatermark, true
		}
	}
	return changed
}

// outlive removes a member that vanished while it was joining when its session is over, also if it leads the group: then
// the others wait for its SyncGroup, and kfake of 2026-09-18 expels them at that time too, although Kafka keeps alive who
// waits. So a leader has to go before that. (Where the session begins without it, cable.hangUp has told the fake.)
func (v *virtual) outlive(ctx context.Context, g ghost) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	vanished := time.Now()
	var admitted time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		info := v.cluster.GroupInfo(g.group)
		if g.back() || info == nil || !slices.ContainsFunc(info.Members, func(m kfake.GroupMember) bool { return m.MemberID == g.member }) {
			return
		}
		switch {
		case time.Since(vanished) >= 3*g.session: // members that come and go put the end of a rebalance off for ever
			v.remove(ctx, g)
			return
		case info.State == "PreparingRebalance":
			admitted = time.Time{}
		case admitted.IsZero():
			admitted = time.Now()
		case time.Since(admitted) >= g.session, info.State == "CompletingRebalance" && time.Since(admitted) >= g.session-2*time.Second:
			v.remove(ctx, g)
			return
		}
	}
}

// remove takes a member out of its group, as an administrator can.
func (v *virtual) remove(ctx context.Context, g ghost) {
	client, err := kgo.NewClient(kgo.SeedBrokers(v.seeds()...), kgo.Dialer(v.dial), kgo.DisableClientMetrics())
	if err != nil {
		return
	}
	defer client.Close()
	leave := kmsg.NewPtrLeaveGroupRequest()
	leave.Group = g.group
	member := kmsg.NewLeaveGroupRequestMember()
	member.MemberID = g.member
	leave.Members = append(leave.Members, member)
	leave.RequestWith(ctx, client) // if it fails the group stays as it was, and the story says so
}
