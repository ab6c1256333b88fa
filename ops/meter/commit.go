package meter

import (
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/kafka-katas/kafka-katas/ops"
)

// Committed says that the group's committed offset of a partition is offset, because the service set it or read it there;
// [ops.Unknown]: it is known no longer.
func (m *Meter) Committed(topic string, number int32, offset int64) {
	if p := m.partition(topic, number); p != nil {
		p.mu.Lock()
		p.committed = max(offset, ops.Unknown)
		p.mu.Unlock()
	}
	m.link.committed(nil)
}

// CommitFailed says that a commit failed: it counts in Extra as "commit_failures" and is Signal("commit_failures"). A
// commit that the service is not allowed stands in Health until one succeeds; any other is tried again.
func (m *Meter) CommitFailed(err error) {
	if err == nil {
		return
	}
	m.Count("commit_failures", 1)
	m.Signal("commit_failures")
	m.link.committed(err)
}

// OnCommit takes note of an answer to a commit, partition by partition, and counts it in Extra as "commits". It has the
// signature of the callbacks of kgo: AutoCommitCallback, CommitOffsetsSync, CommitOffsets.
func (m *Meter) OnCommit(_ *kgo.Client, req *kmsg.OffsetCommitRequest, resp *kmsg.OffsetCommitResponse, err error) {
	m.Count("commits", 1)
	if err != nil {
		m.CommitFailed(err)
		return
	}
	if req == nil || resp == nil {
		return
	}
	offsets := map[topicPartition]int64{}
	for _, t := range req.Topics {
		for _, p := range t.Partitions {
			offsets[topicPartition{t.Topic, p.Partition}] = p.Offset
		}
	}
	var failed error
	EachCommit(req, resp, func(topic string, partition int32, err error) {
		if err != nil {
			failed = errors.Join(failed, fmt.Errorf("commit of %s/%d: %w", topic, partition, err))
		} else if at, ok := offsets[topicPartition{topic, partition}]; ok {
			m.Committed(topic, partition, at)
		}
	})
	m.CommitFailed(failed)
}

// EachCommit calls fn for each partition of an answer to a commit, with the broker's refusal or nil. A newer broker
// answers with the ids of topics; the client puts the names in, but not once its membership is another one than that of
// the request, as after an expulsion: who looks for a topic by its name misses just the refusals then.
func EachCommit(req *kmsg.OffsetCommitRequest, resp *kmsg.OffsetCommitResponse, fn func(topic string, partition int32, err error)) {
	names := map[[16]byte]string{}
	for _, t := range req.Topics {
		names[t.TopicID] = t.Topic
	}
	for _, t := range resp.Topics {
		topic := t.Topic
		if topic == "" {
			topic = names[t.TopicID]
		}
		for _, p := range t.Partitions {
			fn(topic, p.Partition, kerr.ErrorForCode(p.ErrorCode))
		}
	}
}
