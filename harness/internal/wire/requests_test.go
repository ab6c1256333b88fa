package wire

import (
	"github.com/twmb/franz-go/pkg/kmsg"
)

var topicID = [16]byte{1, 2, 3}

// requests are one of each kind that a story may refuse, with two entities wherever a kind names entities.
func requests() []kmsg.Request {
	str := kmsg.StringPtr
	two := []int32{0, 1}
	return []kmsg.Request{
		&kmsg.ProduceRequest{Acks: -1, Topics: []kmsg.ProduceRequestTopic{{Topic: "t", TopicID: topicID,
			Partitions: []kmsg.ProduceRequestTopicPartition{{Partition: 0}, {Partition: 1}}}}},
		&kmsg.FetchRequest{SessionID: 9, Topics: []kmsg.FetchRequestTopic{{Topic: "t", TopicID: topicID,
			Partitions: []kmsg.FetchRequestTopicPartition{{Partition: 0}, {Partition: 1}}}}},
		&kmsg.ListOffsetsRequest{Topics: []kmsg.ListOffsetsRequestTopic{{Topic: "t",
			Partitions: []kmsg.ListOffsetsRequestTopicPartition{{Partition: 0}, {Partition: 1}}}}},
		&kmsg.MetadataRequest{Topics: []kmsg.MetadataRequestTopic{{Topic: str("t")}, {Topic: str("u")}}},
		&kmsg.OffsetCommitRequest{Group: "g", Topics: []kmsg.OffsetCommitRequestTopic{{Topic: "t", TopicID: topicID,
			Partitions: []kmsg.OffsetCommitRequestTopicPartition{{Partition: 0}, {Partition: 1}}}}},
		&kmsg.OffsetFetchRequest{
			Group: "g", Topics: []kmsg.OffsetFetchRequestTopic{{Topic: "t", Partitions: two}},
			Groups: []kmsg.OffsetFetchRequestGroup{{Group: "g", MemberEpoch: -1,
				Topics: []kmsg.OffsetFetchRequestGroupTopic{{Topic: "t", TopicID: topicID, Partitions: two}}}},
		},
		&kmsg.FindCoordinatorRequest{CoordinatorKey: "g", CoordinatorKeys: []string{"g", "h"}},
		&kmsg.JoinGroupRequest{Group: "g", MemberID: "m"},
		&kmsg.SyncGroupRequest{Group: "g"},
		&kmsg.HeartbeatRequest{Group: "g"},
		&kmsg.LeaveGroupRequest{Group: "g", MemberID: "m", Members: []kmsg.LeaveGroupRequestMember{{MemberID: "m"}, {MemberID: "n"}}},
		&kmsg.InitProducerIDRequest{TransactionalID: str("x")},
		&kmsg.AddPartitionsToTxnRequest{
			Topics: []kmsg.AddPartitionsToTxnRequestTopic{{Topic: "t", Partitions: two}},
			Transactions: []kmsg.AddPartitionsToTxnRequestTransaction{{TransactionalID: "x",
				Topics: []kmsg.AddPartitionsToTxnRequestTransactionTopic{{Topic: "t", Partitions: two}}}},
		},
		&kmsg.AddOffsetsToTxnRequest{TransactionalID: "x", Group: "g"},
		&kmsg.EndTxnRequest{TransactionalID: "x"},
		&kmsg.TxnOffsetCommitRequest{Group: "g", Topics: []kmsg.TxnOffsetCommitRequestTopic{{Topic: "t", TopicID: topicID,
			Partitions: []kmsg.TxnOffsetCommitRequestTopicPartition{{Partition: 0}, {Partition: 1}}}}},
		&kmsg.ConsumerGroupHeartbeatRequest{Group: "g", MemberID: "m"},
		&kmsg.ShareGroupHeartbeatRequest{GroupID: "g", MemberID: "m"},
		&kmsg.ShareFetchRequest{GroupID: str("g"), Topics: []kmsg.ShareFetchRequestTopic{{TopicID: topicID,
			Partitions: []kmsg.ShareFetchRequestTopicPartition{
				{Partition: 0, AcknowledgementBatches: []kmsg.ShareFetchRequestTopicPartitionAcknowledgementBatch{{LastOffset: 1}}},
				{Partition: 1},
			}}}},
		&kmsg.ShareAcknowledgeRequest{GroupID: str("g"), Topics: []kmsg.ShareAcknowledgeRequestTopic{{TopicID: topicID,
			Partitions: []kmsg.ShareAcknowledgeRequestTopicPartition{{Partition: 0}, {Partition: 1}}}}},
		&kmsg.CreateTopicsRequest{Topics: []kmsg.CreateTopicsRequestTopic{{Topic: "t"}, {Topic: "u"}}},
		&kmsg.DeleteTopicsRequest{TopicNames: []string{"t", "u"}, Topics: []kmsg.DeleteTopicsRequestTopic{{Topic: str("t")}, {Topic: str("u")}}},
		&kmsg.CreatePartitionsRequest{Topics: []kmsg.CreatePartitionsRequestTopic{{Topic: "t"}, {Topic: "u"}}},
		&kmsg.DescribeGroupsRequest{Groups: []string{"g", "h"}},
		&kmsg.DeleteGroupsRequest{Groups: []string{"g", "h"}},
		&kmsg.ListGroupsRequest{},
		&kmsg.DescribeClusterRequest{},
		&kmsg.OffsetForLeaderEpochRequest{Topics: []kmsg.OffsetForLeaderEpochRequestTopic{{Topic: "t",
			Partitions: []kmsg.OffsetForLeaderEpochRequestTopicPartition{{Partition: 0}, {Partition: 1}}}}},
		&kmsg.DescribeConfigsRequest{Resources: []kmsg.DescribeConfigsRequestResource{{ResourceName: "t"}, {ResourceName: "u"}}},
	}
}
