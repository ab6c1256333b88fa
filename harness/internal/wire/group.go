package wire

import (
	"fmt"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// Partitions are some partitions of a topic, sorted. The classic protocol names topics; that of KIP-848 has IDs.
type Partitions struct {
	Topic      string
	TopicID    [16]byte
	Partitions []int32
}

// Member is what a member of a classic group says of itself when it joins.
type Member struct {
	Group            string
	MemberID         string // "" at first
	InstanceID       string // "" for a dynamic member
	Protocols        []string
	SessionTimeout   time.Duration
	RebalanceTimeout time.Duration
	Topics           []string     // what it wants to consume, sorted
	Owned            []Partitions // what it still owns: nothing for an eager member
}

// Join decodes a consumer's JoinGroup. The error is about the subscription alone: the other fields are always set.
func Join(req *kmsg.JoinGroupRequest) (Member, error) {
	m := Member{
		Group: req.Group, MemberID: req.MemberID,
		SessionTimeout:   time.Duration(req.SessionTimeoutMillis) * time.Millisecond,
		RebalanceTimeout: time.Duration(req.RebalanceTimeoutMillis) * time.Millisecond,
	}
	if req.InstanceID != nil {
		m.InstanceID = *req.InstanceID
	}
	if req.Version == 0 { // it has one timeout for both
		m.RebalanceTimeout = m.SessionTimeout
	}
	var bad error
	for _, p := range req.Protocols {
		m.Protocols = append(m.Protocols, p.Name)
		meta := kmsg.NewConsumerMemberMetadata()
		if err := meta.ReadFrom(p.Metadata); err != nil {
			bad = fmt.Errorf("the subscription of %s in group %s by %s: %w", req.MemberID, req.Group, p.Name, err)
			continue
		}
		if m.Topics == nil {
			m.Topics = slices.Sorted(slices.Values(meta.Topics))
		}
		if m.Owned != nil {
			continue // a member says the same by each protocol, or nothing by those that ask for nothing
		}
		for _, t := range meta.OwnedPartitions {
			m.Owned = append(m.Owned, Partitions{Topic: t.Topic, Partitions: sorted(t.Partitions)})
		}
	}
	return m, bad
}

// Assigned decodes what a member is given by a SyncGroup's answer: all that it owns from now on.
func Assigned(resp *kmsg.SyncGroupResponse) ([]Partitions, error) {
	if len(resp.MemberAssignment) == 0 {
		return nil, nil
	}
	var a kmsg.ConsumerMemberAssignment
	if err := a.ReadFrom(resp.MemberAssignment); err != nil {
		return nil, fmt.Errorf("a member's assignment: %w", err)
	}
	var out []Partitions
	for _, t := range a.Topics {
		out = append(out, Partitions{Topic: t.Topic, Partitions: sorted(t.Partitions)})
	}
	return out, nil
}

// HeartbeatOwned is what a member of a KIP-848 group says it owns; not ok if it says nothing new.
func HeartbeatOwned(req *kmsg.ConsumerGroupHeartbeatRequest) (owned []Partitions, ok bool) {
	for _, t := range req.Topics {
		owned = append(owned, Partitions{TopicID: t.TopicID, Partitions: sorted(t.Partitions)})
	}
	return owned, req.Topics != nil
}

// HeartbeatAssigned is what a member of a KIP-848 group is to own: all of it; not ok if that is as before.
func HeartbeatAssigned(resp *kmsg.ConsumerGroupHeartbeatResponse) (assigned []Partitions, ok bool) {
	if resp.Assignment == nil {
		return nil, false
	}
	for _, t := range resp.Assignment.Topics {
		assigned = append(assigned, Partitions{TopicID: t.TopicID, Partitions: sorted(t.Partitions)})
	}
	return assigned, true
}

func sorted(ps []int32) []int32 { return slices.Sorted(slices.Values(ps)) }
