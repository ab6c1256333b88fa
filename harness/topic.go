package harness

import (
	"context"
	"fmt"
	"sync"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Topic is a topic of the story's cluster.
type Topic struct {
	w          *World
	name       string
	Name       string // the topic's name on the cluster: give this one to clients
	mu         sync.Mutex
	partitions int32
	next       int // numbers Fill's and Send's keys
	end        map[int32]int64
}

// Topic creates a topic. On a real cluster its Name is made unique and it is removed after the story.
// Configs are Kafka's topic configs, such as "cleanup.policy", "compact"; they come in pairs.
func (w *World) Topic(name string, partitions int32, configs ...string) *Topic {
	if len(configs)%2 != 0 {
		w.arrange(fmt.Errorf("configs of topic %s come in pairs, got %d", name, len(configs)))
	}
	set := map[string]string{}
	for i := 0; i+1 < len(configs); i += 2 {
		set[configs[i]] = configs[i+1]
	}
	t := &Topic{w: w, name: name, Name: w.backend.unique(name), partitions: partitions, end: map[int32]int64{}}
	w.arrange(w.backend.createTopic(w.ctx, t.Name, partitions, set))
	w.mu.Lock()
	w.topics[t.Name] = t
	w.mu.Unlock()
	return t
}

// String is the name that the story gave.
func (t *Topic) String() string { return t.name }

// Partitions is how many partitions the topic has now.
func (t *Topic) Partitions() int32 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.partitions
}

// Produce writes records and waits until they are acknowledged. A record's Topic is set; its partition is chosen
// by its key as Kafka's default partitioner does, unless the story uses [Topic.Send].
func (t *Topic) Produce(records ...*kgo.Record) {
	t.produce(t.w.producer(), records)
}

func (t *Topic) produce(client *kgo.Client, records []*kgo.Record) {
	for _, r := range records {
		r.Topic = t.Name
	}
	results := client.ProduceSync(t.w.ctx, records...)
	t.w.arrange(results.FirstErr())
	for _, r := range records {
		t.produced(r.Partition, r.Offset)
		t.w.journal.add(Event{Kind: Produced, Topic: t.Name, Partition: r.Partition, Offset: r.Offset, Key: string(r.Key)})
	}
}

func (t *Topic) produced(partition int32, offset int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.end[partition] = max(t.end[partition], offset+1)
}

// Fill writes n records to every partition, round by round, each with its own key: orders-0, orders-1, …
func (t *Topic) Fill(n int) {
	var records []*kgo.Record
	for range n {
		for p := range t.Partitions() {
			records = append(records, t.numbered(p))
		}
	}
	t.produce(t.w.manual(), records)
}

// Send writes n records to one partition, each with its own key.
func (t *Topic) Send(partition int32, n int) {
	records := make([]*kgo.Record, n)
	for i := range records {
		records[i] = t.numbered(partition)
	}
	t.produce(t.w.manual(), records)
}

// To writes these records to one partition.
func (t *Topic) To(partition int32, records ...*kgo.Record) {
	for _, r := range records {
		r.Partition = partition
	}
	t.produce(t.w.manual(), records)
}

func (t *Topic) numbered(partition int32) *kgo.Record {
	t.mu.Lock()
	defer t.mu.Unlock()
	key := fmt.Sprintf("%s-%d", t.name, t.next)
	t.next++
	return &kgo.Record{Partition: partition, Key: []byte(key), Value: []byte("value of " + key)}
}

// AddPartitions raises the number of partitions to n.
func (t *Topic) AddPartitions(n int32) {
	responses, err := t.w.admin().UpdatePartitions(t.w.ctx, int(n), t.Name)
	t.w.arrange(err)
	for _, r := range responses {
		t.w.arrange(r.Err)
	}
	t.w.arrange(t.w.backend.known(t.w.ctx, t.Name, n))
	t.mu.Lock()
	t.partitions = n
	t.mu.Unlock()
	t.w.reconnect()
	t.w.journal.add(Event{Kind: Disturbed, Topic: t.Name, Text: fmt.Sprintf("%s has %d partitions now", t.name, n)})
}

// Drop deletes the topic. From then on fetches and produces take some story time: for a while kgo asks again for what is
// gone, and at once, so that on a network without any delay time would never pass.
func (t *Topic) Drop() {
	t.w.paced.Store(true)
	responses, err := t.w.admin().DeleteTopics(t.w.ctx, t.Name)
	t.w.arrange(err)
	for _, r := range responses {
		t.w.arrange(r.Err)
	}
	t.w.journal.add(Event{Kind: Disturbed, Topic: t.Name, Text: t.name + " was deleted"})
}

// Leader is the broker that leads a partition.
func (t *Topic) Leader(partition int32) int32 {
	req := kmsg.NewPtrMetadataRequest() // kadm may answer from a cache
	topic := kmsg.NewMetadataRequestTopic()
	topic.Topic = kmsg.StringPtr(t.Name)
	req.Topics = append(req.Topics, topic)
	resp, err := req.RequestWith(t.w.ctx, t.w.producer())
	t.w.arrange(err)
	for _, p := range resp.Topics[0].Partitions {
		if p.Partition == partition {
			return p.Leader
		}
	}
	t.w.arrange(fmt.Errorf("there is no partition %s/%d", t.name, partition))
	return -1
}

// MoveLeader moves a partition's leader to another broker. From then on fetches and produces take some story time, as
// after [Topic.Drop].
func (t *Topic) MoveLeader(partition int32) {
	t.w.paced.Store(true)
	t.w.arrange(t.w.backend.moveLeader(t.w.ctx, t.Name, partition))
	t.w.journal.add(Event{Kind: Disturbed, Topic: t.Name, Partition: partition, Text: fmt.Sprintf("the leader of %s/%d moved", t.name, partition)})
}

// Records are what a careful reader finds in the topic by now: one that reads committed transactions alone, and waits
// for none that is still open.
func (t *Topic) Records() []*kgo.Record { return t.read(kgo.ReadCommitted()) }

// RecordsUncommitted are all records that were ever written to the topic, those of aborted transactions too.
func (t *Topic) RecordsUncommitted() []*kgo.Record { return t.read(kgo.ReadUncommitted()) }

// read reads the topic from its start to its end as it is now, by a client of the story's own.
func (t *Topic) read(level kgo.IsolationLevel) []*kgo.Record {
	list := t.w.admin().ListEndOffsets
	if level == kgo.ReadCommitted() {
		list = t.w.admin().ListCommittedOffsets
	}
	ends, err := list(t.w.ctx, t.Name)
	t.w.arrange(err)
	starts, err := t.w.admin().ListStartOffsets(t.w.ctx, t.Name)
	t.w.arrange(err)
	left := map[int32]int64{}
	for p, o := range ends[t.Name] {
		if o.Offset > starts[t.Name][p].Offset {
			left[p] = o.Offset
		}
	}
	client := t.w.client(kgo.ConsumeTopics(t.Name), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.FetchIsolationLevel(level), kgo.KeepControlRecords())
	defer client.Close()
	var out []*kgo.Record
	ctx, cancel := context.WithTimeout(t.w.ctx, readTimeout)
	defer cancel()
	for len(left) > 0 {
		fetches := client.PollFetches(ctx)
		if err := ctx.Err(); err != nil {
			t.w.arrange(fmt.Errorf("reading %s to its end: %w", t.name, err))
		}
		fetches.EachRecord(func(r *kgo.Record) {
			if !r.Attrs.IsControl() {
				out = append(out, r)
			}
			if r.Offset+1 >= left[r.Partition] {
				delete(left, r.Partition)
			}
		})
	}
	return out
}
