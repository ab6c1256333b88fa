package wire

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

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
