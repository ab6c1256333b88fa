package harness

import (
	"context"
	"fmt"
	"net"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
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
	v.cluster, err = kfake.NewCluster(opts...)
	return v, err
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
func (v *virtual) settle()                   { synctest.Wait() }
func (v *virtual) close()                    { v.cluster.Close() }

func (v *virtual) createTopic(_ context.Context, name string, partitions int32, configs map[string]string) error {
	return v.cluster.CreateTopic(name, partitions, configs)
}

func (v *virtual) moveLeader(_ context.Context, topic string, partition int32) error {
	old := v.cluster.LeaderFor(topic, partition)
	if old < 0 {
		return fmt.Errorf("there is no partition %s/%d", topic, partition)
	}
	return v.cluster.MoveTopicPartition(topic, partition, (old+1)%int32(v.brokers))
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

func (v *virtual) stopBroker(id int32) error { return v.cluster.RemoveNode(id) }

func (v *virtual) startBroker(id int32) error {
	_, _, err := v.cluster.AddNode(id, firstPort+int(id))
	return err
}
