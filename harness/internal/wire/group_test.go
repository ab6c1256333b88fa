package wire

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kmsg"
)

func TestASubscriptionOfAnyVersionIsRead(t *testing.T) {
	for version := range int16(4) {
		meta := kmsg.NewConsumerMemberMetadata()
		meta.Version = version
		meta.Topics = []string{"u", "t"}
		meta.OwnedPartitions = []kmsg.ConsumerMemberMetadataOwnedPartition{{Topic: "t", Partitions: []int32{2, 0}}}
		meta.Generation, meta.Rack = 3, kmsg.StringPtr("r")
		m, err := Join(&kmsg.JoinGroupRequest{
			Version: 5, Group: "g", MemberID: "m", InstanceID: kmsg.StringPtr("i"), SessionTimeoutMillis: 10_000, RebalanceTimeoutMillis: 20_000,
			Protocols: []kmsg.JoinGroupRequestProtocol{{Name: "range", Metadata: nil}, {Name: "cooperative-sticky", Metadata: meta.AppendTo(nil)}},
		})
		require.Error(t, err, "the empty subscription")
		want := Member{
			Group: "g", MemberID: "m", InstanceID: "i", Protocols: []string{"range", "cooperative-sticky"},
			SessionTimeout: 10 * time.Second, RebalanceTimeout: 20 * time.Second, Topics: []string{"t", "u"},
		}
		if version > 0 {
			want.Owned = []Partitions{{Topic: "t", Partitions: []int32{0, 2}}}
		}
		require.Equal(t, want, m, "version %d", version)
	}
}

func TestTheOldestJoinHasOneTimeout(t *testing.T) {
	m, err := Join(&kmsg.JoinGroupRequest{SessionTimeoutMillis: 10_000})
	require.NoError(t, err)
	require.Equal(t, 10*time.Second, m.RebalanceTimeout)
}

func TestAnAssignmentOfNothingIsNothing(t *testing.T) {
	none, err := Assigned(&kmsg.SyncGroupResponse{})
	require.NoError(t, err)
	require.Empty(t, none)
	_, err = Assigned(&kmsg.SyncGroupResponse{MemberAssignment: []byte{1}})
	require.Error(t, err)

	_, ok := HeartbeatAssigned(&kmsg.ConsumerGroupHeartbeatResponse{})
	require.False(t, ok)
	all, ok := HeartbeatAssigned(&kmsg.ConsumerGroupHeartbeatResponse{Assignment: &kmsg.ConsumerGroupHeartbeatResponseAssignment{}})
	require.True(t, ok, "all is taken away")
	require.Empty(t, all)
	_, ok = HeartbeatOwned(&kmsg.ConsumerGroupHeartbeatRequest{})
	require.False(t, ok)
	owned, ok := HeartbeatOwned(&kmsg.ConsumerGroupHeartbeatRequest{Topics: []kmsg.ConsumerGroupHeartbeatRequestTopic{{TopicID: topicID, Partitions: []int32{1, 0}}}})
	require.True(t, ok)
	require.Equal(t, []Partitions{{TopicID: topicID, Partitions: []int32{0, 1}}}, owned)
}
