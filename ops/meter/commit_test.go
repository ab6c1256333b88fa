package meter_test

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/kafka-katas/kafka-katas/ops/meter"
)

// An answer with names, as older brokers give it, and one with ids alone say the same.
func TestEachCommit_NamesTheTopicWhateverTheAnswerHas(t *testing.T) {
	ids := map[string][16]byte{"orders": {1}, "payments": {2}}
	req := kmsg.NewPtrOffsetCommitRequest()
	for _, topic := range []string{"orders", "payments"} {
		rt := kmsg.NewOffsetCommitRequestTopic()
		rt.Topic, rt.TopicID = topic, ids[topic]
		req.Topics = append(req.Topics, rt)
	}
	answer := func(name string, id [16]byte, codes ...int16) (rt kmsg.OffsetCommitResponseTopic) {
		rt.Topic, rt.TopicID = name, id
		for i, code := range codes {
			rt.Partitions = append(rt.Partitions, kmsg.OffsetCommitResponseTopicPartition{Partition: int32(i), ErrorCode: code})
		}
		return rt
	}
	refused := kerr.UnknownMemberID.Code
	for name, topics := range map[string][]kmsg.OffsetCommitResponseTopic{
		"names":    {answer("payments", [16]byte{}, 0), answer("orders", [16]byte{}, 0, refused)},
		"ids":      {answer("", ids["payments"], 0), answer("", ids["orders"], 0, refused)},
		"one each": {answer("payments", ids["payments"], 0), answer("", ids["orders"], 0, refused)},
	} {
		t.Run(name, func(t *testing.T) {
			var got []string
			meter.EachCommit(req, &kmsg.OffsetCommitResponse{Topics: topics}, func(topic string, partition int32, err error) {
				got = append(got, fmt.Sprint(topic, "/", partition, " ", err))
			})
			want := []string{"payments/0 <nil>", "orders/0 <nil>", "orders/1 " + kerr.UnknownMemberID.Error()}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}
