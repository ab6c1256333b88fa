package harness

import (
	"context"
	"crypto/rand"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// realSlack is how much later than promised something may be seen on a real cluster: a network, a disk and a
// garbage collector are in between.
const realSlack = 3 * time.Second

// real is a running cluster, named by KAFKA_BROKERS.
type real struct {
	brokers []string
	dialer  net.Dialer
	client  *kgo.Client
	admin   *kadm.Client
	suffix  string

	mu     sync.Mutex
	topics []string
	names  []string
}

func newReal(brokers []string) (*real, error) {
	client, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.DisableClientMetrics(), kgo.ClientID("story"))
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 15*time.Second)
	defer cancel()
	if err := client.Ping(ctx); err != nil {
		client.Close()
		return nil, err
	}
	return &real{brokers: brokers, client: client, admin: kadm.NewClient(client), suffix: strings.ToLower(rand.Text()[:8])}, nil
}

func (r *real) seeds() []string { return r.brokers }

func (r *real) dial(ctx context.Context, network, address string) (net.Conn, error) {
	return r.dialer.DialContext(ctx, network, address)
}

func (r *real) listen(address string) (net.Listener, error) { return net.Listen("tcp", address) }
func (r *real) exact() bool                                 { return false }
func (r *real) slack() time.Duration                        { return realSlack }

// settle gives the cluster and the goroutines a moment; what must have happened is awaited by Until.
func (r *real) settle() { time.Sleep(20 * time.Millisecond) }

func (r *real) unique(name string) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	name += "-" + r.suffix
	r.names = append(r.names, name)
	return name
}

func (r *real) createTopic(ctx context.Context, name string, partitions int32, configs map[string]string) error {
	set := map[string]*string{}
	for k, v := range configs {
		set[k] = &v
	}
	if _, err := r.admin.CreateTopic(ctx, partitions, -1, set, name); err != nil {
		return err
	}
	r.mu.Lock()
	r.topics = append(r.topics, name)
	r.mu.Unlock()
	for range 100 { // a topic that was created is not yet known to every broker
		details, err := r.admin.ListTopics(ctx, name)
		if err == nil && details[name].Err == nil && len(details[name].Partitions) == int(partitions) {
			return nil
		}
		time.Sleep(50 * time.Millisecond)
	}
	return fmt.Errorf("topic %s was created and is still not known to the brokers", name)
}

// moveLeader puts another replica first and asks for an election.
func (r *real) moveLeader(ctx context.Context, topic string, partition int32) error {
	details, err := r.admin.ListTopicsWithInternal(ctx, topic)
	if err != nil {
		return err
	}
	p, ok := details[topic].Partitions[partition]
	if !ok {
		return fmt.Errorf("there is no partition %s/%d", topic, partition)
	}
	if len(p.Replicas) < 2 {
		return fmt.Errorf("%s/%d has one replica: a leader can only move where there are more", topic, partition)
	}
	i := slices.Index(p.Replicas, p.Leader)
	replicas := append(slices.Clone(p.Replicas[i+1:]), p.Replicas[:i+1]...)
	var move kadm.AlterPartitionAssignmentsReq
	move.Assign(topic, partition, replicas)
	if _, err := r.admin.AlterPartitionAssignments(ctx, move); err != nil {
		return err
	}
	set := kadm.TopicsSet{}
	set.Add(topic, partition)
	for range 100 {
		if _, err := r.admin.ElectLeaders(ctx, kadm.ElectPreferredReplica, set); err != nil {
			return err
		}
		details, err := r.admin.ListTopicsWithInternal(ctx, topic)
		if err == nil && details[topic].Partitions[partition].Leader == replicas[0] {
			return nil
		}
		time.Sleep(50 * time.Millisecond)
	}
	return fmt.Errorf("the leader of %s/%d did not move", topic, partition)
}

// moveCoordinator moves the leader of the group's partition of the offsets topic.
func (r *real) moveCoordinator(ctx context.Context, group string) error {
	const offsets = "__consumer_offsets"
	details, err := r.admin.ListTopicsWithInternal(ctx, offsets)
	if err != nil {
		return err
	}
	n := int32(len(details[offsets].Partitions))
	if n == 0 {
		return fmt.Errorf("there is no topic %s yet", offsets)
	}
	var hash int32 // Java's String.hashCode, by which Kafka places a group
	for _, c := range group {
		hash = 31*hash + c
	}
	return r.moveLeader(ctx, offsets, (hash&0x7fffffff)%n)
}

// errNotReal ends a story that asks what only the fake can do.
type errNotReal struct{ what string }

func (e errNotReal) Error() string { return e.what }

func (r *real) stopBroker(int32) (string, error) { return "", errNotReal{"it stops a broker"} }
func (r *real) startBroker(int32) error          { return errNotReal{"it starts a broker"} }

func (r *real) outlive(context.Context, ghost) {}

func (r *real) mend(kmsg.Request, kmsg.Response) bool { return false }

// close removes what the story made. Its own deadline is short: what cannot be removed carries a unique name.
func (r *real) close() {
	ctx, cancel := context.WithTimeout(context.Background(), 15*time.Second)
	defer cancel()
	r.mu.Lock()
	topics, names := r.topics, r.names
	r.mu.Unlock()
	if len(topics) > 0 {
		r.admin.DeleteTopics(ctx, topics...)
	}
	req := kmsg.NewPtrDeleteGroupsRequest()
	req.Groups = names
	r.client.Request(ctx, req) // most names are no groups: their errors say nothing
	r.client.Close()
}
