package wire

import (
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
