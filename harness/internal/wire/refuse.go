package wire

import (
	"slices"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Refuse is the answer of a broker that does none of the work: err's code for every topic, partition, group or member
// that req names, or for the request as a whole where the protocol has the code there. It is false for a request whose
// answer has no place for a code, and for one without an answer (acks=0).
//
// A Fetch within a session names only what changed; if it names nothing, the code stands at the top, where kgo heeds
// session errors alone. A refused Metadata names no brokers. For these two, Rewrite the real reply instead.
func Refuse(req kmsg.Request, err *kerr.Error) (kmsg.Response, bool) {
	if noReply(req) {
		return nil, false
	}
	resp := req.ResponseKind()
	resp.SetVersion(req.GetVersion())
	mirror(resp, req)
	switch q := req.(type) { // where the answer's fields are named otherwise
	case *kmsg.FindCoordinatorRequest:
		for _, key := range q.CoordinatorKeys {
			c := kmsg.NewFindCoordinatorResponseCoordinator()
			c.Key = key
			r := resp.(*kmsg.FindCoordinatorResponse)
			r.Coordinators = append(r.Coordinators, c)
		}
	case *kmsg.DeleteTopicsRequest:
		for _, name := range q.TopicNames {
			t := kmsg.NewDeleteTopicsResponseTopic()
			t.Topic = kmsg.StringPtr(name)
			r := resp.(*kmsg.DeleteTopicsResponse)
			r.Topics = append(r.Topics, t)
		}
	}
	if !Rewrite(resp, err) {
		return nil, false
	}
	if q, ok := req.(*kmsg.ShareFetchRequest); ok { // it acknowledges, too
		for i := range q.Topics {
			for j, p := range q.Topics[i].Partitions {
				if r := resp.(*kmsg.ShareFetchResponse); len(p.AcknowledgementBatches) > 0 && len(r.Topics) > 0 {
					r.Topics[i].Partitions[j].AcknowledgeErrorCode = err.Code
				}
			}
		}
	}
	return resp, true
}

// Rewrite puts err's code into a real answer, after the work was done, and takes out of it what an answer with an
// error does not have. It is false if the answer has no place for a code.
func Rewrite(resp kmsg.Response, err *kerr.Error) bool {
	blank(resp)
	prune(resp, err)
	if !stamp(resp, err.Code) {
		return false
	}
	switch r := resp.(type) { // what brokers say beside an error, and kmsg's defaults do not
	case *kmsg.MetadataResponse:
		return len(r.Topics) > 0 || r.Version >= 13
	case *kmsg.ProduceResponse:
		for _, t := range r.Topics {
			for i := range t.Partitions {
				t.Partitions[i].BaseOffset = -1
			}
		}
	case *kmsg.FetchResponse:
		for _, t := range r.Topics {
			for i := range t.Partitions {
				t.Partitions[i].HighWatermark = -1
			}
		}
		return len(r.Topics) > 0 || r.Version >= 7
	case *kmsg.OffsetFetchResponse:
		for _, t := range r.Topics {
			for i := range t.Partitions {
				t.Partitions[i].Offset = -1
			}
		}
		for _, g := range r.Groups {
			for _, t := range g.Topics {
				for i := range t.Partitions {
					t.Partitions[i].Offset = -1
				}
			}
		}
	case *kmsg.FindCoordinatorResponse:
		r.NodeID, r.Port = -1, -1
		for i := range r.Coordinators {
			r.Coordinators[i].NodeID, r.Coordinators[i].Port = -1, -1
		}
	case *kmsg.InitProducerIDResponse:
		r.ProducerEpoch = -1
	}
	return true
}

// prune takes the entities out of an answer whose code is one for the whole request or group: where a kind has both
// places, brokers use one of them.
func prune(resp kmsg.Response, err *kerr.Error) {
	is := func(codes ...*kerr.Error) bool {
		return slices.ContainsFunc(codes, func(e *kerr.Error) bool { return e.Code == err.Code })
	}
	switch r := resp.(type) {
	case *kmsg.MetadataResponse:
		for i := range r.Topics {
			r.Topics[i].Partitions = nil
		}
	case *kmsg.FetchResponse:
		if is(kerr.FetchSessionIDNotFound, kerr.InvalidFetchSessionEpoch, kerr.FetchSessionTopicIDError) {
			r.Topics, r.SessionID = nil, 0
		}
	case *kmsg.OffsetFetchResponse:
		if r.Version < 2 || is(kerr.UnknownTopicOrPartition, kerr.UnknownTopicID, kerr.TopicAuthorizationFailed, kerr.UnstableOffsetCommit) {
			return
		}
		r.Topics = nil
		for i := range r.Groups {
			r.Groups[i].Topics = nil
		}
	case *kmsg.LeaveGroupResponse:
		if !is(kerr.UnknownMemberID, kerr.FencedInstanceID) {
			r.Members = nil
		}
	case *kmsg.ShareFetchResponse:
		if is(shareSession...) {
			r.Topics = nil
		}
	case *kmsg.ShareAcknowledgeResponse:
		if is(shareSession...) {
			r.Topics = nil
		}
	}
}

var shareSession = []*kerr.Error{
	kerr.ShareSessionNotFound, kerr.InvalidShareSessionEpoch, kerr.ShareSessionLimitReached, kerr.GroupAuthorizationFailed,
}
