//go:build synctests && smoke

// The specifications are in katas/lesson07 and are laid over this package. What is here goes further into what can go
// wrong between the consumer and its client, without the harness, and is run by hand:
//
//	go test -tags synctests,smoke ./solutions/lesson07    CHAOS=300 … -run TestChaos
package lesson07_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"

	"github.com/kafka-katas/kafka-katas/ops/opsconfig"
	lesson07 "github.com/kafka-katas/kafka-katas/solutions/lesson07"
)

// A shop is a cluster in a bubble.
type shop struct {
	t       *testing.T
	vn      kfake.VirtualNetwork
	cluster *kfake.Cluster
	client  *kgo.Client
	admin   *kadm.Client
	start   time.Time
	mu      sync.Mutex
	log     []call
	members []*member
	opts    []kgo.Opt
}

// unreachable is what the net package says: of an error that it does not know kgo makes an endless loop.
func unreachable(why syscall.Errno) error {
	return &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("connect", why)}
}

// call is one handler call.
type call struct {
	who        string
	partition  int32
	offset     int64
	began, end time.Duration
	err        error
}

func story(t *testing.T, brokers, partitions int, tell func(s *shop), opts ...kfake.Opt) {
	synctest.Test(t, func(t *testing.T) {
		s := &shop{t: t, start: time.Now()}
		ports := []int{9092, 9093, 9094}
		c, err := kfake.NewCluster(append([]kfake.Opt{kfake.ListenFn(s.vn.Listen), kfake.Ports(ports[:brokers]...), kfake.NumBrokers(brokers)}, opts...)...)
		require.NoError(t, err)
		defer c.Close()
		s.cluster = c
		s.client = s.dial()
		defer s.client.Close()
		defer func() {
			for _, m := range s.members {
				m.cancel()
			}
			for _, m := range s.members {
				<-m.done
			}
		}()
		s.admin = kadm.NewClient(s.client)
		if partitions > 0 {
			_, err = s.admin.CreateTopics(context.Background(), int32(partitions), -1, nil, "orders")
			require.NoError(t, err)
		}
		tell(s)
	})
}

func (s *shop) dial() *kgo.Client {
	client, err := kgo.NewClient(kgo.SeedBrokers(s.cluster.ListenAddrs()...), kgo.Dialer(s.vn.DialContext), kgo.DisableClientMetrics(), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	require.NoError(s.t, err)
	return client
}

func (s *shop) produce(partition int32, n int) {
	var rs []*kgo.Record
	for i := range n {
		rs = append(rs, &kgo.Record{Topic: "orders", Partition: partition, Key: fmt.Append(nil, i), Value: []byte("v")})
	}
	client := s.dial() // a new one knows partitions that were added
	defer client.Close()
	require.NoError(s.t, client.ProduceSync(context.Background(), rs...).FirstErr())
}

func (s *shop) produceAll(partitions, n int) {
	for p := range partitions {
		s.produce(int32(p), n)
	}
}

func (s *shop) calls(keep ...func(call) bool) []call {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []call
next:
	for _, c := range s.log {
		for _, k := range keep {
			if !k(c) {
				continue next
			}
		}
		out = append(out, c)
	}
	return out
}

func by(who string) func(call) bool { return func(c call) bool { return c.who == who } }
func of(p int32) func(call) bool    { return func(c call) bool { return c.partition == p } }
func good(c call) bool              { return c.err == nil }

func (s *shop) committed(group string) map[int32]int64 {
	out := map[int32]int64{}
	rs, err := s.admin.FetchOffsets(context.Background(), group)
	require.NoError(s.t, err)
	rs.Each(func(r kadm.OffsetResponse) { out[r.Partition] = r.At })
	return out
}

// member is a running consumer.
type member struct {
	*lesson07.Consumer
	s      *shop
	name   string
	cancel context.CancelFunc
	done   chan struct{}
	err    error

	mu    sync.Mutex
	cut   bool
	dark  atomic.Bool
	conns []net.Conn
}

func (s *shop) join(name string, change func(*lesson07.Config), handle lesson07.Handler) *member {
	cfg := lesson07.DefaultConfig()
	if change != nil {
		change(&cfg)
	}
	m := &member{s: s, name: name, done: make(chan struct{})}
	c, err := lesson07.New(cfg, func(ctx context.Context, r *kgo.Record) error {
		began := time.Since(s.start)
		var err error
		if handle != nil {
			err = handle(ctx, r)
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		s.log = append(s.log, call{name, r.Partition, r.Offset, began, time.Since(s.start), err})
		return err
	}, append(s.opts, kgo.SeedBrokers(s.cluster.ListenAddrs()...), kgo.Dialer(m.dial), kgo.DisableClientMetrics(), kgo.ClientID(name))...)
	require.NoError(s.t, err)
	m.Consumer = c
	ctx, cancel := context.WithCancel(context.Background())
	m.cancel = cancel
	s.members = append(s.members, m)
	go func() {
		defer close(m.done)
		m.err = c.Run(ctx)
	}()
	return m
}

func (m *member) dial(ctx context.Context, n, a string) (net.Conn, error) {
	m.mu.Lock()
	cut := m.cut
	m.mu.Unlock()
	if m.dark.Load() {
		select {
		case <-ctx.Done():
		case <-time.After(10 * time.Second):
		}
		return nil, unreachable(syscall.ETIMEDOUT)
	}
	if cut {
		return nil, unreachable(syscall.EHOSTUNREACH)
	}
	c, err := m.s.vn.DialContext(ctx, n, a)
	if err == nil {
		c = &hole{c, m}
		m.mu.Lock()
		m.conns = append(m.conns, c)
		m.mu.Unlock()
	}
	return c, err
}

// A hole is a connection that swallows what is written, and never answers, while its member is in the dark.
type hole struct {
	net.Conn
	m *member
}

func (h *hole) Write(b []byte) (int, error) {
	if h.m.dark.Load() {
		return len(b), nil
	}
	time.Sleep(latency)
	return h.Conn.Write(b)
}

// latency lets time pass: while a metadata request hangs, kgo 1.22.2 repeats a fetch from a partition's former leader
// without a pause, and that would be for ever.
const latency = time.Millisecond

func (h *hole) Read(b []byte) (int, error) {
	for {
		n, err := h.Conn.Read(b)
		if err != nil || !h.m.dark.Load() {
			return n, err
		}
	}
}

func (m *member) isolate() {
	m.mu.Lock()
	m.cut = true
	conns := m.conns
	m.conns = nil
	m.mu.Unlock()
	for _, c := range conns {
		c.Close()
	}
}

func (m *member) heal() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.cut = false
}

func (m *member) stop() {
	m.cancel()
	<-m.done
}

func after(d time.Duration) { time.Sleep(d); synctest.Wait() }

func work(d time.Duration) lesson07.Handler {
	return func(ctx context.Context, _ *kgo.Record) error {
		select {
		case <-time.After(d):
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

func conserved(t *testing.T, ms ...*member) {
	for _, m := range ms {
		st := m.Stats()
		require.Zero(t, st.Totals.Unaccounted(), "%s: %+v", m.name, st.Totals)
		require.Equal(t, st.Latency.Count, st.Totals.Processed)
	}
}

// overlaps reports calls of one partition that overlap in time.
func (s *shop) overlaps() (out []string) {
	cs := s.calls()
	for i, a := range cs {
		for _, b := range cs[i+1:] {
			if a.partition >= 0 && a.partition == b.partition && a.began < b.end && b.began < a.end {
				out = append(out, fmt.Sprintf("%+v with %+v", a, b))
			}
		}
	}
	return out
}

func TestOneMemberOwnsAllInOrder(t *testing.T) {
	story(t, 3, 6, func(s *shop) {
		s.produceAll(6, 50)
		m := s.join("a", nil, nil)
		after(10 * time.Second)
		for p := range int32(6) {
			var got []int64
			for _, c := range s.calls(of(p)) {
				got = append(got, c.offset)
			}
			require.Len(t, got, 50)
			require.True(t, slices.IsSorted(got))
		}
		st := m.Stats()
		require.Equal(t, 6, st.Assigned)
		require.EqualValues(t, 300, st.Totals.Processed)
		for _, p := range st.Partitions {
			require.EqualValues(t, 0, p.Lag)
			require.EqualValues(t, 50, p.Committed)
		}
		h := m.Health()
		require.True(t, h.Live && h.Ready, h.Cause())
		conserved(t, m)
		m.stop()
		require.NoError(t, m.err)
		require.Equal(t, map[int32]int64{0: 50, 1: 50, 2: 50, 3: 50, 4: 50, 5: 50}, s.committed("validation"))
		g, err := s.admin.DescribeGroups(context.Background(), "validation")
		require.NoError(t, err)
		require.Empty(t, g["validation"].Members)
	})
}

func TestAJoinMovesWhatItMustAndRepeatsNothing(t *testing.T) {
	for _, protocol := range []lesson07.Protocol{lesson07.ProtocolClassic, lesson07.ProtocolConsumer} {
		t.Run(protocol.String(), func(t *testing.T) {
			story(t, 3, 6, func(s *shop) {
				use := func(c *lesson07.Config) { c.Protocol = protocol }
				a := s.join("a", use, work(100*time.Millisecond))
				after(10 * time.Second)
				s.produceAll(6, 200)
				after(3 * time.Second)
				b := s.join("b", use, work(100*time.Millisecond))
				after(20 * time.Second)
				require.Equal(t, 3, a.Stats().Assigned)
				require.Equal(t, 3, b.Stats().Assigned)
				after(time.Minute)
				require.Len(t, s.calls(), 1200)
				require.Empty(t, s.overlaps())
				conserved(t, a, b)
				require.EqualValues(t, 0, a.Stats().Totals.Redelivered)
				b.stop()
				require.NoError(t, b.err)
				after(20 * time.Second)
				require.Equal(t, 6, a.Stats().Assigned)
				a.stop()
			})
		})
	}
}

func TestACleanStopFinishesTheWorkInHand(t *testing.T) {
	story(t, 1, 2, func(s *shop) {
		s.produceAll(2, 20)
		a := s.join("a", nil, work(time.Second))
		after(5500 * time.Millisecond)
		a.stop()
		require.NoError(t, a.err)
		for p := range int32(2) {
			require.EqualValues(t, len(s.calls(of(p), good)), s.committed("validation")[p])
			require.NotZero(t, s.committed("validation")[p])
		}
		conserved(t, a)
		b := s.join("b", nil, nil)
		after(10 * time.Second)
		require.Len(t, s.calls(), 40)
		b.stop()
	})
}

func TestACrashRepeatsAtMostTheUncommittedTail(t *testing.T) {
	story(t, 3, 2, func(s *shop) {
		s.produceAll(2, 100)
		a := s.join("a", nil, work(100*time.Millisecond))
		after(5 * time.Second)
		b := s.join("b", nil, work(100*time.Millisecond))
		after(10 * time.Second)
		a.isolate()
		require.Equal(t, 1, b.Stats().Assigned)
		after(10 * time.Second)
		h := a.Health()
		require.True(t, h.Live)
		require.False(t, h.Ready)
		after(80 * time.Second)
		require.Equal(t, 2, b.Stats().Assigned)
		require.Equal(t, 0, a.Stats().Assigned)
		require.Empty(t, s.overlaps())
		a.heal()
		after(20 * time.Second)
		h = a.Health()
		require.True(t, h.Ready, h.Cause())
		require.Equal(t, 1, a.Stats().Assigned)
		a.stop()
		b.stop()
		conserved(t, a, b)
		require.Equal(t, map[int32]int64{0: 100, 1: 100}, s.committed("validation"))
	})
}

func TestARevokeDrainsThenCancels(t *testing.T) {
	for _, d := range []time.Duration{10 * time.Second, 10 * time.Minute} {
		t.Run(d.String(), func(t *testing.T) {
			story(t, 1, 2, func(s *shop) {
				s.produceAll(2, 3)
				a := s.join("a", nil, work(d))
				after(5 * time.Second)
				b := s.join("b", nil, work(time.Millisecond))
				after(90 * time.Second)
				require.Equal(t, 1, a.Stats().Assigned)
				require.Equal(t, 1, b.Stats().Assigned)
				require.Empty(t, s.overlaps())
				first := s.calls(by("b"))[0]
				if d < time.Minute {
					require.EqualValues(t, 1, first.offset)
				} else {
					require.EqualValues(t, 0, first.offset)
					cut := s.calls(by("a"))[0]
					require.Error(t, cut.err)
					require.GreaterOrEqual(t, cut.end-cut.began, 30*time.Second)
					require.EqualValues(t, 0, a.Stats().Totals.Failed)
				}
				a.stop()
				b.stop()
				conserved(t, a, b)
			})
		})
	}
}

func TestOthersFlowWhileOneIsDrained(t *testing.T) {
	story(t, 1, 4, func(s *shop) {
		small := func(c *lesson07.Config) { c.MaxQueued = 10 }
		s.produceAll(4, 500)
		var slow atomic.Int32
		slow.Store(-1)
		a := s.join("a", small, func(ctx context.Context, r *kgo.Record) error {
			if r.Partition == slow.Load() {
				return work(25*time.Second)(ctx, r)
			}
			return work(100*time.Millisecond)(ctx, r)
		})
		after(5 * time.Second)
		slow.Store(3)
		after(time.Second)
		b := s.join("b", small, work(time.Millisecond))
		from := time.Since(s.start)
		after(40 * time.Second)
		require.Equal(t, 2, a.Stats().Assigned)
		for _, p := range a.Stats().Partitions {
			if p.Assigned && p.Partition != slow.Load() {
				n := len(s.calls(by("a"), of(p.Partition), func(c call) bool { return c.began > from && c.began < from+20*time.Second }))
				require.Greater(t, n, 190)
			}
		}
		a.stop()
		b.stop()
		conserved(t, a, b)
	})
}

func TestConcurrencyIsBounded(t *testing.T) {
	story(t, 3, 6, func(s *shop) {
		s.produceAll(6, 20)
		var mu sync.Mutex
		now, most := 0, 0
		busy := map[int32]bool{}
		a := s.join("a", func(c *lesson07.Config) { c.Concurrency = 3 }, func(ctx context.Context, r *kgo.Record) error {
			mu.Lock()
			now++
			most = max(most, now)
			require.False(t, busy[r.Partition])
			busy[r.Partition] = true
			mu.Unlock()
			time.Sleep(time.Second)
			mu.Lock()
			now--
			busy[r.Partition] = false
			mu.Unlock()
			return nil
		})
		after(60 * time.Second)
		require.Equal(t, 3, most)
		require.Len(t, s.calls(), 120)
		l := a.Stats().Latency
		require.Equal(t, 40*time.Second, l.Max.Round(time.Second))
		a.stop()
	})
}

func TestOneSlowPartition(t *testing.T) {
	story(t, 1, 3, func(s *shop) {
		s.produceAll(3, 100)
		a := s.join("a", func(c *lesson07.Config) { c.MaxQueued = 10 }, func(ctx context.Context, r *kgo.Record) error {
			if r.Partition == 1 {
				return work(10*time.Second)(ctx, r)
			}
			return nil
		})
		after(5 * time.Second)
		s.produceAll(3, 100)
		after(20 * time.Second)
		for _, p := range a.Stats().Partitions {
			require.LessOrEqual(t, p.InFlight, int64(10))
			if p.Partition == 1 {
				require.EqualValues(t, 198, p.Lag)
			} else {
				require.EqualValues(t, 0, p.Lag)
			}
		}
		a.stop()
		conserved(t, a)
	})
}

func TestAFailureIsRetriedInPlace(t *testing.T) {
	story(t, 1, 2, func(s *shop) {
		s.produceAll(2, 5)
		n := 0
		a := s.join("a", nil, func(_ context.Context, r *kgo.Record) error {
			if r.Partition == 0 && r.Offset == 2 {
				if n++; n <= 3 {
					if n == 2 {
						panic("secret-" + string(r.Key))
					}
					return fmt.Errorf("cannot handle %q of %s: %w", r.Value, r.Key, kerr.NotLeaderForPartition)
				}
			}
			return nil
		})
		after(10 * time.Second)
		var got []int64
		for _, c := range s.calls(of(0)) {
			got = append(got, c.offset)
		}
		require.Equal(t, []int64{0, 1, 2, 2, 2, 3, 4}, got) // the panic is not logged
		st := a.Stats()
		require.EqualValues(t, 3, st.Totals.Failed)
		require.EqualValues(t, 3, st.Totals.Retried)
		require.Equal(t, 3*time.Second, st.Latency.Max)
		require.Len(t, st.Errors, 2)
		require.Equal(t, "not_leader_for_partition", st.Errors[0].Class)
		require.Equal(t, "panic", st.Errors[1].Class)
		a.stop()
		conserved(t, a)
	})
}

func TestStartPolicies(t *testing.T) {
	story(t, 1, 2, func(s *shop) {
		s.produceAll(2, 5)
		latest := func(c *lesson07.Config) { c.Start, c.MetadataMaxAge = lesson07.StartLatest, 10*time.Second }
		a := s.join("a", latest, nil)
		after(5 * time.Second)
		require.Empty(t, s.calls())
		require.Equal(t, map[int32]int64{0: 5, 1: 5}, s.committed("validation"))
		s.produce(0, 1)
		after(time.Second)
		require.Len(t, s.calls(), 1)
		a.stop()
		s.produce(1, 3) // nobody is there; the restart must see them
		a = s.join("a", latest, nil)
		after(5 * time.Second)
		require.Len(t, s.calls(), 4)
		_, err := s.admin.CreatePartitions(context.Background(), 1, "orders")
		require.NoError(t, err)
		s.produce(2, 4)
		after(20 * time.Second)
		require.Len(t, s.calls(of(2)), 4)
		a.stop()

		b := s.join("b", func(c *lesson07.Config) { c.Group, c.Start = "inventory", lesson07.StartCommitted }, nil)
		<-b.done
		require.ErrorIs(t, b.err, lesson07.ErrNoCommit)
		require.False(t, b.Health().Live)
		c := s.join("c", func(c *lesson07.Config) { c.Start = lesson07.StartCommitted }, nil)
		after(5 * time.Second)
		require.NoError(t, c.err)
		c.stop()
		d := s.join("d", func(c *lesson07.Config) { c.Group = "analytics" }, nil)
		after(5 * time.Second)
		require.Len(t, s.calls(by("d")), 18)
		d.stop()
	})
}

func TestAnExpelledMemberCommitsNothingStale(t *testing.T) {
	story(t, 1, 2, func(s *shop) {
		s.produceAll(2, 50)
		a := s.join("a", func(c *lesson07.Config) { c.HeartbeatInterval = 15 * time.Second }, work(time.Second))
		after(10500 * time.Millisecond)
		// expelled behind its back
		g, err := s.admin.DescribeGroups(context.Background(), "validation")
		require.NoError(t, err)
		id := g["validation"].Members[0].MemberID
		leave := kmsg.NewPtrLeaveGroupRequest()
		leave.Group = "validation"
		leave.MemberID = id
		leaver := kmsg.NewLeaveGroupRequestMember()
		leaver.MemberID = id
		leave.Members = append(leave.Members, leaver)
		_, err = leave.RequestWith(context.Background(), s.client)
		require.NoError(t, err)
		// somebody else goes further
		o := kadm.Offsets{}
		o.AddOffset("orders", 0, 30, -1)
		o.AddOffset("orders", 1, 30, -1)
		require.NoError(t, s.admin.CommitAllOffsets(context.Background(), "validation", o))
		low := int64(1000)
		for range 600 {
			time.Sleep(100 * time.Millisecond)
			for _, at := range s.committed("validation") {
				low = min(low, at)
			}
		}
		require.GreaterOrEqual(t, low, int64(30))
		require.EqualValues(t, map[int32]int64{0: 50, 1: 50}, s.committed("validation"))
		require.True(t, a.Health().Ready, a.Health().Cause())
		a.stop()
		conserved(t, a)
	})
}

func TestCommitErrorsAreNotFatal(t *testing.T) {
	for _, e := range []*kerr.Error{kerr.RebalanceInProgress, kerr.NotCoordinator, kerr.IllegalGeneration, kerr.CoordinatorLoadInProgress, kerr.RequestTimedOut, kerr.UnknownMemberID} {
		t.Run(e.Message, func(t *testing.T) {
			story(t, 1, 2, func(s *shop) {
				left := 2
				s.cluster.ControlKey(int16(kmsg.OffsetCommit), func(req kmsg.Request) (kmsg.Response, error, bool) {
					s.cluster.KeepControl()
					if left == 0 {
						return nil, nil, false
					}
					left--
					r := req.(*kmsg.OffsetCommitRequest)
					resp := r.ResponseKind().(*kmsg.OffsetCommitResponse)
					for _, t := range r.Topics {
						rt := kmsg.NewOffsetCommitResponseTopic()
						rt.Topic, rt.TopicID = t.Topic, t.TopicID
						for _, p := range t.Partitions {
							rp := kmsg.NewOffsetCommitResponseTopicPartition()
							rp.Partition, rp.ErrorCode = p.Partition, e.Code
							rt.Partitions = append(rt.Partitions, rp)
						}
						resp.Topics = append(resp.Topics, rt)
					}
					return resp, nil, true
				})
				a := s.join("a", nil, work(100*time.Millisecond))
				s.produceAll(2, 50)
				after(60 * time.Second)
				require.Equal(t, map[int32]int64{0: 50, 1: 50}, s.committed("validation"))
				if e != kerr.UnknownMemberID {
					require.Len(t, s.calls(), 100)
				}
				a.stop()
				require.NoError(t, a.err)
				conserved(t, a)
			})
		})
	}
}

func TestAStaticMemberComesBackAndATwinFencesIt(t *testing.T) {
	story(t, 1, 4, func(s *shop) {
		static := func(id string) func(*lesson07.Config) {
			return func(c *lesson07.Config) { c.InstanceID = id }
		}
		a, b := s.join("a", static("a"), nil), s.join("b", static("b"), nil)
		after(20 * time.Second)
		s.produceAll(4, 10)
		after(5 * time.Second)
		before := a.Stats().Partitions
		require.Equal(t, 2, a.Stats().Assigned)
		a.stop()
		after(5 * time.Second)
		require.Equal(t, 2, b.Stats().Assigned)
		a2 := s.join("a2", static("a"), nil)
		after(5 * time.Second)
		require.Equal(t, 2, a2.Stats().Assigned)
		require.Equal(t, before[0].Partition, a2.Stats().Partitions[0].Partition)
		a3 := s.join("a3", static("a"), nil)
		<-a2.done
		require.ErrorIs(t, a2.err, lesson07.ErrFenced)
		after(5 * time.Second)
		require.Equal(t, 2, a3.Stats().Assigned)
		a3.stop()
		b.stop()
	})
}

func TestBrokerDownIsUnreadyAndWedgedIsDead(t *testing.T) {
	story(t, 1, 2, func(s *shop) {
		release := make(chan struct{})
		a := s.join("a", func(c *lesson07.Config) { c.StallAfter = time.Minute }, func(ctx context.Context, r *kgo.Record) error {
			if r.Offset == 5 {
				select {
				case <-release:
				case <-ctx.Done():
				}
			}
			return nil
		})
		after(10 * time.Second)
		require.True(t, a.Health().Ready, a.Health().Cause())
		a.isolate()
		after(time.Second)
		require.False(t, a.Health().Ready)
		require.True(t, a.Health().Live)
		a.heal()
		after(10 * time.Second)
		require.True(t, a.Health().Ready, a.Health().Cause())
		s.produce(0, 10)
		after(59 * time.Second)
		require.True(t, a.Health().Live)
		after(1100 * time.Millisecond)
		require.False(t, a.Health().Live)
		close(release)
		after(time.Second)
		require.True(t, a.Health().Live)
		a.Pause()
		s.produce(0, 10)
		after(10 * time.Second)
		require.Len(t, s.calls(), 10)
		require.EqualValues(t, 10, a.Stats().Partitions[0].Lag)
		require.True(t, a.Health().Ready)
		a.Resume()
		after(10 * time.Second)
		require.Len(t, s.calls(), 20)
		a.ResetStats()
		require.EqualValues(t, 0, a.Stats().Totals.Processed)
		a.stop()
	})
}

func TestTheAlert(t *testing.T) {
	story(t, 1, 1, func(s *shop) {
		var fixed atomic.Bool
		s.produce(0, 1)
		a := s.join("a", nil, func(context.Context, *kgo.Record) error {
			if !fixed.Load() {
				return errors.New("no")
			}
			return nil
		})
		after(38 * time.Second)
		st := a.Stats()
		require.Equal(t, "pending", st.Alerts[0].State.String(), "%+v", st.Alerts[0])
		after(2 * time.Second)
		require.Equal(t, "firing", a.Stats().Alerts[0].State.String())
		fixed.Store(true)
		after(5 * time.Minute)
		al := a.Stats().Alerts[0]
		require.Equal(t, "inactive", al.State.String())
		require.EqualValues(t, 1, al.Fired)
		require.Equal(t, al.Since, al.ResolvedAt)
		t.Log(al.FiredAt.Sub(s.start), al.ResolvedAt.Sub(s.start))
		a.stop()
	})
}

func TestKafkaIsDownAtTheStart(t *testing.T) {
	story(t, 1, 1, func(s *shop) {
		m := s.join("a", nil, nil)
		m.isolate()
		after(time.Second)
		s.produce(0, 1)
		after(2 * time.Minute)
		require.True(t, m.Health().Live)
		require.False(t, m.Health().Ready)
		t.Log(m.Health().Cause())
		m.heal()
		after(30 * time.Second)
		require.Len(t, s.calls(), 1)
		require.True(t, m.Health().Ready, m.Health().Cause())
		m.isolate()
		after(time.Second)
		at := time.Now()
		m.stop()
		t.Log("stopped in", time.Since(at))
	})
}

// A member in the dark gets no error from anywhere. It must stop by its own clock before its successor begins.
func TestAMemberInTheDarkStopsByItself(t *testing.T) {
	for _, protocol := range []lesson07.Protocol{lesson07.ProtocolClassic, lesson07.ProtocolConsumer} {
		t.Run(protocol.String(), func(t *testing.T) {
			story(t, 3, 4, func(s *shop) {
				use := func(c *lesson07.Config) { c.Protocol = protocol }
				a := s.join("a", use, work(10*time.Minute))
				b := s.join("b", func(c *lesson07.Config) { use(c); c.HeartbeatInterval = 100 * time.Millisecond }, work(100*time.Millisecond))
				after(30 * time.Second)
				require.Equal(t, 2, a.Stats().Assigned)
				s.produceAll(4, 20)
				after(5 * time.Second)
				a.dark.Store(true)
				after(16 * time.Second) // three heartbeats of the slower protocol
				h := a.Health()
				require.False(t, h.Ready)
				t.Log(h.Cause())
				require.Equal(t, 2, a.Stats().Assigned)
				after(80 * time.Second)
				require.Equal(t, 4, b.Stats().Assigned)
				require.Empty(t, s.overlaps())
				require.Len(t, s.calls(by("a")), 2)
				require.Len(t, s.calls(by("b")), 80)
				require.EqualValues(t, 0, a.Stats().Totals.Failed)
				a.dark.Store(false)
				after(60 * time.Second)
				require.Equal(t, 2, a.Stats().Assigned)
				h = a.Health()
				require.True(t, h.Ready, h.Cause())
				conserved(t, a, b)
			})
		})
	}
}

// The lease of a member that waits to join lasts as long as the coordinator says that it waits.
func TestWhoWaitsToJoinIsHeardOf(t *testing.T) {
	story(t, 1, 1, func(s *shop) {
		var asked atomic.Int32
		a := s.join("a", nil, nil)
		after(5 * time.Second)
		a.isolate() // the coordinator waits for it until its session is over
		b := s.join("b", nil, nil)
		after(5 * time.Second)
		s.cluster.ControlKey(int16(kmsg.Heartbeat), func(kmsg.Request) (kmsg.Response, error, bool) {
			s.cluster.KeepControl()
			asked.Add(1)
			return nil, nil, false
		})
		after(9 * time.Second)
		require.EqualValues(t, 3, asked.Load())
		require.Zero(t, b.Stats().Assigned)
		after(time.Minute)
		require.Equal(t, 1, b.Stats().Assigned)
		a.heal()
		a.stop()
		b.stop()
	})
}

// Whatever happens to members and brokers: nothing lost or skipped, nothing in work twice at once, no commit goes back.
func TestChaos(t *testing.T) {
	for seed := range chaosSeeds() {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			story(t, 3, 6, func(s *shop) {
				r := rand.New(rand.NewPCG(uint64(seed), 7))
				protocol := lesson07.Protocol(seed % 2)
				high := map[int32]int64{}
				look := func() {
					for p, at := range s.committed("validation") {
						require.GreaterOrEqual(t, at, high[p], "partition %d went back", p)
						high[p] = at
						for o := range at {
							require.True(t, slices.ContainsFunc(s.calls(of(p), good), func(c call) bool { return c.offset == o }), "%d/%d committed, not handled", p, o)
						}
					}
				}
				speeds := []time.Duration{0, time.Millisecond, 100 * time.Millisecond, time.Second, 20 * time.Second, 50 * time.Second}
				var running []*member
				n := 0
				start := func() {
					n++
					name := fmt.Sprintf("m%d", n)
					speed := speeds[r.IntN(len(speeds))]
					flaky := r.IntN(4) == 0
					s.log = append(s.log, call{who: name + " starts " + speed.String(), partition: -1, began: time.Since(s.start)})
					running = append(running, s.join(name, func(c *lesson07.Config) {
						c.Protocol = protocol
						c.Concurrency = 1 + r.IntN(4)
						c.MaxQueued = 1 + r.IntN(20)
					}, func(ctx context.Context, rec *kgo.Record) error {
						if flaky && (rec.Offset+int64(time.Since(s.start)/time.Second))%5 == 0 {
							return errors.New("flaky")
						}
						return work(speed)(ctx, rec)
					}))
				}
				start()
				produced := map[int32]int64{}
				for range 25 {
					time.Sleep(time.Duration(r.IntN(15000)) * time.Millisecond)
					look()
					what := r.IntN(9)
					s.mu.Lock()
					s.log = append(s.log, call{who: fmt.Sprint("step ", what), partition: -1, began: time.Since(s.start)})
					s.mu.Unlock()
					switch what {
					case 0, 1:
						if len(running) < 4 {
							start()
						}
					case 2:
						if len(running) > 0 {
							i := r.IntN(len(running))
							m := running[i]
							running = slices.Delete(running, i, i+1)
							m.stop()
							require.NoError(t, m.err)
						}
					case 3:
						if len(running) > 0 {
							m := running[r.IntN(len(running))]
							m.isolate()
							time.AfterFunc(time.Duration(r.IntN(60))*time.Second, m.heal)
						}
					case 4:
						if len(running) > 0 {
							m := running[r.IntN(len(running))]
							m.dark.Store(true)
							time.AfterFunc(time.Duration(r.IntN(80))*time.Second, func() { m.dark.Store(false) })
						}
					case 5:
						s.cluster.RehashCoordinators()
					case 6:
						require.NoError(t, s.cluster.MoveTopicPartition("orders", int32(r.IntN(6)), int32(r.IntN(3))))
					default:
						p := int32(r.IntN(6))
						k := 1 + r.IntN(30)
						s.produce(p, k)
						produced[p] += int64(k)
					}
				}
				if len(running) < 2 {
					start()
				}
				for _, m := range running {
					m.heal()
					m.dark.Store(false)
				}
				speeds = speeds[:3]
				start()
				done := func() bool {
					c := s.committed("validation")
					for p, n := range produced {
						if c[p] != n {
							return false
						}
					}
					return true
				}
				for i := 0; !done(); i++ {
					after(10 * time.Second)
					look()
					if i > 1000 {
						for _, m := range running {
							t.Logf("%s %+v %s", m.name, m.Stats().Totals, m.Health().Cause())
						}
						g, _ := s.admin.DescribeGroups(context.Background(), "validation")
						t.Logf("%+v", g)
						t.Fatal("not drained", s.committed("validation"), produced)
					}
				}
				if o := s.overlaps(); len(o) > 0 {
					for _, c := range s.calls(func(c call) bool { return c.partition == -1 }) {
						t.Log(c.began, c.who)
					}
					t.Fatal(o[:min(3, len(o))])
				}
				conserved(t, s.members...)
			})
		})
	}
}

func TestWhatMayNotBeReadShows(t *testing.T) {
	for _, f := range []kfake.Fault{
		{Keys: []kmsg.Key{kmsg.Fetch}, Topic: "orders", Err: kerr.TopicAuthorizationFailed, Count: -1},
		{Keys: []kmsg.Key{kmsg.Metadata}, Topic: "orders", Err: kerr.TopicAuthorizationFailed, Count: -1},
		{Keys: []kmsg.Key{kmsg.OffsetFetch}, Topic: "orders", Err: kerr.TopicAuthorizationFailed, Count: -1},
		{Keys: []kmsg.Key{kmsg.FindCoordinator}, Group: "validation", Err: kerr.GroupAuthorizationFailed, Count: -1},
		{Keys: []kmsg.Key{kmsg.JoinGroup}, Group: "validation", Err: kerr.GroupAuthorizationFailed, Count: -1},
		{Keys: []kmsg.Key{kmsg.Heartbeat}, Group: "validation", Err: kerr.GroupAuthorizationFailed, Count: -1},
		{Keys: []kmsg.Key{kmsg.OffsetCommit}, Group: "validation", Err: kerr.GroupAuthorizationFailed, Count: -1},
		{Keys: []kmsg.Key{kmsg.JoinGroup}, Group: "validation", Err: kerr.GroupMaxSizeReached, Count: -1},
	} {
		for _, running := range []bool{false, true} {
			t.Run(fmt.Sprint(f.Keys[0].Name(), "/", running), func(t *testing.T) {
				story(t, 1, 2, func(s *shop) {
					var a *member
					if running {
						a = s.join("a", nil, nil)
						after(5 * time.Second)
					}
					if f.Keys[0] == kmsg.Metadata || !running {
						s.produceAll(2, 1)
					}
					h := s.cluster.Fault(f)
					if !running {
						a = s.join("a", nil, nil)
					} else if f.Keys[0] != kmsg.Metadata {
						s.produceAll(2, 1)
					}
					bad := 0
					for range 300 {
						after(time.Second)
						if !a.Health().Ready {
							bad++
						}
						require.True(t, a.Health().Live)
					}
					t.Log(bad, "s unready,", h.Hits(), "hits; now:", a.Health().Cause())
					h.Remove()
					for i := range 300 {
						if a.Health().Ready && len(s.calls()) >= 2 {
							t.Log("ready after", i, "s")
							break
						}
						after(time.Second)
					}
					require.True(t, a.Health().Ready, a.Health().Cause())
					require.GreaterOrEqual(t, len(s.calls()), 2)
				})
			})
		}
	}
}

func TestOptionsThatWouldUndoTheConfiguration(t *testing.T) {
	nothing := func(context.Context, *kgo.Record) error { return nil }
	_, err := lesson07.New(lesson07.DefaultConfig(), nothing, kgo.SeedBrokers("localhost:1"), kgo.ConsumeRegex())
	require.ErrorContains(t, err, "ConsumeRegex")
	for word, opt := range map[string]kgo.Opt{"BlockRebalanceOnPoll": kgo.BlockRebalanceOnPoll(), "InstanceID": kgo.InstanceID("x")} {
		c, err := lesson07.New(lesson07.DefaultConfig(), nothing, kgo.SeedBrokers("localhost:1"), opt)
		require.NoError(t, err)
		require.ErrorContains(t, c.Run(context.Background()), word)
	}
	cfg := lesson07.DefaultConfig()
	_, err = lesson07.New(cfg, nothing, kgo.SeedBrokers("localhost:1"))
	cfg.Topics[0] = "payments"
	require.NoError(t, err)
}

func TestATopicThatWasMadeAnewIsCommitted(t *testing.T) {
	story(t, 1, 2, func(s *shop) {
		s.produceAll(2, 50)
		s.opts = []kgo.Opt{kgo.MaxVersions(kversion.V2_7_0())} // from 3.1 on the id tells, and the client stays with the old topic
		a := s.join("a", func(c *lesson07.Config) { c.MetadataMaxAge = 10 * time.Second }, nil)
		after(10 * time.Second)
		require.Equal(t, map[int32]int64{0: 50, 1: 50}, s.committed("validation"))
		_, err := s.admin.DeleteTopics(context.Background(), "orders")
		require.NoError(t, err)
		after(time.Second)
		_, err = s.admin.CreateTopics(context.Background(), 2, -1, nil, "orders")
		require.NoError(t, err)
		s.produceAll(2, 20)
		after(5 * time.Minute)
		require.Len(t, s.calls(), 140)
		require.Equal(t, map[int32]int64{0: 20, 1: 20}, s.committed("validation"))
		for _, p := range a.Stats().Partitions {
			require.EqualValues(t, 20, p.HighWatermark)
			require.Zero(t, p.Lag)
		}
		a.stop()
		conserved(t, a)
	})
}

func TestOneForbiddenTopicCostsLessAndLess(t *testing.T) {
	story(t, 1, 2, func(s *shop) {
		s.produceAll(2, 1)
		h := s.cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.OffsetFetch}, Topic: "orders", Err: kerr.TopicAuthorizationFailed, Count: -1})
		a := s.join("a", nil, nil)
		after(2 * time.Hour)
		require.Less(t, h.Hits(), 20)
		h.Remove()
		after(12 * time.Minute)
		require.Len(t, s.calls(), 2)
		require.True(t, a.Health().Ready)
	})
}

func TestWhatIsInARecordIsNotShown(t *testing.T) {
	story(t, 1, 1, func(s *shop) {
		client := s.dial()
		defer client.Close()
		require.NoError(t, client.ProduceSync(context.Background(), &kgo.Record{Topic: "orders", Key: []byte("77"), Value: []byte("Alice Miller"),
			Headers: []kgo.RecordHeader{{Key: "token", Value: []byte("s3cr3tly")}}}).FirstErr())
		a := s.join("a", nil, func(context.Context, *kgo.Record) error {
			return errors.New("order77 of xalicex with tokens3cr3tly: the bank is away")
		})
		after(5 * time.Second)
		message := a.Stats().Errors[0].Samples[0].Message
		require.Contains(t, message, "the bank is away")
		for _, word := range []string{"77", "alice", "cr", "tly"} {
			require.NotContains(t, message, word)
		}
	})
}

func TestTheConfigurationFileSaysTheDefaults(t *testing.T) {
	require.NoError(t, opsconfig.Matches(lesson07.DefaultConfig(), "config.yaml"))
}

func chaosSeeds() int {
	n, err := strconv.Atoi(os.Getenv("CHAOS"))
	if err != nil {
		return 20
	}
	return n
}
