package wire

import (
	"encoding/binary"
	"io"
	"net"
	"sync"
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

// unwanted is a handler that decodes no replies.
type unwanted struct{ Handler }

func (unwanted) WantReply(*Frame) bool { return false }
