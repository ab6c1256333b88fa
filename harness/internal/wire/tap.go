package wire

import (
	"bufio"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// Frame is one request. The same *Frame is handed to every call of a [Handler] about it.
type Frame struct {
	Key     int16
	Version int16
	Name    string       // kmsg.NameForKey(Key)
	Request kmsg.Request // a copy of its own; nil for ApiVersions, SASL, and what kmsg cannot decode
	Corr    int32
	Conn    uint64 // which connection; unique in this program
	Broker  string // the address that was dialled
}

// Handler judges what passes a tap. A connection's Request calls come one after another, as do its Reply calls, but
// the two overlap; a handler of several connections must be safe for concurrent use. A handler may close connections.
type Handler interface {
	// Request is called before a frame leaves, in the order of the frames.
	Request(f *Frame) Verdict
	// WantReply is asked when the reply arrives: shall it be decoded? A Fetch reply is expensive, so say no without need.
	// It is not asked if f.Request is nil.
	WantReply(f *Frame) bool
	// Reply is called when the reply of a frame that was let pass has come: the broker's work is done, the client does
	// not know yet. resp is nil if it was not wanted. To change a reply, return Answer(resp): Pass hands on the
	// broker's own bytes.
	Reply(f *Frame, resp kmsg.Response) Verdict
}

// Verdict is what becomes of a frame.
type Verdict struct {
	what  fate
	resp  kmsg.Response
	wait  time.Duration
	until <-chan struct{}
	then  *Verdict
}

type fate uint8

const (
	pass fate = iota // the zero Verdict lets pass
	answer
	cut
	delay
)

// Pass lets the frame go on.
func Pass() Verdict { return Verdict{} }

// Answer gives the client resp. For a request: it is not forwarded, and resp comes after the replies of the
// connection's earlier requests (or not at all, when the client expects none: acks=0). For a reply: resp replaces it.
// resp must be of the request's kind; its version is set.
func Answer(resp kmsg.Response) Verdict { return Verdict{what: answer, resp: resp} }

// Cut closes the connection now, as if the broker had: the client reads EOF and its writes fail with EPIPE.
func Cut() Verdict { return Verdict{what: cut} }

// Delay waits for d, then follows the other verdict. Later frames of the same direction of the connection wait behind
// it, as on a slow network; the client's write returns at once, since it has only reached the socket's buffer.
// Closing the connection ends the wait, and the frame is dropped.
func Delay(d time.Duration, then Verdict) Verdict { return Verdict{what: delay, wait: d, then: &then} }

// Hold is Delay until the channel is closed: a network that is down and may heal.
func Hold(until <-chan struct{}, then Verdict) Verdict {
	return Verdict{what: delay, until: until, then: &then}
}

// Tap returns conn with h on it. broker is only noted in the frames.
//
// Bytes that are no Kafka frames pass as they are, and so does the rest of a connection that authenticates by
// SaslHandshake version 0 (brokers before 1.0), whose tokens have no header. After a failed Write the stream has no
// known position, so every later Write fails too.
func Tap(conn net.Conn, broker string, h Handler) net.Conn {
	return &tap{
		Conn:    conn,
		id:      conns.Add(1),
		broker:  broker,
		h:       h,
		closed:  make(chan struct{}),
		writing: make(chan struct{}, 1),
		reading: make(chan struct{}, 1),
		br:      bufio.NewReader(conn),
	}
}

// ID is what the frames of a connection that Tap returned have as Conn.
func ID(tapped net.Conn) uint64 { return tapped.(*tap).id }

var conns atomic.Uint64

// tap is a connection with a handler. Its two halves are in send.go and receive.go.
type tap struct {
	net.Conn
	id     uint64
	broker string
	h      Handler

	closed  chan struct{}
	once    sync.Once
	severed atomic.Bool // closed by a verdict rather than by the client
	plain   atomic.Bool // not Kafka frames (any more): everything passes

	writing chan struct{} // one writer at a time; a channel, since it is held across writes
	part    []byte        // the beginning of a frame whose end is not written yet
	failed  error         // the first failed write

	reading chan struct{} // one reader at a time
	receiver
	br *bufio.Reader // its Peek keeps what it has over a deadline

	mu       sync.Mutex    // never held across I/O or a handler
	pending  []expected    // replies to come, in order
	backlog  []parcel      // frames that wait for a delay, in order
	draining bool          // a goroutine empties backlog
	deadline time.Time     // for reads
	moved    chan struct{} // closed when deadline changes; nil if no one waits for that
	idle     bool          // the reader waits for the next reply's first byte
	kicked   bool          // the reader was woken to look at pending
}

// expected is a reply to come: the broker's, or one that the handler gave.
type expected struct {
	f     *Frame
	ready []byte
}

// Close closes the connection. Waiting frames are dropped.
func (t *tap) Close() error {
	err := net.ErrClosed
	t.once.Do(func() {
		close(t.closed)
		err = t.Conn.Close()
	})
	return err
}

func (t *tap) sever() {
	t.severed.Store(true)
	t.Close()
}

// why says in the same words on every network what ended the connection. (A net.Pipe says io.ErrClosedPipe for both
// ends, which kgo does not take for a lost connection.)
func (t *tap) why(op string, err error) error {
	if err == nil {
		return nil
	}
	if t.severed.Load() {
		if op == "read" {
			return io.EOF
		}
		return t.opError(op, os.NewSyscallError(op, syscall.EPIPE))
	}
	select {
	case <-t.closed:
		return t.opError(op, net.ErrClosed)
	default:
	}
	if err == io.ErrClosedPipe {
		return t.opError(op, os.NewSyscallError(op, syscall.EPIPE))
	}
	return err
}

func (t *tap) opError(op string, err error) error {
	return &net.OpError{Op: op, Net: "tcp", Source: t.LocalAddr(), Addr: t.RemoteAddr(), Err: err}
}

// SetDeadline sets both deadlines.
func (t *tap) SetDeadline(at time.Time) error {
	if err := t.SetReadDeadline(at); err != nil {
		return err
	}
	return t.SetWriteDeadline(at)
}

// SetReadDeadline also ends a read that waits for a delayed reply.
func (t *tap) SetReadDeadline(at time.Time) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.deadline = at
	if t.moved != nil {
		close(t.moved)
		t.moved = nil
	}
	if t.kicked { // the reader sets it once it is awake
		return nil
	}
	return t.Conn.SetReadDeadline(at)
}
