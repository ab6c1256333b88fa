package wire

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// groupLog is what the wire tells of a group's members.
type groupLog struct {
	mu       sync.Mutex
	joins    []Member
	assigned [][]Partitions
}

func (g *groupLog) spy(t *testing.T) *spy {
	s := new(spy)
	s.request = func(f *Frame) Verdict {
		g.mu.Lock()
		defer g.mu.Unlock()
		switch req := f.Request.(type) {
		case *kmsg.JoinGroupRequest:
			m, err := Join(req)
			if err != nil {
				t.Error(err)
			}
			g.joins = append(g.joins, m)
		case *kmsg.ConsumerGroupHeartbeatRequest:
			if owned, ok := HeartbeatOwned(req); ok {
				g.joins = append(g.joins, Member{Group: req.Group, MemberID: req.MemberID, Owned: owned})
			}
		}
		return Pass()
	}
	s.reply = func(f *Frame, resp kmsg.Response) Verdict {
		g.mu.Lock()
		defer g.mu.Unlock()
		switch resp := resp.(type) {
		case *kmsg.SyncGroupResponse:
			if a, err := Assigned(resp); err != nil {
				t.Error(err)
			} else if resp.ErrorCode == 0 {
				g.assigned = append(g.assigned, a)
			}
		case *kmsg.ConsumerGroupHeartbeatResponse:
			if a, ok := HeartbeatAssigned(resp); ok {
				g.assigned = append(g.assigned, a)
			}
		}
		return Pass()
	}
	return s
}

// last is what was assigned last.
func (g *groupLog) last() []Partitions {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.assigned) == 0 {
		return nil
	}
	return g.assigned[len(g.assigned)-1]
}

// until waits for what another goroutine brings about; a virtual second costs nothing.
func until(t *testing.T, what func() bool) {
	t.Helper()
	for range 600 {
		if what() {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	t.Fatal("it has not come about within a minute")
}

func count(ps []Partitions) (n int) {
	for _, p := range ps {
		n += len(p.Partitions)
	}
	return n
}

func TestACooperativeGroupTellsWhatItsMembersOwn(t *testing.T) {
	onBoth(t, func(t *testing.T, n network) {
		topic := n.topic(t, 6)
		opts := []kgo.Opt{kgo.Balancers(kgo.CooperativeStickyBalancer()), kgo.SessionTimeout(20 * time.Second),
			kgo.RebalanceTimeout(30 * time.Second), kgo.HeartbeatInterval(time.Second)}
		var a, b groupLog
		first := n.consumer(t, a.spy(t), topic, append(opts, kgo.InstanceID("one"))...)
		go drain(t.Context(), first)
		until(t, func() bool { return count(a.last()) == 6 })
		require.Equal(t, []Partitions{{Topic: topic, Partitions: []int32{0, 1, 2, 3, 4, 5}}}, a.last())

		second := n.consumer(t, b.spy(t), topic, opts...)
		go drain(t.Context(), second)
		until(t, func() bool { return count(a.last()) == 3 && count(b.last()) == 3 })

		a.mu.Lock()
		defer a.mu.Unlock()
		join := a.joins[0]
		require.Equal(t, topic, join.Group)
		require.Equal(t, "one", join.InstanceID)
		require.Equal(t, []string{"cooperative-sticky"}, join.Protocols)
		require.Equal(t, 20*time.Second, join.SessionTimeout)
		require.Equal(t, 30*time.Second, join.RebalanceTimeout)
		require.Equal(t, []string{topic}, join.Topics)
		require.Empty(t, join.Owned)
		again := slices.IndexFunc(a.joins, func(m Member) bool { return count(m.Owned) == 6 })
		require.Positive(t, again, "it joins again with what it owns: %v", a.joins)
		last := a.joins[len(a.joins)-1]
		require.Equal(t, 3, count(last.Owned), "after giving three up it joins once more")
	})
}

func TestAServerSideGroupTellsWhatItsMembersOwn(t *testing.T) {
	onBoth(t, func(t *testing.T, n network) {
		topic := n.topic(t, 6)
		opts := []kgo.Opt{kgo.Balancers(kgo.StickyBalancer()), kgo.ServerSideBalancer()}
		var a, b groupLog
		spyA := a.spy(t)
		go drain(t.Context(), n.consumer(t, spyA, topic, opts...))
		until(t, func() bool { return count(a.last()) == 6 })
		require.NotZero(t, a.last()[0].TopicID)
		require.Empty(t, a.last()[0].Topic)

		go drain(t.Context(), n.consumer(t, b.spy(t), topic, opts...))
		until(t, func() bool { return count(a.last()) == 3 && count(b.last()) == 3 })
		require.NotEmpty(t, spyA.of(heartbeat848))
		require.Empty(t, spyA.of(joinGroup))
		require.Empty(t, spyA.broken)

		until(t, func() bool {
			a.mu.Lock()
			defer a.mu.Unlock()
			return count(a.joins[len(a.joins)-1].Owned) == 3
		})
	})
}

// drain polls until the context ends.
func drain(ctx context.Context, cl *kgo.Client) {
	for ctx.Err() == nil {
		cl.PollFetches(ctx)
	}
}

func TestATransactionIsSeenAndItsEndCanBeLost(t *testing.T) {
	onBoth(t, func(t *testing.T, n network) {
		in, out := n.topic(t, 1), n.topic(t, 1)
		produceN(t, n.client(t, nil), in, 5)
		s := &spy{reply: onceReply(endTxn, func(*Frame, kmsg.Response) Verdict { return Cut() })}
		sess, err := kgo.NewGroupTransactSession(
			kgo.SeedBrokers(n.seeds...), kgo.Dialer(n.tapped(s)), kgo.DisableClientMetrics(), kgo.TransactionalID(out),
			kgo.ConsumerGroup(in), kgo.ConsumeTopics(in), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
			kgo.FetchIsolationLevel(kgo.ReadCommitted()))
		require.NoError(t, err)
		t.Cleanup(sess.Close)
		for got := 0; got < 5; {
			got += sess.PollFetches(t.Context()).NumRecords()
		}
		require.NoError(t, sess.Begin())
		require.NoError(t, sess.ProduceSync(t.Context(), &kgo.Record{Topic: out, Key: []byte("k"), Value: []byte("v"),
			Headers: []kgo.RecordHeader{{Key: "h", Value: []byte("1")}}}).FirstErr())
		committed, err := sess.End(t.Context(), kgo.TryCommit)
		require.NoError(t, err)
		require.True(t, committed)
		require.Empty(t, s.broken)

		commits := s.of(txnCommit)
		require.Len(t, commits, 1)
		require.EqualValues(t, 5, commits[0].Request.(*kmsg.TxnOffsetCommitRequest).Topics[0].Partitions[0].Offset)
		ends := s.of(endTxn)
		require.GreaterOrEqual(t, len(ends), 2, "the first end's reply was lost")
		require.True(t, ends[0].Request.(*kmsg.EndTxnRequest).Commit)
		require.Len(t, s.of(produce), 1)
		produced, err := Records(s.of(produce)[0].Request.(*kmsg.ProduceRequest))
		require.NoError(t, err)
		require.True(t, produced[0].Transactional)
		require.Equal(t, "k", string(produced[0].Records[0].Key))
		require.Equal(t, []kgo.RecordHeader{{Key: "h", Value: []byte("1")}}, produced[0].Records[0].Headers)
		until(t, func() bool { return n.committed(t, in) == 5 })
	})
}
