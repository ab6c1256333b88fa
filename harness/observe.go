package harness

import (
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/kafka-katas/kafka-katas/harness/internal/wire"
)

// observer is a process as its connections see it: it journals what passes, and applies faults and crash points.
type observer life

var _ wire.Handler = (*observer)(nil)

// flying is what the observer keeps of a request until its reply comes.
type flying struct {
	fault *Fault
	sent  int // how many events there were when it left
}

// inFlight are the requests that have no reply yet. It is no sync.Map: of a generic type that a specification reaches,
// the compiler makes every method anew in each lesson.
type inFlight struct {
	mu sync.Mutex
	by map[*wire.Frame]flying
}

func (i *inFlight) add(f *wire.Frame, what flying) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.by == nil {
		i.by = map[*wire.Frame]flying{}
	}
	i.by[f] = what
}

func (i *inFlight) of(f *wire.Frame) flying {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.by[f]
}

func (i *inFlight) take(f *wire.Frame) flying {
	i.mu.Lock()
	defer i.mu.Unlock()
	defer delete(i.by, f)
	return i.by[f]
}

func (i *inFlight) has(which func(*wire.Frame) bool) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	for f := range i.by {
		if which(f) {
			return true
		}
	}
	return false
}

func (i *inFlight) drop(which func(*wire.Frame) bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	for f := range i.by {
		if which(f) {
			delete(i.by, f)
		}
	}
}

func (o *observer) life() *life { return (*life)(o) }

// Request counts the request, and lets it pass, refuses it or cuts it off.
func (o *observer) Request(f *wire.Frame) wire.Verdict {
	p, r := o.life(), Request(f.Key)
	p.mu.Lock()
	p.requests[r]++
	p.mu.Unlock()
	if f.Request == nil {
		return wire.Pass()
	}
	if p.point(Before, r) {
		return p.silenced()
	}
	p.requested(f.Request)
	fault := p.fault(r)
	if fault != nil {
		p.w.journal.add(Event{Kind: Disturbed, Process: p.Name, Text: fault.String()})
		switch fault.kind {
		case faultSever:
			return wire.Cut()
		case faultFail:
			if resp, ok := wire.Refuse(f.Request, fault.err); ok && !readsOnly(f.Request) {
				p.replied(f.Request, resp, 0)
				return wire.Answer(resp)
			}
		}
	}
	p.inFlight.add(f, flying{fault, p.w.journal.len()})
	return wire.Pass()
}

// readsOnly tells the requests of which nothing is done, so that their real reply can carry the error: a refusal that is
// made up has no place for it where a fetch names no partitions again, and names no brokers in a reply to Metadata.
func readsOnly(req kmsg.Request) bool {
	switch req.(type) {
	case *kmsg.FetchRequest, *kmsg.MetadataRequest:
		return true
	}
	return false
}

// WantReply asks for the replies that the journal or a fault needs. Fetch replies are expensive and say nothing that
// the handler's side does not.
func (o *observer) WantReply(f *wire.Frame) bool {
	switch f.Request.(type) {
	case *kmsg.MetadataRequest, *kmsg.FindCoordinatorRequest, *kmsg.ProduceRequest, *kmsg.OffsetCommitRequest, *kmsg.TxnOffsetCommitRequest, *kmsg.EndTxnRequest,
		*kmsg.JoinGroupRequest, *kmsg.SyncGroupRequest, *kmsg.HeartbeatRequest, *kmsg.LeaveGroupRequest,
		*kmsg.ConsumerGroupHeartbeatRequest, *kmsg.ShareGroupHeartbeatRequest, *kmsg.OffsetForLeaderEpochRequest:
		return true
	}
	flying := o.life().inFlight.of(f)
	return flying.fault != nil && (flying.fault.kind == faultLie || flying.fault.kind == faultFail)
}

// Reply journals what the broker has done, and lets the reply pass or not.
func (o *observer) Reply(f *wire.Frame, resp kmsg.Response) wire.Verdict {
	p := o.life()
	flying := p.inFlight.take(f)
	if p.isDead() {
		return p.overheard(f, resp, flying.sent)
	}
	p.awaken(Request(f.Key))
	pass := wire.Pass()
	if resp != nil {
		if p.w.backend.mend(f.Request, resp) {
			pass = wire.Answer(resp)
		}
		p.replied(f.Request, resp, flying.sent)
	}
	if p.point(After, Request(f.Key)) {
		return p.unheeded()
	}
	if fault := flying.fault; fault != nil {
		switch fault.kind {
		case faultLoseReply:
			return wire.Cut()
		case faultDelay:
			return wire.Delay(fault.delay, pass)
		case faultLie, faultFail:
			if resp != nil && wire.Rewrite(resp, fault.err) {
				return wire.Answer(resp)
			}
		}
	}
	if p.w.paced.Load() && (Request(f.Key) == Fetch || Request(f.Key) == Produce) {
		return wire.Delay(pace, pass)
	}
	return pass
}

// pace is how long a fetch or a produce takes where it must take time.
const pace = 5 * time.Millisecond

// membership is what a process's own requests and the coordinator's replies say of its place in a group.
type membership struct {
	group      string
	generation int32
	instance   string
	owned      []TopicPartition
	session    time.Duration
	lastBeat   time.Duration
	joining    string // the member id of a JoinGroup in flight
}

// newGroupSession is the session timeout of KIP-848 members: the broker's default, since members do not name one.
const newGroupSession = 45 * time.Second

// group is the group that the process is in; of several, one.
func (p *life) group() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.lastGroup
}

// member is the process's place in a group. p.mu is held.
func (p *life) member(group string) *membership {
	m := p.members[group]
	if m == nil {
		m = &membership{group: group}
		p.members[group] = m
	}
	return m
}

// requested notes what a process says of itself.
func (p *life) requested(req kmsg.Request) {
	p.mu.Lock()
	var gaveUp []TopicPartition
	var group string
	switch req := req.(type) {
	case *kmsg.JoinGroupRequest:
		group = req.Group
		m := p.member(group)
		joining, _ := wire.Join(req) // a subscription that cannot be read owns nothing
		m.session, m.joining = joining.SessionTimeout, req.MemberID
		m.name(req.InstanceID)
		gaveUp = m.keep(p.w.partitions(joining.Owned))
	case *kmsg.ConsumerGroupHeartbeatRequest:
		group = req.Group
		m := p.member(group)
		m.session = newGroupSession
		m.name(req.InstanceID)
		if owned, ok := wire.HeartbeatOwned(req); ok {
			gaveUp = m.keep(p.w.partitions(owned))
		}
	case *kmsg.ShareGroupHeartbeatRequest:
		group = req.GroupID
		p.member(group).session = newGroupSession
	}
	if group != "" {
		p.lastGroup = group
	}
	p.mu.Unlock()
	if len(gaveUp) > 0 {
		p.w.journal.add(Event{Kind: Revoked, Process: p.Name, Group: group, Partitions: gaveUp})
	}
}

func (m *membership) name(instance *string) {
	if instance != nil {
		m.instance = *instance
	}
}

// keep sets what a member says it owns, and returns what it has given up by that. A member's word can only shrink what
// the coordinator assigned.
func (m *membership) keep(owned []TopicPartition) (gaveUp []TopicPartition) {
	var kept []TopicPartition
	for _, tp := range m.owned {
		if slices.Contains(owned, tp) {
			kept = append(kept, tp)
		} else {
			gaveUp = append(gaveUp, tp)
		}
	}
	m.owned = kept
	return gaveUp
}

// partitions are those that the wire speaks of, by the name of their topic.
func (w *World) partitions(of []wire.Partitions) (out []TopicPartition) {
	for _, t := range of {
		topic := w.topicOf(t.Topic, t.TopicID)
		for _, p := range t.Partitions {
			out = append(out, TopicPartition{topic, p})
		}
	}
	return out
}

// replied journals what the broker's reply says was done.
func (p *life) replied(req kmsg.Request, resp kmsg.Response, sent int) {
	switch resp := resp.(type) {
	case *kmsg.MetadataResponse:
		p.w.learnTopics(resp)
		for _, t := range resp.Topics {
			if t.Topic != nil {
				p.forbidden(t.ErrorCode, "Metadata", Event{Topic: *t.Topic})
			}
		}
	case *kmsg.ProduceResponse:
		p.repliedProduce(req.(*kmsg.ProduceRequest), resp)
	case *kmsg.OffsetCommitResponse:
		p.repliedCommit(req.(*kmsg.OffsetCommitRequest), resp, sent)
	case *kmsg.TxnOffsetCommitResponse:
		p.repliedTxnCommit(req.(*kmsg.TxnOffsetCommitRequest), resp, sent)
	case *kmsg.EndTxnResponse:
		p.repliedEndTxn(req.(*kmsg.EndTxnRequest), resp)
	default:
		p.repliedGroup(req, resp)
	}
}

// refused journals an error code, if it is one.
func (p *life) refused(code int16, what string, e Event) bool {
	if code == 0 {
		return false
	}
	e.Kind, e.Process, e.Text, e.Err = Refused, p.Name, what, kerr.ErrorForCode(code)
	switch e.Err {
	case kerr.FencedInstanceID, kerr.ProducerFenced, kerr.InvalidProducerEpoch, kerr.FencedMemberEpoch:
		e.Kind = Fenced
	}
	p.w.journal.add(e)
	return true
}

// forbidden journals a refusal if it is one for want of rights: what else these requests are refused with is kgo's to get over.
func (p *life) forbidden(code int16, what string, e Event) {
	switch kerr.ErrorForCode(code) {
	case kerr.TopicAuthorizationFailed, kerr.GroupAuthorizationFailed, kerr.TransactionalIDAuthorizationFailed:
		p.refused(code, what, e)
	}
}

// learnTopics remembers which topic has which ID; newer requests name topics by their IDs alone.
func (w *World) learnTopics(resp *kmsg.MetadataResponse) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, t := range resp.Topics {
		if t.Topic != nil && t.TopicID != [16]byte{} {
			w.topicIDs[t.TopicID] = *t.Topic
		}
	}
}

func (w *World) topicByID(id [16]byte) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.topicIDs[id]
}

func (w *World) topicOf(name string, id [16]byte) string {
	if name != "" {
		return name
	}
	return w.topicByID(id)
}
