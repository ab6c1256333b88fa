package wire

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// These tests drive the tap byte by byte, against a broker of a few lines on a net.Pipe.

var formatter = kmsg.NewRequestFormatter(kmsg.FormatterClientID("c"))

func heartbeat(corr int32, group string) []byte {
	req := kmsg.NewPtrHeartbeatRequest()
	req.SetVersion(4) // flexible
	req.Group = group
	return formatter.AppendRequest(nil, req, corr)
}

func oneWay(corr int32) []byte {
	req := kmsg.NewPtrProduceRequest()
	req.SetVersion(9)
	req.Acks = 0
	return formatter.AppendRequest(nil, req, corr)
}

// broker answers each request it reads, in order, with an empty answer; it keeps the groups that heartbeats named.
// It does not answer acks=0.
type broker struct {
	mu     sync.Mutex
	groups []string
	chunk  int // if set, answers are written in pieces of this size, a second apart
}

func (b *broker) serve(conn net.Conn) {
	answers := make(chan []byte, 100)
	go func() {
		defer close(answers)
		for {
			var size [4]byte
			if _, err := io.ReadFull(conn, size[:]); err != nil {
				return
			}
			frame := append(size[:], make([]byte, binary.BigEndian.Uint32(size[:]))...)
			if _, err := io.ReadFull(conn, frame[4:]); err != nil {
				return
			}
			f := parseFrame(frame)
			if hb, ok := f.Request.(*kmsg.HeartbeatRequest); ok {
				b.mu.Lock()
				b.groups = append(b.groups, hb.Group)
				b.mu.Unlock()
			}
			if !noReply(f.Request) {
				resp := f.Request.ResponseKind()
				resp.SetVersion(f.Version)
				answers <- appendReply(f, nil, resp)
			}
		}
	}()
	for a := range answers {
		for b.chunk > 0 && len(a) > b.chunk {
			conn.Write(a[:b.chunk])
			a = a[b.chunk:]
			time.Sleep(time.Second)
		}
		conn.Write(a)
	}
}

func (b *broker) seen() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]string(nil), b.groups...)
}

// piped runs a test on a tapped connection to b, in a bubble.
func piped(t *testing.T, h Handler, b *broker, test func(t *testing.T, conn net.Conn)) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		done := make(chan struct{})
		go func() { b.serve(far); close(done) }()
		conn := Tap(near, "b:1", h)
		test(t, conn)
		conn.Close()
		far.Close()
		<-done
	})
}

// answer reads one reply of the connection.
func readReply(t *testing.T, conn net.Conn) (corr int32, code int16) {
	t.Helper()
	var size [4]byte
	_, err := io.ReadFull(conn, size[:])
	require.NoError(t, err)
	body := make([]byte, binary.BigEndian.Uint32(size[:]))
	_, err = io.ReadFull(conn, body)
	require.NoError(t, err)
	f := &Frame{Request: kmsg.NewPtrHeartbeatRequest(), Version: 4}
	resp, _ := decodeReply(f, append(size[:], body...))
	require.NotNil(t, resp)
	return int32(binary.BigEndian.Uint32(body)), resp.(*kmsg.HeartbeatResponse).ErrorCode
}

func write(t *testing.T, conn net.Conn, frames ...[]byte) {
	t.Helper()
	for _, f := range frames {
		n, err := conn.Write(f)
		require.NoError(t, err)
		require.Equal(t, len(f), n)
	}
}

// forGroup gives one verdict for heartbeats of one group.
func forGroup(group string, v func(*Frame) Verdict) func(*Frame) Verdict {
	return func(f *Frame) Verdict {
		if hb, ok := f.Request.(*kmsg.HeartbeatRequest); ok && hb.Group == group {
			return v(f)
		}
		return Pass()
	}
}

func refuseWith(t *testing.T, e *kerr.Error) func(*Frame) Verdict {
	return func(f *Frame) Verdict {
		resp, ok := Refuse(f.Request, e)
		if !ok {
			t.Errorf("%s cannot be refused", f.Name)
		}
		return Answer(resp)
	}
}

func TestAnAnswerComesInItsPlaceAmongPipelinedRequests(t *testing.T) {
	b := &broker{chunk: 5}
	piped(t, &spy{request: forGroup("no", refuseWith(t, kerr.NotCoordinator))}, b, func(t *testing.T, conn net.Conn) {
		write(t, conn, heartbeat(1, "a"), heartbeat(2, "no"), heartbeat(3, "no"), heartbeat(4, "b"), heartbeat(5, "no"))
		for corr := range int32(5) {
			got, code := readReply(t, conn)
			require.Equal(t, corr+1, got)
			if corr+1 == 1 || corr+1 == 4 {
				require.Zero(t, code)
			} else {
				require.Equal(t, kerr.NotCoordinator.Code, code)
			}
		}
		require.Equal(t, []string{"a", "b"}, b.seen(), "what was answered did not leave")
	})
}

func TestAWriteMayHoldAnyPartOfFrames(t *testing.T) {
	all := append(append(heartbeat(1, "a"), heartbeat(2, "b")...), heartbeat(3, "c")...)
	for size := 1; size <= len(all); size++ {
		b, s := new(broker), new(spy)
		piped(t, s, b, func(t *testing.T, conn net.Conn) {
			for at := 0; at < len(all); at += size {
				write(t, conn, all[at:min(at+size, len(all))])
			}
			for corr := range int32(3) {
				got, _ := readReply(t, conn)
				require.Equal(t, corr+1, got)
			}
			require.Equal(t, []string{"a", "b", "c"}, b.seen())
			require.Len(t, s.of(12), 3)
			require.Empty(t, s.broken)
		})
	}
}

func TestAProduceThatAsksForNoReplyIsNotWaitedFor(t *testing.T) {
	s := &spy{request: func(f *Frame) Verdict {
		if f.Corr == 3 {
			return Answer(f.Request.ResponseKind())
		}
		return Pass()
	}}
	piped(t, s, new(broker), func(t *testing.T, conn net.Conn) {
		write(t, conn, oneWay(1), heartbeat(2, "a"), oneWay(3), heartbeat(4, "b"))
		for _, want := range []int32{2, 4} {
			got, _ := readReply(t, conn)
			require.Equal(t, want, got)
		}
		require.Len(t, s.of(0), 2)
	})
}

func TestAReadDeadlineLosesNoBytes(t *testing.T) {
	piped(t, new(spy), &broker{chunk: 3}, func(t *testing.T, conn net.Conn) {
		write(t, conn, heartbeat(7, "a"))
		var got []byte
		timeouts := 0
		for len(got) < 15 {
			require.NoError(t, conn.SetReadDeadline(time.Now().Add(300*time.Millisecond)))
			buf := make([]byte, 100)
			n, err := conn.Read(buf)
			got = append(got, buf[:n]...)
			if err != nil {
				require.ErrorIs(t, err, os.ErrDeadlineExceeded)
				timeouts++
			}
		}
		require.Greater(t, timeouts, 5)
		resp := kmsg.NewPtrHeartbeatResponse()
		resp.SetVersion(4)
		require.Equal(t, appendReply(&Frame{Key: 12, Version: 4, Corr: 7}, nil, resp), got)
	})
}

func TestADelayedRequestLeavesAtItsTimeAndTheWriterDoesNotWait(t *testing.T) {
	b := new(broker)
	s := &spy{request: forGroup("late", func(*Frame) Verdict { return Delay(3*time.Second, Pass()) })}
	piped(t, s, b, func(t *testing.T, conn net.Conn) {
		start := time.Now()
		write(t, conn, heartbeat(1, "a"), heartbeat(2, "late"), heartbeat(3, "b"))
		require.Zero(t, time.Since(start))
		corr, _ := readReply(t, conn)
		require.EqualValues(t, 1, corr)
		time.Sleep(3*time.Second - time.Nanosecond)
		require.Equal(t, []string{"a"}, b.seen(), "the frames behind it wait too")
		for _, want := range []int32{2, 3} {
			corr, _ = readReply(t, conn)
			require.Equal(t, want, corr)
		}
		require.Equal(t, 3*time.Second, time.Since(start))
		require.Equal(t, []string{"a", "late", "b"}, b.seen())
	})
}

func TestADelayedAnswerWakesAReaderThatAlreadyWaits(t *testing.T) {
	s := &spy{request: func(f *Frame) Verdict {
		return Delay(2*time.Second, Delay(time.Second, refuseWith(t, kerr.RebalanceInProgress)(f)))
	}}
	piped(t, s, new(broker), func(t *testing.T, conn net.Conn) {
		start := time.Now()
		go func() {
			time.Sleep(time.Second)
			write(t, conn, heartbeat(1, "a"))
		}()
		require.NoError(t, conn.SetReadDeadline(time.Now().Add(10*time.Second)))
		corr, code := readReply(t, conn)
		require.EqualValues(t, 1, corr)
		require.Equal(t, kerr.RebalanceInProgress.Code, code)
		require.Equal(t, 4*time.Second, time.Since(start))

		_, err := conn.Read(make([]byte, 1))
		require.ErrorIs(t, err, os.ErrDeadlineExceeded)
		require.Equal(t, 10*time.Second, time.Since(start), "the client's own deadline stands")
	})
}

func TestADelayedReplyKeepsTheReadersDeadline(t *testing.T) {
	s := &spy{reply: func(*Frame, kmsg.Response) Verdict { return Delay(5*time.Second, Pass()) }}
	piped(t, s, new(broker), func(t *testing.T, conn net.Conn) {
		start := time.Now()
		write(t, conn, heartbeat(1, "a"))
		conn.SetReadDeadline(start.Add(2 * time.Second))
		_, err := conn.Read(make([]byte, 1))
		require.ErrorIs(t, err, os.ErrDeadlineExceeded)
		require.Equal(t, 2*time.Second, time.Since(start))

		conn.SetReadDeadline(start.Add(time.Hour))
		go func() {
			time.Sleep(time.Second)
			conn.SetReadDeadline(time.Now()) // another goroutine gives up for the reader
		}()
		_, err = conn.Read(make([]byte, 1))
		require.ErrorIs(t, err, os.ErrDeadlineExceeded)
		require.Equal(t, 3*time.Second, time.Since(start))

		conn.SetReadDeadline(time.Time{})
		corr, _ := readReply(t, conn)
		require.EqualValues(t, 1, corr)
		require.Equal(t, 5*time.Second, time.Since(start))
	})
}

func TestAHeldNetworkHealsWithNothingLost(t *testing.T) {
	b := new(broker)
	healed := make(chan struct{})
	hold := func() Verdict { return Hold(healed, Pass()) }
	synctest.Test(t, func(t *testing.T) {
		healed = make(chan struct{})
		s := &spy{
			request: func(*Frame) Verdict { return hold() },
			reply:   func(*Frame, kmsg.Response) Verdict { return hold() },
		}
		near, far := net.Pipe()
		go b.serve(far)
		conn := Tap(near, "b:1", s)
		defer func() { conn.Close(); far.Close(); synctest.Wait() }()
		write(t, conn, heartbeat(1, "a"), heartbeat(2, "b"))
		time.Sleep(time.Hour)
		require.Empty(t, b.seen())
		close(healed)
		for _, want := range []int32{1, 2} {
			corr, _ := readReply(t, conn)
			require.Equal(t, want, corr)
		}
	})
}

func TestCloseEndsEveryWait(t *testing.T) {
	for name, s := range map[string]*spy{
		"a delayed request": {request: func(*Frame) Verdict { return Delay(time.Hour, Pass()) }},
		"a delayed reply":   {reply: func(*Frame, kmsg.Response) Verdict { return Delay(time.Hour, Pass()) }},
		"nothing":           {request: func(f *Frame) Verdict { return Pass() }},
	} {
		piped(t, s, new(broker), func(t *testing.T, conn net.Conn) {
			start := time.Now()
			write(t, conn, heartbeat(1, "a"))
			time.AfterFunc(time.Second, func() { conn.Close() })
			_, err := io.ReadAll(conn)
			require.ErrorIs(t, err, net.ErrClosed, name)
			require.Equal(t, time.Second, time.Since(start), name)
			_, err = conn.Write(heartbeat(2, "b"))
			require.ErrorIs(t, err, net.ErrClosed, name)
			require.ErrorIs(t, conn.Close(), net.ErrClosed, name)
		})
	}
}

func TestACutLooksLikeTheBrokersOwn(t *testing.T) {
	b := new(broker)
	piped(t, &spy{request: forGroup("cut", func(*Frame) Verdict { return Cut() })}, b, func(t *testing.T, conn net.Conn) {
		write(t, conn, heartbeat(1, "a"))
		read := make(chan error)
		go func() { _, err := io.ReadAll(conn); read <- err }()
		synctest.Wait()
		_, err := conn.Write(heartbeat(2, "cut"))
		require.ErrorIs(t, err, syscall.EPIPE)
		require.NoError(t, <-read) // EOF
		_, err = conn.Write(heartbeat(3, "b"))
		require.ErrorIs(t, err, syscall.EPIPE)
		require.Equal(t, []string{"a"}, b.seen())
	})
	piped(t, &spy{reply: func(*Frame, kmsg.Response) Verdict { return Cut() }}, b, func(t *testing.T, conn net.Conn) {
		write(t, conn, heartbeat(1, "done"))
		_, err := conn.Read(make([]byte, 1))
		require.Equal(t, io.EOF, err)
		require.Contains(t, b.seen(), "done")
	})
}

func TestABrokerThatHangsUpIsTheSameOnEveryNetwork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		conn := Tap(near, "b:1", new(spy))
		defer conn.Close()
		far.Close()
		_, err := conn.Write(heartbeat(1, "a"))
		require.ErrorIs(t, err, syscall.EPIPE)
		_, err = conn.Read(make([]byte, 1))
		require.Equal(t, io.EOF, err)
	})
}

func TestOtherBytesPassAsTheyAre(t *testing.T) {
	for name, text := range map[string]string{
		"http":                  "GET / HTTP/1.1\r\nHost: kafka\r\n\r\n",
		"tls":                   "\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03",
		"negative":              "\xff\xff\xff\xff....",
		"short":                 "\x00\x00\x00\x02ab\x00\x00\x00\x00\x00\x00\x00\x01x",
		"unknown key":           "\x00\x00\x00\x0b\x7f\xff\x00\x00\x00\x00\x00\x01\xff\xff.",
		"unknown version":       "\x00\x00\x00\x0b\x00\x0c\x7f\xff\x00\x00\x00\x01\xff\xff.",
		"body of another":       "\x00\x00\x00\x0c\x00\x0c\x00\x04\x00\x00\x00\x01\xff\xff\x00\xff",
		"tokens of old sasl":    "\x00\x00\x00\x11\x00\x11\x00\x00\x00\x00\x00\x01\xff\xff\x00\x05PLAIN\x00\x00\x00\x04\x00a\x00b",
		"a header with no body": "\x00\x00\x00\x08\x00\x0c\x00\x04\x00\x00\x00\x01",
	} {
		for chunk := 1; chunk <= len(text); chunk++ {
			synctest.Test(t, func(t *testing.T) {
				near, far := net.Pipe()
				conn := Tap(near, "b:1", new(spy))
				go func() { // echo
					io.Copy(far, far)
					far.Close()
				}()
				go func() {
					for at := 0; at < len(text); at += chunk {
						conn.Write([]byte(text[at:min(at+chunk, len(text))]))
					}
				}()
				got := make([]byte, len(text))
				_, err := io.ReadFull(conn, got)
				require.NoError(t, err, name)
				require.Equal(t, text, string(got), name)
				conn.Close()
			})
		}
	}
}

func TestTagsOfHeadersAreReadOverAndKept(t *testing.T) {
	tags := []byte{1, 5, 2, 'h', 'i'} // one tag, number 5, two bytes
	plain := heartbeat(1, "a")
	const head = 4 + 2 + 2 + 4 + 2 + 1 // up to the client id's end
	req := append(append(append([]byte(nil), plain[:head]...), tags...), plain[head+1:]...)
	binary.BigEndian.PutUint32(req, uint32(len(req)-4))
	f := parseFrame(req)
	require.NotNil(t, f.Request)
	require.Equal(t, "a", f.Request.(*kmsg.HeartbeatRequest).Group)

	resp := kmsg.NewPtrHeartbeatResponse()
	resp.SetVersion(4)
	resp.ErrorCode = 27
	tagged := appendReply(f, tags, resp)
	back, got := decodeReply(f, tagged)
	require.EqualValues(t, 27, back.(*kmsg.HeartbeatResponse).ErrorCode)
	require.Equal(t, tags, got)
}

func TestWhatPassesUnderManyHandsStaysWhole(t *testing.T) {
	b := new(broker)
	piped(t, new(spy), b, func(t *testing.T, conn net.Conn) {
		var wg sync.WaitGroup
		for w := range int32(4) {
			wg.Go(func() {
				for i := range int32(50) {
					conn.Write(heartbeat(w*100+i, "g"))
				}
			})
		}
		seen := map[int32]bool{}
		for range 200 {
			corr, _ := readReply(t, conn)
			seen[corr] = true
		}
		wg.Wait()
		require.Len(t, seen, 200)
		wg.Go(func() { conn.Read(make([]byte, 1)) })
		wg.Go(func() { conn.Close() })
		wg.Go(func() {
			for range 10 {
				if _, err := conn.Write(heartbeat(1, "g")); err != nil && !errors.Is(err, net.ErrClosed) {
					t.Errorf("a write beside Close: %v", err)
				}
			}
		})
		wg.Wait()
	})
}

// script is a broker that writes what it is told, whatever it reads.
func script(t *testing.T, h Handler, test func(t *testing.T, conn net.Conn, say func([]byte))) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		go io.Copy(io.Discard, far)
		conn := Tap(near, "b:1", h)
		test(t, conn, func(b []byte) { go far.Write(b) })
		conn.Close()
		far.Close()
	})
}

func heartbeatReply(corr int32, tags []byte) []byte {
	resp := kmsg.NewPtrHeartbeatResponse()
	resp.SetVersion(4)
	return appendReply(&Frame{Key: 12, Version: 4, Corr: corr}, tags, resp)
}

func TestARequestThatIsNeverAnsweredHoldsUpNothing(t *testing.T) {
	s := &spy{request: forGroup("no", refuseWith(t, kerr.NotCoordinator))}
	script(t, s, func(t *testing.T, conn net.Conn, say func([]byte)) {
		write(t, conn, heartbeat(1, "silent"), heartbeat(2, "no"), heartbeat(3, "a"))
		say(heartbeatReply(3, nil))
		for _, want := range []int32{2, 3} {
			corr, _ := readReply(t, conn)
			require.Equal(t, want, corr)
		}
	})
}

func TestAReplyThatNobodyAskedForPasses(t *testing.T) {
	script(t, new(spy), func(t *testing.T, conn net.Conn, say func([]byte)) {
		write(t, conn, heartbeat(1, "a"))
		say(append(heartbeatReply(99, nil), heartbeatReply(1, nil)...))
		for _, want := range []int32{99, 1} {
			corr, _ := readReply(t, conn)
			require.Equal(t, want, corr)
		}
	})
}

// The replaced reply goes away whole, whether it was decoded or not, and its header's tags stay.
func TestAnAnswerReplacesAReply(t *testing.T) {
	tags := []byte{1, 5, 2, 'h', 'i'}
	s := &spy{reply: func(f *Frame, _ kmsg.Response) Verdict { return refuseWith(t, kerr.NotCoordinator)(f) }}
	for _, h := range []Handler{s, &unwanted{s}} {
		script(t, h, func(t *testing.T, conn net.Conn, say func([]byte)) {
			write(t, conn, heartbeat(1, "a"), heartbeat(2, "b"))
			say(append(heartbeatReply(1, tags), heartbeatReply(2, nil)...))
			if h == Handler(s) {
				var head [8 + 5]byte
				_, err := io.ReadFull(conn, head[:])
				require.NoError(t, err)
				require.Equal(t, tags, head[8:])
				var body [4 + 2 + 1]byte // throttle, code, tags
				_, err = io.ReadFull(conn, body[:])
				require.NoError(t, err)
				require.Equal(t, []byte{0, 0, 0, 0, 0, byte(kerr.NotCoordinator.Code), 0}, body[:])
			} else {
				corr, code := readReply(t, conn)
				require.EqualValues(t, 1, corr)
				require.Equal(t, kerr.NotCoordinator.Code, code)
			}
			corr, code := readReply(t, conn)
			require.EqualValues(t, 2, corr)
			require.Equal(t, kerr.NotCoordinator.Code, code)
		})
	}
}

// unwanted is a handler that decodes no replies.
type unwanted struct{ Handler }

func (unwanted) WantReply(*Frame) bool { return false }
