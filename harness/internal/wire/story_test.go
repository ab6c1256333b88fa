package wire

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// These tests are about what kgo makes of a verdict: the same on kfake and on a real cluster.

// once gives a verdict to the first frame of a kind; it lets the others pass.
func once(key int16, v func(*Frame) Verdict) func(*Frame) Verdict {
	var o sync.Once
	return func(f *Frame) (out Verdict) {
		if f.Key == key {
			o.Do(func() { out = v(f) })
		}
		return out
	}
}

func onceReply(key int16, v func(*Frame, kmsg.Response) Verdict) func(*Frame, kmsg.Response) Verdict {
	var o sync.Once
	return func(f *Frame, resp kmsg.Response) (out Verdict) {
		if f.Key == key {
			o.Do(func() { out = v(f, resp) })
		}
		return out
	}
}

const (
	offsetCommit = 8
	joinGroup    = 11
	syncGroup    = 14
	endTxn       = 26
	txnCommit    = 28
	heartbeat848 = 68
)

// consumer is a group member of the topic, which commits when told.
func (n network) consumer(t testing.TB, h Handler, topic string, opts ...kgo.Opt) *kgo.Client {
	return n.client(t, h, append([]kgo.Opt{kgo.ConsumerGroup(topic), kgo.ConsumeTopics(topic), kgo.DisableAutoCommit(),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart())}, opts...)...)
}

// committed is the group's offset of partition 0, asked past all taps; -1 if there is none.
func (n network) committed(t testing.TB, group string) int64 {
	cl := n.client(t, nil)
	defer cl.Close()
	os, err := kadm.NewClient(cl).FetchOffsets(t.Context(), group)
	assert.NoError(t, err)
	if o, ok := os.Lookup(group, 0); ok { // groups are named for their topic here
		return o.At
	}
	return -1
}

func TestARefusedCommitIsTriedAgainIfKgoSeesFit(t *testing.T) {
	onBoth(t, func(t *testing.T, n network) {
		topic := n.topic(t, 1)
		var replies atomic.Int32
		s := &spy{
			request: once(offsetCommit, refuseWith(t, kerr.NotCoordinator)),
			reply: func(f *Frame, _ kmsg.Response) Verdict {
				if f.Key == offsetCommit {
					replies.Add(1)
				}
				return Pass()
			},
		}
		cl := n.consumer(t, s, topic)
		produceN(t, cl, topic, 3)
		poll(t, cl, 3)
		require.NoError(t, cl.CommitUncommittedOffsets(t.Context()), "kgo looks for the coordinator and commits again")
		require.Len(t, s.of(offsetCommit), 2)
		require.EqualValues(t, 1, replies.Load(), "a reply of the handler's own is not shown to it")
		require.EqualValues(t, 3, n.committed(t, topic))
		require.Empty(t, s.broken)
	})
}

func TestARefusedCommitIsNotDone(t *testing.T) {
	onBoth(t, func(t *testing.T, n network) {
		topic := n.topic(t, 1)
		s := &spy{request: once(offsetCommit, refuseWith(t, kerr.RebalanceInProgress))}
		cl := n.consumer(t, s, topic)
		produceN(t, cl, topic, 3)
		poll(t, cl, 3)
		require.ErrorIs(t, cl.CommitUncommittedOffsets(t.Context()), kerr.RebalanceInProgress)
		require.EqualValues(t, -1, n.committed(t, topic))
	})
}

func TestARewrittenCommitIsDone(t *testing.T) {
	onBoth(t, func(t *testing.T, n network) {
		topic := n.topic(t, 1)
		s := &spy{reply: onceReply(offsetCommit, func(f *Frame, resp kmsg.Response) Verdict {
			assert.True(t, Rewrite(resp, kerr.RebalanceInProgress))
			return Answer(resp)
		})}
		cl := n.consumer(t, s, topic)
		produceN(t, cl, topic, 3)
		poll(t, cl, 3)
		require.ErrorIs(t, cl.CommitUncommittedOffsets(t.Context()), kerr.RebalanceInProgress)
		require.EqualValues(t, 3, n.committed(t, topic))
	})
}

func TestALostReplyIsWorkDoneAndDoneAgain(t *testing.T) {
	onBoth(t, func(t *testing.T, n network) {
		topic := n.topic(t, 1)
		var done int64
		s := new(spy)
		s.reply = onceReply(offsetCommit, func(f *Frame, resp kmsg.Response) Verdict {
			done = n.committed(t, topic)
			return Cut()
		})
		cl := n.consumer(t, s, topic)
		produceN(t, cl, topic, 3)
		poll(t, cl, 3)
		require.NoError(t, cl.CommitUncommittedOffsets(t.Context()))
		require.EqualValues(t, 3, done)
		commits := s.of(offsetCommit)
		require.Len(t, commits, 2)
		require.NotEqual(t, commits[0].Conn, commits[1].Conn)
	})
}

func TestACommitCutBeforeItLeavesIsRetried(t *testing.T) {
	onBoth(t, func(t *testing.T, n network) {
		topic := n.topic(t, 1)
		s := &spy{request: once(offsetCommit, func(*Frame) Verdict { return Cut() })}
		cl := n.consumer(t, s, topic)
		produceN(t, cl, topic, 3)
		poll(t, cl, 3)
		require.NoError(t, cl.CommitUncommittedOffsets(t.Context()))
		require.Len(t, s.of(offsetCommit), 2)
	})
}

func TestADelayIsExact(t *testing.T) {
	later := func(*Frame) Verdict { return Delay(1500*time.Millisecond, Pass()) }
	for name, s := range map[string]func() *spy{
		"request": func() *spy { return &spy{request: once(offsetCommit, later)} },
		"reply": func() *spy {
			return &spy{reply: onceReply(offsetCommit, func(f *Frame, _ kmsg.Response) Verdict { return later(f) })}
		},
	} {
		inBubble(t, func(t *testing.T, n network) {
			topic := n.topic(t, 1)
			cl := n.consumer(t, s(), topic)
			produceN(t, cl, topic, 3)
			poll(t, cl, 3)
			start := time.Now()
			require.NoError(t, cl.CommitUncommittedOffsets(t.Context()))
			require.Equal(t, 1500*time.Millisecond, time.Since(start), name)
		})
	}
}

// A delayed commit does not hold up what kgo sends to the same broker by other connections.
func TestADelayedRequestHoldsUpItsOwnConnectionOnly(t *testing.T) {
	inBubble(t, func(t *testing.T, n network) {
		topic := n.topic(t, 1)
		s := &spy{request: once(offsetCommit, func(*Frame) Verdict { return Delay(8*time.Second, Pass()) })}
		cl := n.consumer(t, s, topic)
		produceN(t, cl, topic, 1)
		poll(t, cl, 1)
		go cl.CommitUncommittedOffsets(t.Context())
		synctest.Wait()
		start := time.Now()
		produceN(t, cl, topic, 1)
		poll(t, cl, 1)
		require.Less(t, time.Since(start), 100*time.Millisecond)
		time.Sleep(10 * time.Second)
		require.EqualValues(t, 1, n.committed(t, topic))
	})
}

func TestUnwantedRepliesPassWhole(t *testing.T) {
	onBoth(t, func(t *testing.T, n network) {
		topic := n.topic(t, 1)
		cl := n.consumer(t, unwanted{new(spy)}, topic, kgo.ProducerBatchCompression(kgo.NoCompression()))
		value := make([]byte, 300_000) // longer than any buffer
		for i := range value {
			value[i] = byte(i)
		}
		for range 3 {
			require.NoError(t, cl.ProduceSync(t.Context(), &kgo.Record{Topic: topic, Value: value}).FirstErr())
		}
		for _, r := range poll(t, cl, 3) {
			require.Equal(t, value, r.Value)
		}
	})
}

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
			kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.RequireStableFetchOffsets())
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
