package harness

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"
)

// stubborn is a program that does everything a program can have an effect by, ten times a second, and goes on for a while
// after its context has ended.
type stubborn struct {
	p       *Process
	client  *kgo.Client
	orders  *Topic
	group   string
	handle  func(context.Context, *kgo.Record) error
	inside  *atomic.Int64 // calls of the handler's own code
	outside *Effects
	web     *http.Client
}

func (s *stubborn) Run(context.Context) error {
	defer s.client.Close()
	dir := s.p.Dir()
	for i := range 50 {
		ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
		s.client.Produce(ctx, &kgo.Record{Topic: s.orders.Name, Key: []byte("effect")}, nil)
		s.handle(ctx, &kgo.Record{Topic: s.orders.Name, Offset: int64(i)})
		s.commit(ctx, int64(i+1))
		s.outside.Do(s.p, fmt.Sprintf("sms-%d", i), nil)
		if r, err := s.web.Get("http://partner:80/"); err == nil {
			r.Body.Close()
		}
		os.WriteFile(filepath.Join(dir, "count"), fmt.Append(nil, i), 0o600)
		cancel()
		time.Sleep(100 * time.Millisecond)
	}
	return nil
}

func (s *stubborn) commit(ctx context.Context, offset int64) error {
	_, err := commitRequest(s.group, s.orders, offset).RequestWith(ctx, s.client)
	return err
}

func commitRequest(group string, t *Topic, offset int64) *kmsg.OffsetCommitRequest {
	req := kmsg.NewPtrOffsetCommitRequest()
	req.Group = group
	topic := kmsg.NewOffsetCommitRequestTopic()
	topic.Topic = t.Name
	part := kmsg.NewOffsetCommitRequestTopicPartition()
	part.Offset = offset
	topic.Partitions = append(topic.Partitions, part)
	req.Topics = append(req.Topics, topic)
	return req
}

// byName keeps commits to the last version in which topics have names.
func byName() kgo.Opt {
	versions := kversion.Stable()
	versions.SetMaxKeyVersion(int16(OffsetCommit), 9)
	return kgo.MaxVersions(versions)
}

func TestACrashedProcessHasNoFurtherEffect(t *testing.T) {
	Run(t, func(w *World) {
		orders, bank := w.Topic("orders", 1), w.Group("bank")
		var calls, inside atomic.Int64
		serve(w, "partner:80", func(http.ResponseWriter, *http.Request) { calls.Add(1) })
		var disk []byte // as a life finds it
		a := w.Start("a", func(p *Process) (Runner, error) {
			disk, _ = os.ReadFile(filepath.Join(p.Dir(), "count"))
			client, err := kgo.NewClient(append(p.Options(), kgo.ProducerLinger(0), byName())...)
			if err != nil {
				return nil, err
			}
			return &stubborn{
				p: p, client: client, orders: orders, group: bank.Name, inside: &inside, outside: w.Effects("sms"),
				handle: p.Handler(func(context.Context, *kgo.Record) error { inside.Add(1); return nil }),
				web:    &http.Client{Transport: &http.Transport{DialContext: p.Dial, DisableKeepAlives: true}, Timeout: time.Second},
			}, nil
		})
		w.SleepUntil(1050 * time.Millisecond)

		a.Crash()
		known := func() [4]int64 {
			return [4]int64{int64(len(orders.Records())), int64(len(w.Journal().Events(Of(Affected)))), calls.Load(), inside.Load()}
		}
		before := known()
		require.Equal(w, int64(11), before[3])
		w.Sleep(10 * time.Second)

		require.Equal(w, before, known())
		after := false
		for _, e := range w.Journal().Events(By("a")) {
			if after && e.Kind != Expired {
				w.Errorf("a did something after its crash: %v %s %v", e.Kind, e.Text, e.Err)
			}
			after = after || e.Kind == Crashed
		}
		require.Less(w, bank.Committed(orders, 0), int64(12))
		next := a.Restart()
		require.Equal(w, "10", string(disk), "what a wrote after its crash is on no disk")
		next.Crash()
	})
}

// serve runs an HTTP server as a process of its own.
func serve(w *World, address string, answer http.HandlerFunc) *Process {
	return w.Start(address, func(p *Process) (Runner, error) {
		listener, err := p.Listen(address)
		if err != nil {
			return nil, err
		}
		return web{&http.Server{Handler: answer}, listener}, nil
	})
}

type web struct {
	server   *http.Server
	listener net.Listener
}

func (s web) Run(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() { s.server.Close() })
	defer stop()
	if err := s.server.Serve(s.listener); ctx.Err() == nil {
		return err
	}
	return nil
}

func TestAnIsolatedProcessIsTakenForDeadAndComesBack(t *testing.T) {
	Run(t, func(w *World) {
		orders, bank := w.Topic("orders", 4), w.Group("bank")
		a := w.Start("a", consume(bank, false, orders))
		b := w.Start("b", consume(bank, false, orders))
		w.Until(bank.Balanced([]*Process{a, b}, orders))
		w.SleepUntil(20 * time.Second)

		a.Isolate()
		a.Isolate() // nothing new
		w.SleepUntil(70 * time.Second)
		w.Claim(bank.Balanced([]*Process{b}, orders))
		orders.Fill(1)
		w.Until(bank.Drained(orders))
		expired := w.Journal().Events(By("a"), Of(Expired))
		require.Len(w, expired, 1)
		require.Empty(w, w.Journal().Events(By("a"), Of(Began, Committed)), "what a sends vanishes")

		a.Heal()
		a.Heal()
		w.Until(bank.Balanced([]*Process{a, b}, orders))
		orders.Fill(1)
		w.Until(bank.Drained(orders))
		w.Claim(bank.Handled(orders), bank.CommitSafe(orders))
	})
}

func TestAStoppedOrCrashedProcessBeginsAnotherLife(t *testing.T) {
	Run(t, func(w *World) {
		lives := 0
		program := func(p *Process) (Runner, error) {
			lives++
			path := filepath.Join(p.Dir(), "lives")
			old, _ := os.ReadFile(path)
			return RunFunc(func(ctx context.Context) error {
				<-ctx.Done()
				return nil
			}), os.WriteFile(path, append(old, 'x'), 0o600)
		}
		a := w.Start("a", program)
		a.Stop()
		require.False(w, a.Alive())
		w.Claim(Gone("a"))
		b := a.Restart()
		b.Crash()
		c := b.Restart()
		require.Equal(w, 3, lives)
		text, _ := os.ReadFile(filepath.Join(c.Dir(), "lives"))
		require.Equal(w, "xxx", string(text))
		require.True(w, c.Alive())
	})
	out := verdict(t, func(w *World) {
		w.Start("a", func(*Process) (Runner, error) {
			return RunFunc(func(ctx context.Context) error { <-ctx.Done(); return nil }), nil
		}).Restart()
	})
	require.ErrorContains(t, out.err, "a still runs: Stop or Crash it before Restart")
}

var errDisk = errors.New("the disk is full")

func TestAProgramEndsAsItShould(t *testing.T) {
	running := func(returns error) func(*Process) (Runner, error) {
		return func(*Process) (Runner, error) {
			return RunFunc(func(ctx context.Context) error { <-ctx.Done(); return returns }), nil
		}
	}
	ended := func(returns error) func(*Process) (Runner, error) {
		return func(*Process) (Runner, error) { return RunFunc(func(context.Context) error { return returns }), nil }
	}
	for _, c := range []struct {
		name  string
		story func(w *World)
		word  string
		says  string
	}{
		{"stops without an error", func(w *World) { w.Start("a", running(nil)).Stop() }, "", ""},
		{"stops with its context's error", func(w *World) { w.Start("a", running(fmt.Errorf("a: %w", context.Canceled))).Stop() }, "", ""},
		{"stops with another error", func(w *World) { w.Start("a", running(errDisk)).Stop() }, "BROKEN", "a was asked to stop and returned an error: the disk is full"},
		{"is stopped by the end of the story", func(w *World) { w.Start("a", running(errDisk)) }, "BROKEN", "the disk is full"},
		{"crashes, whatever it returns", func(w *World) { w.Start("a", running(errDisk)).Crash() }, "", ""},
		{"ends early while the story waits", func(w *World) { w.Start("a", ended(errDisk)); w.Until(Any(never)) }, "BROKEN", "the program of a ended with an error although nobody asked it to stop: the disk is full"},
		{"may end", func(w *World) { require.ErrorIs(w, w.Start("a", ended(errDisk)).Wait(), errDisk) }, "", ""},
		{"may end, and the story goes on", func(w *World) {
			a := w.Start("a", ended(errDisk)).MayEnd()
			w.Until(a.Ends(errDisk))
		}, "", ""},
		{"does not end", func(w *World) { w.Start("a", running(nil)).Wait() }, "STUCK", "a still runs at the end of the story"},
		{"cannot start", func(w *World) { w.Start("a", func(*Process) (Runner, error) { return nil, errDisk }) }, "BROKEN", "a could not start: the disk is full"},
		{"is not written", func(w *World) {
			w.Start("a", func(*Process) (Runner, error) { return nil, errors.New("lesson99: New is not written yet") })
		}, "", "lesson99: New is not written yet"},
		{"panics while it is built", func(w *World) { w.Start("a", func(*Process) (Runner, error) { panic("no") }) }, "BROKEN", "a panicked: no"},
	} {
		t.Run(c.name, func(t *testing.T) {
			out := verdict(t, c.story)
			require.Equal(t, c.word, Word(out.err), "%v", out.err)
			if c.says != "" {
				require.ErrorContains(t, out.err, c.says)
			} else {
				require.NoError(t, out.err)
			}
		})
	}
}

func never(*World) error { return &Stuck{says("", "it never comes")} }

// A committer sends one commit for each offset that it is told, and returns what became of it.
type committer struct {
	client *kgo.Client
	orders *Topic
	group  string
}

func startCommitter(w *World, orders *Topic, g *Group, retries int) (*Process, *committer) {
	c := &committer{orders: orders, group: g.Name}
	return w.Start("a", func(p *Process) (Runner, error) {
		var err error
		c.client, err = kgo.NewClient(append(p.Options(), kgo.RequestRetries(retries), byName())...)
		return RunFunc(func(ctx context.Context) error {
			<-ctx.Done()
			c.client.Close()
			return nil
		}), err
	}), c
}

func (c *committer) commit(w *World, offset int64) error {
	resp, err := commitRequest(c.group, c.orders, offset).RequestWith(w.Context(), c.client)
	if err != nil {
		return err
	}
	return kerr.ErrorForCode(resp.Topics[0].Partitions[0].ErrorCode)
}

// truth is what the broker has, not what the wire showed.
func truth(w *World, g *Group, t *Topic) int64 {
	offsets, err := w.admin().FetchOffsets(w.Context(), g.Name)
	w.arrange(err)
	o, ok := offsets.Lookup(t.Name, 0)
	if !ok {
		return 0
	}
	return o.At
}

func TestAFaultStrikesAsOftenAsItSays(t *testing.T) {
	const n = 2
	for _, c := range []struct {
		name  string
		fault func() *Fault
		done  bool // is the work done?
		err   error
		took  time.Duration
	}{
		{"fail", func() *Fault { return Fail(OffsetCommit, kerr.RebalanceInProgress) }, false, kerr.RebalanceInProgress, 0},
		{"fail afterwards", func() *Fault { return FailAfterwards(OffsetCommit, kerr.RequestTimedOut) }, true, kerr.RequestTimedOut, 0},
		{"lose the reply", func() *Fault { return LoseReply(OffsetCommit) }, true, errAny, 0},
		{"delay", func() *Fault { return Delay(OffsetCommit, 5*time.Second) }, true, nil, 5 * time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			Run(t, func(w *World) {
				orders, bank := w.Topic("orders", 1), w.Group("bank")
				a, client := startCommitter(w, orders, bank, 0)
				require.NoError(w, client.commit(w, 1))
				a.Fault(c.fault().Times(n).AfterThe(1))
				require.NoError(w, client.commit(w, 2))

				for i := range int64(n) {
					before := w.Now()
					err := client.commit(w, 3+i)
					switch {
					case c.err == errAny:
						require.Error(w, err)
					default:
						require.ErrorIs(w, err, c.err)
					}
					require.Equal(w, c.took, w.Now()-before)
					want := int64(2)
					if c.done {
						want = 3 + i
					}
					require.Equal(w, want, truth(w, bank, orders))
					require.Equal(w, want, bank.Committed(orders, 0), "the journal tells the truth")
				}

				require.NoError(w, client.commit(w, 9))
				w.Claim(bank.CommittedAt(orders, 0, 9))
				require.Len(w, w.Journal().Events(Of(Disturbed)), n)
				require.Equal(w, n+3, a.Requests(OffsetCommit))
			})
		})
	}
}

var errAny = errors.New("any error")

// kgo sends a request again when its connection breaks.
func TestASeveredRequestHasNotBeenSent(t *testing.T) {
	Run(t, func(w *World) {
		orders, bank := w.Topic("orders", 1), w.Group("bank")
		a, client := startCommitter(w, orders, bank, 3)
		a.Fault(Sever(OffsetCommit).Times(2))
		require.NoError(w, client.commit(w, 1))
		require.Len(w, w.Journal().Events(Of(Disturbed)), 2)
		require.Len(w, w.Journal().Events(Of(Committed)), 1)
		require.Equal(w, 3, a.Requests(OffsetCommit))
	})
}

func TestFaultsStrikeInTheirOrderAndCanBeCleared(t *testing.T) {
	Run(t, func(w *World) {
		orders, bank := w.Topic("orders", 1), w.Group("bank")
		a, client := startCommitter(w, orders, bank, 0)
		a.Fault(
			Fail(OffsetCommit, kerr.NotCoordinator).AfterThe(1),
			Fail(OffsetCommit, kerr.RebalanceInProgress),
			Fail(OffsetCommit, kerr.UnknownMemberID).Times(9),
		)
		for _, want := range []error{kerr.RebalanceInProgress, kerr.NotCoordinator, kerr.UnknownMemberID, kerr.UnknownMemberID} {
			require.ErrorIs(w, client.commit(w, 1), want)
		}
		a.ClearFaults()
		require.NoError(w, client.commit(w, 1))
	})
}

// kgo asks again after each of these: the story goes on and nothing is lost or repeated.
func TestAConsumerGetsOverFaultsOfEveryRequest(t *testing.T) {
	for _, c := range []struct {
		name  string
		fault *Fault
	}{
		{"metadata refused", Fail(Metadata, kerr.LeaderNotAvailable)},
		{"fetch refused", Fail(Fetch, kerr.NotLeaderForPartition).Times(3)},
		{"fetch severed", Sever(Fetch).Times(3)},
		{"fetch reply lost", LoseReply(Fetch)},
		{"fetch reply late", Delay(Fetch, 3*time.Second)},
		{"coordinator unknown", Fail(FindCoordinator, kerr.CoordinatorNotAvailable).Times(2)},
		{"coordinator loading", Fail(JoinGroup, kerr.CoordinatorLoadInProgress)},
		{"sync severed", Sever(SyncGroup)},
		{"offsets not there yet", Fail(OffsetFetch, kerr.UnstableOffsetCommit)},
		{"heartbeat refused", Fail(Heartbeat, kerr.RebalanceInProgress)},
	} {
		t.Run(c.name, func(t *testing.T) {
			Run(t, func(w *World) {
				orders, bank := w.Topic("orders", 2), w.Group("bank")
				a := w.Start("a", func(p *Process) (Runner, error) {
					p.Fault(c.fault)
					return consume(bank, false, orders)(p)
				})
				orders.Fill(5)
				w.Until(bank.Drained(orders))
				w.SleepUntil(30 * time.Second)
				orders.Fill(5)
				w.Until(bank.Drained(orders))
				require.NotEmpty(w, w.Journal().Events(Of(Disturbed)), "the fault has struck")
				w.Claim(bank.Handled(orders), bank.CommitSafe(orders), bank.Member(a))
			})
		})
	}
}

func TestAProcessCrashesAtItsPoint(t *testing.T) {
	for _, c := range []struct {
		name      string
		crash     func(p *Process)
		handled   int
		committed int64
	}{
		{"before a commit", func(p *Process) { p.CrashBefore(OffsetCommit) }, 5, -1},
		{"after a commit", func(p *Process) { p.CrashAfter(OffsetCommit) }, 5, 5},
		{"before a call", func(p *Process) { p.CrashBefore(Handle) }, 0, -1},
		{"after a call", func(p *Process) { p.CrashAfter(Handle) }, 1, -1},
		{"before the second commit", func(p *Process) { p.CrashAt(Point{Before, OffsetCommit, 2}) }, 10, 5},
		{"after the seventh call", func(p *Process) { p.CrashAt(Point{After, Handle, 7}) }, 7, 5},
		{"before it joins", func(p *Process) { p.CrashBefore(JoinGroup) }, 0, -1},
		{"whichever is first", func(p *Process) { p.CrashAt(Point{After, Handle, 7}, Point{Before, Handle, 3}) }, 2, -1},
	} {
		t.Run(c.name, func(t *testing.T) {
			Run(t, func(w *World) {
				orders, bank := w.Topic("orders", 1), w.Group("bank")
				orders.Fill(20)
				c.crash(w.Start("a", consume(bank, false, orders)))
				w.Until(Gone("a"))
				w.Sleep(time.Minute)
				require.Len(w, w.Journal().Events(By("a"), Of(Handled)), c.handled)
				require.Equal(w, c.committed, bank.Committed(orders, 0))
				if c.committed > 0 {
					require.Equal(w, c.committed, truth(w, bank, orders))
				}
				require.Len(w, w.Journal().Events(By("a"), Of(Crashed)), 1)
			})
		})
	}
}

// A point may be passed before the story names it: the next one of its kind counts.
func TestCrashNextCountsFromNow(t *testing.T) {
	Run(t, func(w *World) {
		orders, bank := w.Topic("orders", 1), w.Group("bank")
		orders.Fill(10)
		a := w.Start("a", consume(bank, false, orders))
		w.Until(bank.Drained(orders))
		a.CrashBefore(OffsetCommit)
		orders.Fill(1)
		w.Until(Gone("a"))
		w.Claim(bank.CommittedAt(orders, 0, 10))
	})
}
