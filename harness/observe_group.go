package harness

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/kafka-katas/kafka-katas/harness/internal/wire"
)

func (p *life) repliedGroup(req kmsg.Request, resp kmsg.Response) {
	switch resp := resp.(type) {
	case *kmsg.JoinGroupResponse:
		group := req.(*kmsg.JoinGroupRequest).Group
		p.mu.Lock()
		p.member(group).joining = ""
		p.mu.Unlock()
		if resp.ErrorCode == kerr.MemberIDRequired.Code || p.refused(resp.ErrorCode, "JoinGroup", Event{Group: group}) {
			return
		}
		p.beat(group)
		p.joined(group, resp.Generation)
	case *kmsg.FindCoordinatorResponse:
		for _, c := range resp.Coordinators {
			p.forbidden(c.ErrorCode, "FindCoordinator", Event{Group: c.Key})
		}
		p.forbidden(resp.ErrorCode, "FindCoordinator", Event{})
	case *kmsg.SyncGroupResponse:
		group := req.(*kmsg.SyncGroupRequest).Group
		if p.refused(resp.ErrorCode, "SyncGroup", Event{Group: group}) {
			return
		}
		p.beat(group)
		assigned, err := wire.Assigned(resp)
		if err != nil {
			return
		}
		p.assigned(group, p.w.partitions(assigned))
	case *kmsg.HeartbeatResponse:
		switch resp.ErrorCode {
		case 0:
			p.beat(req.(*kmsg.HeartbeatRequest).Group)
		case kerr.RebalanceInProgress.Code: // a heartbeat all the same
			p.beat(req.(*kmsg.HeartbeatRequest).Group)
		default:
			p.refused(resp.ErrorCode, "Heartbeat", Event{Group: req.(*kmsg.HeartbeatRequest).Group})
		}
	case *kmsg.LeaveGroupResponse:
		if group := req.(*kmsg.LeaveGroupRequest).Group; !p.refused(resp.ErrorCode, "LeaveGroup", Event{Group: group}) {
			p.left(group)
		}
	case *kmsg.ConsumerGroupHeartbeatResponse:
		p.repliedGroupHeartbeat(req.(*kmsg.ConsumerGroupHeartbeatRequest), resp)
	case *kmsg.ShareGroupHeartbeatResponse:
		group := req.(*kmsg.ShareGroupHeartbeatRequest).GroupID
		switch {
		case p.refused(resp.ErrorCode, "ShareGroupHeartbeat", Event{Group: group}):
		case resp.MemberEpoch < 0:
			p.left(group)
		default:
			p.beat(group)
			p.joined(group, resp.MemberEpoch)
		}
	}
}

// repliedGroupHeartbeat reads a KIP-848 heartbeat, which is join, sync, heartbeat and leave in one.
func (p *life) repliedGroupHeartbeat(req *kmsg.ConsumerGroupHeartbeatRequest, resp *kmsg.ConsumerGroupHeartbeatResponse) {
	if p.refused(resp.ErrorCode, "ConsumerGroupHeartbeat", Event{Group: req.Group}) {
		return
	}
	if resp.MemberEpoch < 0 {
		p.left(req.Group)
		return
	}
	p.beat(req.Group)
	p.joined(req.Group, resp.MemberEpoch)
	if assigned, ok := wire.HeartbeatAssigned(resp); ok {
		p.assigned(req.Group, p.w.partitions(assigned))
	}
}

func (p *life) joined(group string, generation int32) {
	p.mu.Lock()
	m := p.member(group)
	again := m.generation == generation
	m.generation = generation
	p.mu.Unlock()
	if !again {
		p.w.journal.add(Event{Kind: Joined, Process: p.Name, Group: group, Generation: generation})
	}
}

func (p *life) assigned(group string, owned []TopicPartition) {
	slices.SortFunc(owned, func(a, b TopicPartition) int {
		return cmp.Or(cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.Partition, b.Partition))
	})
	p.mu.Lock()
	m := p.member(group)
	m.owned = owned
	generation := m.generation
	p.mu.Unlock()
	p.w.journal.add(Event{Kind: Assigned, Process: p.Name, Group: group, Generation: generation, Partitions: owned})
}

func (p *life) left(group string) {
	p.mu.Lock()
	m := p.member(group)
	m.owned, m.session = nil, 0
	p.mu.Unlock()
	p.w.journal.add(Event{Kind: Left, Process: p.Name, Group: group})
}

// beat notes that the coordinator has heard of the member.
func (p *life) beat(group string) {
	now := p.w.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.member(group).lastBeat = now
}

// expireUnanswered is expireLater for a process that ended while a request to join was under way, and so without leaving.
func (p *life) expireUnanswered() {
	p.mu.Lock()
	var members []membership
	for _, group := range slices.Sorted(maps.Keys(p.members)) {
		if m := p.members[group]; m.joining != "" {
			members = append(members, *m)
		}
	}
	p.mu.Unlock()
	for _, m := range members {
		p.expireFrom(m)
	}
}

// expireLater journals when the coordinators give up on a member that has vanished: the session timeout after they last
// heard of it. Brokers do not tell, so this is inferred from the wire.
func (p *life) expireLater() {
	p.mu.Lock()
	var members []membership
	for _, group := range slices.Sorted(maps.Keys(p.members)) {
		members = append(members, *p.members[group])
	}
	p.mu.Unlock()
	for _, m := range members {
		p.expireFrom(m)
	}
}

func (p *life) expireFrom(m membership) {
	if m.session == 0 {
		return
	}
	if m.joining != "" {
		go p.w.backend.outlive(p.w.ctx, ghost{m.group, m.joining, m.session, func() bool {
			p.mu.Lock()
			defer p.mu.Unlock()
			return p.members[m.group].lastBeat > m.lastBeat
		}})
	}
	at := m.lastBeat + m.session - p.w.Now()
	time.AfterFunc(at, func() {
		p.mu.Lock()
		now := p.members[m.group]
		back := now.lastBeat > m.lastBeat || now.session == 0
		p.mu.Unlock()
		if !back && p.w.ctx.Err() == nil && !p.w.replaced(p, m.group, m.instance) {
			p.w.journal.add(Event{Kind: Expired, Process: p.Name, Group: m.group})
		}
	})
}

// replaced says whether a static member's next life has taken its place before its session expired.
func (w *World) replaced(p *life, group, instance string) bool {
	if instance == "" {
		return false
	}
	w.mu.Lock()
	others := slices.Clone(w.processes)
	w.mu.Unlock()
	return slices.ContainsFunc(others, func(o *Process) bool {
		if (*life)(o) == p {
			return false
		}
		o.mu.Lock()
		defer o.mu.Unlock()
		m := o.members[group]
		return m != nil && m.instance == instance && m.lastBeat > 0
	})
}
