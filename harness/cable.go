package harness

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/kafka-katas/kafka-katas/harness/internal/wire"
)

// errCrashed is what a crashed process gets from everything it tries.
var errCrashed = errors.New("this process has crashed")

// cable is one connection of a process. When the process is isolated the wire is cut without either end being told:
// writes vanish and reads wait, until the network heals and the connection turns out to be dead.
type cable struct {
	net.Conn
	p      *life
	kafka  bool   // not one of its HTTP connections
	to     string // the address that was dialled
	closed chan struct{}
	once   sync.Once

	reading  sync.Mutex // held while somebody reads from Conn
	mu       sync.Mutex
	deadline time.Time
	moved    chan struct{} // closed when deadline changes
	cut      chan struct{} // closed when the network heals; nil while the wire is whole
	drained  bool          // the process is off the wire, which stays up for the broker
	id       uint64        // of its frames; 0 before there are any
}

func newCable(conn net.Conn, p *life) *cable {
	return &cable{Conn: conn, p: p, closed: make(chan struct{}), moved: make(chan struct{})}
}

// isolate cuts the wire until healed is closed.
func (c *cable) isolate(healed chan struct{}) {
	c.mu.Lock()
	c.cut = healed
	c.mu.Unlock()
	c.hangUp() // ends the broker's side and wakes a Read, which then waits in silence
}

// hangUp takes the process off the wire. Brokers notice at once, except when one has a member of a group wait for the
// others: Kafka counts its session from the answer on, wherever that goes, but the fake from an answer that arrived. So
// there the fake gets its answer off its hands; else the group would have the member for ever.
func (c *cable) hangUp() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.drained:
		return nil
	case !c.rebalances():
		return c.Conn.Close()
	}
	c.drained = true
	c.Conn.SetReadDeadline(time.Unix(1, 0)) // wakes a Read
	go c.drain()
	return nil
}

// drain reads to the end of the story for a process that does not any more.
func (c *cable) drain() {
	defer c.Conn.Close()
	defer context.AfterFunc(c.p.w.ctx, func() { c.Conn.Close() })()
	c.reading.Lock()
	c.Conn.SetReadDeadline(time.Time{})
	c.reading.Unlock()
	io.Copy(io.Discard, c.Conn)
}

// rebalances says whether the fake has yet to answer what a member asked for in a rebalance on this connection. It needs mu.
func (c *cable) rebalances() bool {
	if !c.kafka || !c.p.w.backend.exact() {
		return false
	}
	return c.p.inFlight.has(func(f *wire.Frame) bool {
		switch f.Request.(type) {
		case *kmsg.JoinGroupRequest, *kmsg.SyncGroupRequest:
			return f.Conn == c.id
		}
		return false
	})
}

// forget drops what waits for replies that cannot come any more.
func (c *cable) forget() {
	c.mu.Lock()
	id := c.id
	c.mu.Unlock()
	c.p.inFlight.drop(func(f *wire.Frame) bool { return f.Conn == id })
}

func (c *cable) silence() (healed, moved chan struct{}, deadline time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.cut, c.moved, c.deadline
}

func (c *cable) isDrained() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.drained
}

// hear reads what the wire brings while the process is on it.
func (c *cable) hear(b []byte) (int, error) {
	if !c.kafka {
		return c.Conn.Read(b)
	}
	c.reading.Lock() // uncontended: the tap reads, and nobody else
	defer c.reading.Unlock()
	if c.isDrained() {
		return 0, io.ErrClosedPipe
	}
	n, err := c.Conn.Read(b)
	if c.isDrained() {
		return 0, io.ErrClosedPipe
	}
	return n, err
}

func (c *cable) Read(b []byte) (int, error) {
	n, err := c.hear(b)
	if err == nil || n > 0 {
		return n, err
	}
	for {
		healed, moved, deadline := c.silence()
		if healed == nil {
			return n, err
		}
		over := make(<-chan time.Time)
		if !deadline.IsZero() {
			timer := time.NewTimer(time.Until(deadline))
			defer timer.Stop()
			over = timer.C
		}
		select {
		case <-healed:
			return 0, io.EOF
		case <-c.closed:
			return 0, net.ErrClosed
		case <-over:
			return 0, os.ErrDeadlineExceeded
		case <-moved: // kgo ends a read by setting its deadline to the past
		}
	}
}

func (c *cable) Write(b []byte) (int, error) {
	if healed, _, _ := c.silence(); healed != nil {
		select {
		case <-healed:
			return 0, net.ErrClosed
		default:
			return len(b), nil
		}
	}
	n, err := 0, io.ErrClosedPipe
	if !c.isDrained() {
		n, err = c.Conn.Write(b)
	}
	if err != nil {
		if healed, _, _ := c.silence(); healed != nil {
			return len(b), nil
		}
	}
	return n, err
}

func (c *cable) SetDeadline(t time.Time) error {
	c.SetReadDeadline(t)
	return c.Conn.SetWriteDeadline(t)
}

func (c *cable) SetReadDeadline(t time.Time) error {
	c.mu.Lock()
	c.deadline = t
	close(c.moved)
	c.moved = make(chan struct{})
	defer c.mu.Unlock()
	if c.drained {
		return nil
	}
	return c.Conn.SetReadDeadline(t)
}

func (c *cable) Close() error {
	c.once.Do(func() { close(c.closed) })
	c.p.unplug(c)
	defer c.forget()
	return c.hangUp()
}
