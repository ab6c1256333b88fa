package harness

import (
	"cmp"
	"context"
	"crypto/rand"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf16"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"

	"github.com/kafka-katas/kafka-katas/internal/login"
)

// realSlack is how much later than promised something may be seen on a real cluster: a network, a disk and a
// garbage collector are in between.
const realSlack = 3 * time.Second

// realHaste is how much too early something may seem: a story counts from what it has seen, and it sees late.
const realHaste = 250 * time.Millisecond

// real is a running cluster, named by KAFKA_BROKERS.
type real struct {
	brokers []string
	login   login.Login
	dialer  net.Dialer
	client  *kgo.Client
	admin   *kadm.Client
	mark    string // what the names of this story's topics, groups and transactions end in
	logf    func(format string, args ...any)
}

func newReal(brokers []string, logf func(string, ...any)) (*real, error) {
	r, err := connect(brokers)
	if err != nil {
		return nil, err
	}
	r.mark, r.logf = runMark()+strings.ToLower(rand.Text()[:4]), logf
	r.warmUp()
	return r, nil
}

func connect(brokers []string) (*real, error) {
	login, err := login.FromEnv()
	if err != nil {
		return nil, err
	}
	client, err := kgo.NewClient(append(login.Opts(), kgo.SeedBrokers(brokers...), kgo.DisableClientMetrics(), kgo.ClientID("story"),
		kgo.MetadataMinAge(10*time.Millisecond))...) // kadm answers from metadata of up to that age
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 15*time.Second)
	defer cancel()
	if err := client.Ping(ctx); err != nil {
		client.Close()
		return nil, err
	}
	return &real{brokers: brokers, login: login, client: client, admin: kadm.NewClient(client)}, nil
}

// version is what the cluster says that it is, and its size.
func (r *real) version() string {
	ctx, cancel := context.WithTimeout(context.Background(), 15*time.Second)
	defer cancel()
	version, size := "Kafka", "unknown size"
	if resp, err := kmsg.NewPtrApiVersionsRequest().RequestWith(ctx, r.client); err == nil {
		version += " " + kversion.FromApiVersionsResponse(resp).VersionGuess()
	}
	if brokers, err := r.admin.ListBrokers(ctx); err == nil {
		size = fmt.Sprintf("brokers: %d", len(brokers))
	}
	return version + " (" + size + ")"
}

// warm says that this process has seen the cluster's coordinators at work.
var warm sync.Once

// warmUp makes a new cluster create the topics behind its coordinators, which takes seconds that are no story's.
func (r *real) warmUp() {
	warm.Do(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		for _, find := range []func(context.Context, ...string) kadm.FindCoordinatorResponses{r.admin.FindGroupCoordinators, r.admin.FindTxnCoordinators} {
			for find(ctx, r.mark).Error() != nil && ctx.Err() == nil { // whatever is wrong then, the story will say
				time.Sleep(settling)
			}
		}
	})
}

// settling is between looks at whether the cluster has done what it was asked to.
const settling = 50 * time.Millisecond

func (r *real) seeds() []string { return r.brokers }

func (r *real) dial(ctx context.Context, network, address string) (net.Conn, error) {
	return r.dialer.DialContext(ctx, network, address)
}

func (r *real) listen(address string) (net.Listener, error) { return net.Listen("tcp", address) }
func (r *real) exact() bool                                 { return false }
func (r *real) slack() time.Duration                        { return realSlack }
func (r *real) haste() time.Duration                        { return realHaste }

// settle gives the cluster and the goroutines a moment; what must have happened is awaited by Until.
func (r *real) settle() { time.Sleep(20 * time.Millisecond) }

func (r *real) unique(name string) string { return name + r.mark }

func (r *real) createTopic(ctx context.Context, name string, partitions int32, configs map[string]string) error {
	// A story's records bear times of its own, such as an event's of years ago, and Kafka deletes what looks that old at its
	// next look, every five minutes. Retention is no story's business unless it says so.
	forever := "-1"
	set := map[string]*string{"retention.ms": &forever}
	for k, v := range configs {
		set[k] = &v
	}
	if _, err := r.admin.CreateTopic(ctx, partitions, -1, set, name); err != nil {
		return err
	}
	return r.known(ctx, name, partitions)
}

// known waits until every broker knows the topic and its leaders: a broker that does not sends clients away, for seconds.
func (r *real) known(ctx context.Context, name string, partitions int32) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	brokers, err := r.admin.ListBrokers(ctx)
	if err != nil {
		return err
	}
	req := kmsg.NewPtrMetadataRequest()
	topic := kmsg.NewMetadataRequestTopic()
	topic.Topic = kmsg.StringPtr(name)
	req.Topics = append(req.Topics, topic)
	for _, id := range brokers.NodeIDs() {
		for {
			resp, err := req.RequestWith(ctx, r.client.Broker(int(id)))
			if err == nil && complete(resp, partitions) {
				break
			}
			select {
			case <-time.After(settling):
			case <-ctx.Done():
				return fmt.Errorf("broker %d does not know the %d partitions of topic %s: %w", id, partitions, name, cmp.Or(err, ctx.Err()))
			}
		}
	}
	return nil
}

// complete says whether a broker knows leaders of so many partitions.
func complete(resp *kmsg.MetadataResponse, partitions int32) bool {
	if len(resp.Topics) != 1 || resp.Topics[0].ErrorCode != 0 || len(resp.Topics[0].Partitions) != int(partitions) {
		return false
	}
	return !slices.ContainsFunc(resp.Topics[0].Partitions, func(p kmsg.MetadataResponseTopicPartition) bool { return p.ErrorCode != 0 || p.Leader < 0 })
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
		return errNotReal{"it moves a leader or coordinator, and there the partition has one replica"}
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
		time.Sleep(settling)
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
	for _, c := range utf16.Encode([]rune(group)) {
		hash = 31*hash + int32(c)
	}
	return r.moveLeader(ctx, offsets, (hash&0x7fffffff)%n)
}

// errNotReal ends a story that asks what only the fake can do.
type errNotReal struct{ what string }

func (e errNotReal) Error() string { return e.what }

func (r *real) stopBroker(int32) (string, error) { return "", errNotReal{"it stops a broker"} }
func (r *real) startBroker(int32) error          { return errNotReal{"it starts a broker"} }

func (r *real) outlive(context.Context, ghost) {}

func (r *real) linger() {}

func (r *real) mend(kmsg.Request, kmsg.Response) bool { return false }
