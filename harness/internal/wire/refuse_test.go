package wire

import (
	"context"
	"reflect"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// codes counts the codes of a response, wherever they are.
func codes(v reflect.Value, want int16) (n int) {
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			return codes(v.Elem(), want)
		}
	case reflect.Slice:
		for i := range v.Len() {
			n += codes(v.Index(i), want)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).Name == code {
				if int16(v.Field(i).Int()) == want {
					n++
				}
			} else if v.Type().Field(i).IsExported() {
				n += codes(v.Field(i), want)
			}
		}
	}
	return n
}

// Whatever the version, what a refused client reads has the code once for each thing that it asked for.
func TestARefusalHasTheCodeAtEveryEntity(t *testing.T) {
	single := map[string]bool{ // one code whatever is named
		"OffsetFetch": true, "JoinGroup": true, "SyncGroup": true, "Heartbeat": true, "LeaveGroup": true, "InitProducerID": true,
		"AddOffsetsToTxn": true, "EndTxn": true, "ConsumerGroupHeartbeat": true, "ShareGroupHeartbeat": true, "ListGroups": true,
		"DescribeCluster": true,
	}
	for _, full := range requests() {
		name := kmsg.NameForKey(full.Key())
		for version := int16(0); version <= full.MaxVersion(); version++ {
			full.SetVersion(version)
			f := parseFrame(formatter.AppendRequest(nil, full, 5))
			require.NotNil(t, f, name)
			if f.Request == nil { // kmsg does not know this old version
				continue
			}
			resp, ok := Refuse(f.Request, kerr.NotController)
			require.True(t, ok, "%s v%d", name, version)
			back, _ := decodeReply(f, reply(f, nil, Answer(resp)))
			require.NotNil(t, back, "%s v%d", name, version)
			want := 2
			if single[name] || name == "FindCoordinator" && version < 4 {
				want = 1
			}
			if name == "OffsetFetch" && version < 2 {
				want = 2
			}
			require.Equal(t, want, codes(reflect.ValueOf(back), kerr.NotController.Code), "%s v%d: %+v", name, version, back)
		}
	}
}

func TestARefusalNamesWhatWasAsked(t *testing.T) {
	refuse := func(version int16, req kmsg.Request) kmsg.Response {
		req.SetVersion(version)
		resp, ok := Refuse(req, kerr.UnknownTopicOrPartition)
		require.True(t, ok)
		require.Equal(t, version, resp.GetVersion())
		return resp
	}
	for _, req := range requests() {
		switch r := refuse(req.MaxVersion(), req).(type) {
		case *kmsg.ProduceResponse:
			require.Equal(t, "t", r.Topics[0].Topic)
			require.Equal(t, topicID, r.Topics[0].TopicID)
			require.EqualValues(t, 1, r.Topics[0].Partitions[1].Partition)
			require.EqualValues(t, -1, r.Topics[0].Partitions[1].BaseOffset)
		case *kmsg.FetchResponse:
			require.EqualValues(t, 9, r.SessionID)
			require.EqualValues(t, 1, r.Topics[0].Partitions[1].Partition)
			require.EqualValues(t, -1, r.Topics[0].Partitions[1].HighWatermark)
		case *kmsg.OffsetFetchResponse:
			require.Equal(t, "g", r.Groups[0].Group)
			require.EqualValues(t, 1, r.Groups[0].Topics[0].Partitions[1].Partition)
			require.EqualValues(t, -1, r.Groups[0].Topics[0].Partitions[1].Offset)
			require.Zero(t, r.Groups[0].ErrorCode)
		case *kmsg.FindCoordinatorResponse:
			require.Equal(t, "h", r.Coordinators[1].Key)
			require.EqualValues(t, -1, r.Coordinators[1].NodeID)
		case *kmsg.JoinGroupResponse:
			require.Equal(t, "m", r.MemberID)
			require.EqualValues(t, -1, r.Generation)
		case *kmsg.DeleteTopicsResponse:
			require.Equal(t, "u", *r.Topics[len(r.Topics)-1].Topic)
		case *kmsg.DescribeGroupsResponse:
			require.Equal(t, "h", r.Groups[1].Group)
		case *kmsg.ShareFetchResponse:
			require.Equal(t, kerr.UnknownTopicOrPartition.Code, r.Topics[0].Partitions[0].AcknowledgeErrorCode)
			require.Zero(t, r.Topics[0].Partitions[1].AcknowledgeErrorCode)
		case *kmsg.AddPartitionsToTxnResponse:
			require.Equal(t, "x", r.Transactions[0].TransactionalID)
		}
	}
}

func TestACodeStandsWhereBrokersPutIt(t *testing.T) {
	for _, c := range []struct {
		req     kmsg.Request
		version int16
		err     *kerr.Error
		top     func(kmsg.Response) int16
	}{
		{&kmsg.FetchRequest{}, 12, kerr.InvalidFetchSessionEpoch, func(r kmsg.Response) int16 { return r.(*kmsg.FetchResponse).ErrorCode }},
		{&kmsg.OffsetFetchRequest{}, 7, kerr.NotCoordinator, func(r kmsg.Response) int16 { return r.(*kmsg.OffsetFetchResponse).ErrorCode }},
		{&kmsg.OffsetFetchRequest{}, 8, kerr.NotCoordinator, func(r kmsg.Response) int16 { return r.(*kmsg.OffsetFetchResponse).Groups[0].ErrorCode }},
		{&kmsg.LeaveGroupRequest{}, 5, kerr.NotCoordinator, func(r kmsg.Response) int16 { return r.(*kmsg.LeaveGroupResponse).ErrorCode }},
		{&kmsg.LeaveGroupRequest{}, 5, kerr.UnknownMemberID, func(r kmsg.Response) int16 { return r.(*kmsg.LeaveGroupResponse).Members[1].ErrorCode }},
		{&kmsg.ShareFetchRequest{}, 1, kerr.ShareSessionNotFound, func(r kmsg.Response) int16 { return r.(*kmsg.ShareFetchResponse).ErrorCode }},
		{&kmsg.ShareAcknowledgeRequest{}, 1, kerr.InvalidShareSessionEpoch, func(r kmsg.Response) int16 { return r.(*kmsg.ShareAcknowledgeResponse).ErrorCode }},
	} {
		for _, req := range requests() {
			if req.Key() == c.req.Key() {
				req.SetVersion(c.version)
				resp, ok := Refuse(parseFrame(formatter.AppendRequest(nil, req, 1)).Request, c.err)
				require.True(t, ok)
				require.Equal(t, c.err.Code, c.top(resp), "%s v%d %v", kmsg.NameForKey(req.Key()), c.version, c.err)
			}
		}
	}
}

func TestWhatHasNoCodeIsNotRefused(t *testing.T) {
	for _, req := range []kmsg.Request{
		&kmsg.ProduceRequest{Version: 9, Acks: 0},
		&kmsg.MetadataRequest{Version: 9},
		&kmsg.FetchRequest{Version: 6},
	} {
		_, ok := Refuse(req, kerr.NotController)
		require.False(t, ok, "%T", req)
	}
}

func TestRewritingKeepsTheEntitiesAndDropsTheResult(t *testing.T) {
	resp := &kmsg.FetchResponse{Version: 12, SessionID: 3, Topics: []kmsg.FetchResponseTopic{{Topic: "t",
		Partitions: []kmsg.FetchResponseTopicPartition{{Partition: 4, HighWatermark: 8, RecordBatches: []byte("records")}}}}}
	require.True(t, Rewrite(resp, kerr.NotLeaderForPartition))
	require.EqualValues(t, 12, resp.Version)
	require.EqualValues(t, 3, resp.SessionID)
	require.Zero(t, resp.ErrorCode)
	p := resp.Topics[0].Partitions[0]
	require.EqualValues(t, 4, p.Partition)
	require.Empty(t, p.RecordBatches)
	require.Equal(t, kerr.NotLeaderForPartition.Code, p.ErrorCode)

	meta := &kmsg.MetadataResponse{Version: 9, ControllerID: 2, Brokers: []kmsg.MetadataResponseBroker{{NodeID: 2}},
		Topics: []kmsg.MetadataResponseTopic{{Topic: kmsg.StringPtr("t"), Partitions: []kmsg.MetadataResponseTopicPartition{{Leader: 2}}}}}
	require.True(t, Rewrite(meta, kerr.UnknownTopicOrPartition))
	require.Len(t, meta.Brokers, 1)
	require.EqualValues(t, 2, meta.ControllerID)
	require.Empty(t, meta.Topics[0].Partitions)
	require.Equal(t, kerr.UnknownTopicOrPartition.Code, meta.Topics[0].ErrorCode)

	join := &kmsg.JoinGroupResponse{Version: 9, MemberID: "m", Generation: 3, LeaderID: "m", Members: []kmsg.JoinGroupResponseMember{{MemberID: "m"}}}
	require.True(t, Rewrite(join, kerr.MemberIDRequired))
	require.Equal(t, "m", join.MemberID)
	require.Empty(t, join.Members)
	require.Empty(t, join.LeaderID)
}

// kgo gets over each refusal of what a producer, a consumer and a group need, and nothing is lost by it.
func TestAClientGetsOverOneRefusalOfAnyKind(t *testing.T) {
	for key, e := range map[int16]*kerr.Error{
		0: kerr.NotLeaderForPartition, 1: kerr.NotLeaderForPartition, 2: kerr.NotLeaderForPartition, 3: kerr.LeaderNotAvailable,
		9: kerr.CoordinatorLoadInProgress, 10: kerr.CoordinatorNotAvailable, 11: kerr.CoordinatorNotAvailable,
		12: kerr.RebalanceInProgress, 14: kerr.NotCoordinator, 22: kerr.CoordinatorLoadInProgress,
	} {
		t.Run(kmsg.NameForKey(key), func(t *testing.T) {
			inBubble(t, func(t *testing.T, n network) {
				topic := n.topic(t, 1)
				s := &spy{request: once(key, refuseWith(t, e))}
				cl := n.consumer(t, s, topic, kgo.HeartbeatInterval(time.Second))
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				for range 3 {
					time.Sleep(2 * time.Second)
					require.NoError(t, cl.ProduceSync(ctx, &kgo.Record{Topic: topic, Value: []byte("v")}).FirstErr())
				}
				got := 0
				for got < 3 && ctx.Err() == nil {
					got += cl.PollFetches(ctx).NumRecords()
				}
				require.Equal(t, 3, got)
				time.Sleep(5 * time.Second) // a heartbeat, at least
				require.GreaterOrEqual(t, len(s.of(key)), 2)
			})
		})
	}
}
