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
	names, offsets := map[[16]byte]string{}, map[topicPartition]int64{}
	for _, t := range req.Topics {
		names[t.TopicID] = t.Topic
		for _, p := range t.Partitions {
			offsets[topicPartition{t.Topic, p.Partition}] = p.Offset
		}
	}
	var failed error
	for _, t := range resp.Topics {
		topic := t.Topic
		if topic == "" { // newer brokers answer with the id alone
			topic = names[t.TopicID]
		}
		for _, p := range t.Partitions {
			if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
				failed = errors.Join(failed, fmt.Errorf("commit of %s/%d: %w", topic, p.Partition, err))
			} else if at, ok := offsets[topicPartition{topic, p.Partition}]; ok {
				m.Committed(topic, p.Partition, at)
			}
		}
	}
	m.CommitFailed(failed)
}
