package wire

import (
	"context"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// spy is a handler made of functions; a nil one lets pass. It keeps every frame.
type spy struct {
	request func(*Frame) Verdict
	reply   func(*Frame, kmsg.Response) Verdict

	mu     sync.Mutex
	frames []*Frame
	broken []string // frames that should have been understood and were not
}

func (s *spy) Request(f *Frame) Verdict {
	s.mu.Lock()
	s.frames = append(s.frames, f)
	if f.Request == nil && !untouched(f) {
		s.broken = append(s.broken, f.Name)
	}
	s.mu.Unlock()
	if s.request == nil {
		return Pass()
	}
	return s.request(f)
}

func (s *spy) WantReply(*Frame) bool { return true }

func (s *spy) Reply(f *Frame, resp kmsg.Response) Verdict {
	if resp == nil && !untouched(f) {
		s.mu.Lock()
		s.broken = append(s.broken, "reply to "+f.Name)
		s.mu.Unlock()
	}
	if s.reply == nil {
		return Pass()
	}
	return s.reply(f, resp)
}

func (s *spy) of(key int16) (out []*Frame) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range s.frames {
		if f.Key == key {
			out = append(out, f)
		}
	}
	return out
}

// net is where a test's clients dial: kfake in a bubble, or a real cluster.
type network struct {
	seeds []string
	dial  func(context.Context, string, string) (net.Conn, error)
}

// tapped dials with h on each connection.
func (n network) tapped(h Handler) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := n.dial(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		return Tap(conn, addr, h), nil
	}
}

// client is a client whose connections h sees; h may be nil.
func (n network) client(t testing.TB, h Handler, opts ...kgo.Opt) *kgo.Client {
	dial := n.dial
	if h != nil {
		dial = n.tapped(h)
	}
	cl, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(n.seeds...), kgo.Dialer(dial), kgo.DisableClientMetrics()}, opts...)...)
	require.NoError(t, err)
	t.Cleanup(cl.Close)
	return cl
}

var topics atomic.Int32

// topic makes a topic of its own for the test.
func (n network) topic(t testing.TB, partitions int32) string {
	name := fmt.Sprintf("%s-%d-%d", strings.ReplaceAll(t.Name(), "/", "-"), os.Getpid(), topics.Add(1))
	adm := kadm.NewClient(n.client(t, nil))
	_, err := adm.CreateTopic(t.Context(), partitions, -1, nil, name)
	require.NoError(t, err)
	t.Cleanup(func() { adm.DeleteTopics(context.Background(), name) })
	return name
}

// inBubble runs a test on kfake in virtual time.
func inBubble(t *testing.T, test func(*testing.T, network)) {
	synctest.Test(t, func(t *testing.T) { test(t, fake(t)) })
}

func fake(t testing.TB) network {
	vn := new(kfake.VirtualNetwork)
	c, err := kfake.NewCluster(kfake.ListenFn(vn.Listen), kfake.Ports(9092, 9093, 9094), kfake.NumBrokers(3))
	require.NoError(t, err)
	t.Cleanup(c.Close)
	return network{c.ListenAddrs(), vn.DialContext}
}

// onBoth runs a test on kfake, and on a real cluster if there is one.
func onBoth(t *testing.T, test func(*testing.T, network)) {
	t.Run("kfake", func(t *testing.T) { inBubble(t, test) })
	t.Run("cluster", func(t *testing.T) {
		brokers := os.Getenv("KAFKA_BROKERS")
		if brokers == "" {
			t.Skip("KAFKA_BROKERS is not set")
		}
		test(t, network{strings.Split(brokers, ","), (&net.Dialer{}).DialContext})
	})
}

func produceN(t testing.TB, cl *kgo.Client, topic string, n int) {
	rs := make([]*kgo.Record, n)
	for i := range rs {
		rs[i] = &kgo.Record{Topic: topic, Key: []byte{byte('a' + i%26)}, Value: []byte("v")}
	}
	require.NoError(t, cl.ProduceSync(t.Context(), rs...).FirstErr())
}

// poll takes n records.
func poll(t testing.TB, cl *kgo.Client, n int) (out []*kgo.Record) {
	for len(out) < n {
		fs := cl.PollFetches(t.Context())
		require.NoError(t, fs.Err())
		out = append(out, fs.Records()...)
	}
	return out
}

func TestACommitIsSeenOnItsWay(t *testing.T) {
	onBoth(t, func(t *testing.T, n network) {
		topic := n.topic(t, 1)
		s := new(spy)
		cl := n.client(t, s, kgo.ConsumerGroup(topic), kgo.ConsumeTopics(topic), kgo.DisableAutoCommit(),
			kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
		produceN(t, cl, topic, 10)
		poll(t, cl, 10)
		require.NoError(t, cl.CommitUncommittedOffsets(t.Context()))

		commits := s.of(8)
		require.Len(t, commits, 1)
		req := commits[0].Request.(*kmsg.OffsetCommitRequest)
		require.Equal(t, topic, req.Group)
		require.Equal(t, int64(10), req.Topics[0].Partitions[0].Offset)
		require.Equal(t, "OffsetCommit", commits[0].Name)
		require.Contains(t, n.seeds, commits[0].Broker)
		require.NotZero(t, commits[0].Conn)
		require.Empty(t, s.broken)
	})
}

func untouched(f *Frame) bool {
	return f.Key == apiVersions || f.Key == saslHandshake || f.Key == saslAuthenticate
}
