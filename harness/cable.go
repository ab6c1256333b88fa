package harness

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"time"
)

// errCrashed is what a crashed process gets from everything it tries.
var errCrashed = errors.New("this process has crashed")

// cable is one connection of a process. When the process is isolated the wire is cut without either end being told:
// writes vanish and reads wait, until the network heals and the connection turns out to be dead.
type cable struct {
	net.Conn
	p      *Process
	kafka  bool   // not one of its HTTP connections
	to     string // the address that was dialled
	closed chan struct{}
	once   sync.Once

	mu       sync.Mutex
	deadline time.Time
	moved    chan struct{} // closed when deadline changes
	cut      chan struct{} // closed when the network heals; nil while the wire is whole
}

func newCable(conn net.Conn, p *Process) *cable {
	return &cable{Conn: conn, p: p, closed: make(chan struct{}), moved: make(chan struct{})}
}

// isolate cuts the wire until healed is closed.
func (c *cable) isolate(healed chan struct{}) {
	c.mu.Lock()
	c.cut = healed
	c.mu.Unlock()
	c.Conn.Close() // ends the broker's side and wakes a Read, which then waits in silence
}

func (c *cable) silence() (healed, moved chan struct{}, deadline time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.cut, c.moved, c.deadline
}

func (c *cable) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
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
	n, err := c.Conn.Write(b)
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
	c.mu.Unlock()
	return c.Conn.SetReadDeadline(t)
}

func (c *cable) Close() error {
	c.once.Do(func() { close(c.closed) })
	c.p.unplug(c)
	return c.Conn.Close()
}
