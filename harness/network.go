package harness

import (
	"context"
	"fmt"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/kafka-katas/kafka-katas/harness/internal/wire"
)

// DialKafka is the process's dialer for Kafka: give it to kgo.Dialer, as Options does. Its connections are tapped for
// the journal, the faults and the crash points.
func (p *Process) DialKafka(ctx context.Context, network, address string) (net.Conn, error) {
	c, err := (*life)(p).plug(ctx, network, address, true, p.w.backend.dial)
	if err != nil {
		return nil, err
	}
	secured, err := p.w.secure(ctx, c, address)
	if err != nil {
		return nil, err
	}
	if secured != net.Conn(c) {
		secured = &securedCable{secured, c}
	}
	tap := wire.Tap(secured, address, (*observer)(p))
	c.mu.Lock()
	c.id = wire.ID(tap)
	c.mu.Unlock()
	return tap, nil
}

// securedCable is a cable with TLS on it, which must not say its goodbye on a wire that stays up for the broker.
type securedCable struct {
	net.Conn
	c *cable
}

func (s *securedCable) Close() error {
	s.c.Close()
	return s.Conn.Close()
}

// Dial is the process's dialer for everything else on the story's network: give it to http.Transport's DialContext.
// It knows the addresses that processes Listen on.
func (p *Process) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	c, err := (*life)(p).plug(ctx, network, address, false, p.w.hosts().dial)
	if err != nil {
		return nil, err
	}
	return c, nil
}

// plug connects the process to its network.
func (p *life) plug(ctx context.Context, network, address string, kafka bool, dial func(context.Context, string, string) (net.Conn, error)) (*cable, error) {
	if kafka && p.w.backend.exact() && p.w.Now() == p.begun {
		time.Sleep(time.Nanosecond) // what the story says right after Start holds from the process's first word on, also on a busy machine
	}
	p.mu.Lock()
	dead, healed := p.dead, p.healed
	p.mu.Unlock()
	if dead {
		return nil, refused(address, errCrashed.Error())
	}
	if kafka && p.w.outage() {
		return nil, refused(address, "Kafka is down")
	}
	if healed != nil {
		select { // a SYN that nobody answers
		case <-healed:
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-p.gone.Done():
			return nil, refused(address, errCrashed.Error())
		}
	}
	conn, err := dial(ctx, network, address)
	if err != nil {
		return nil, err
	}
	c := newCable(conn, p)
	c.kafka, c.to = kafka, address
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.dead || p.healed != nil {
		go conn.Close()
		return nil, refused(address, errCrashed.Error())
	}
	p.cables[c] = struct{}{}
	return c, nil
}

// refused is what a dial gets from a machine that has nobody listening. It is the error that the net package returns:
// clients know it, back off and try again. Of one that they do not know some make an endless loop.
func refused(address, why string) error {
	return &net.OpError{Op: "dial", Net: "tcp", Addr: addr(address), Err: fmt.Errorf("%w (%s)", os.NewSyscallError("connect", syscall.ECONNREFUSED), why)}
}

type addr string

func (addr) Network() string  { return "tcp" }
func (a addr) String() string { return string(a) }

func (p *life) unplug(c *cable) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.cables, c)
}

// Listen opens a port of the process on the story's network, such as "partner:80"; it closes when the process is gone.
func (p *Process) Listen(address string) (net.Listener, error) {
	if (*life)(p).isDead() {
		return nil, errCrashed
	}
	l, err := p.w.hosts().listen(address, p.Name)
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	p.listeners = append(p.listeners, l)
	p.mu.Unlock()
	return &plugged{l, p}, nil
}

// plugged makes accepted connections the process's own, so that a crash breaks them.
type plugged struct {
	net.Listener
	p *Process
}

func (l *plugged) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	c := newCable(conn, (*life)(l.p))
	l.p.mu.Lock()
	defer l.p.mu.Unlock()
	if l.p.dead {
		go conn.Close()
		return nil, errCrashed
	}
	l.p.cables[c] = struct{}{}
	return c, nil
}

// hostTable maps the addresses of a story ("partner:80") to those of its network.
type hostTable struct {
	backend backend
	mu      sync.Mutex
	real    map[string]string
	who     map[string]string // the last process that listened at an address
	next    int
}

// firstHostPort is where the story's servers are on the virtual network, away from the brokers.
const firstHostPort = 20000

func (w *World) hosts() *hostTable { return w.hostTable }

func (h *hostTable) listen(address, process string) (net.Listener, error) {
	if _, _, err := net.SplitHostPort(address); err != nil {
		return nil, fmt.Errorf("Listen wants host:port: %w", err)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if _, taken := h.real[address]; taken {
		return nil, fmt.Errorf("listen %s: address already in use", address)
	}
	at := "127.0.0.1:0"
	if h.backend.exact() {
		at = fmt.Sprintf("127.0.0.1:%d", firstHostPort+h.next)
		h.next++
	}
	l, err := h.backend.listen(at)
	if err != nil {
		return nil, err
	}
	if !h.backend.exact() {
		at = l.Addr().String()
	}
	h.real[address] = at
	h.who[address] = process
	return &hosted{l, h, address}, nil
}

func (h *hostTable) dial(ctx context.Context, network, address string) (net.Conn, error) {
	h.mu.Lock()
	at, ok := h.real[address]
	who := h.who[address]
	h.mu.Unlock()
	switch {
	case !ok && who != "":
		return nil, refused(address, who+" does not listen there any more")
	case !ok:
		return nil, refused(address, "nobody listens there in this story")
	}
	return h.backend.dial(ctx, network, at)
}

// hosted frees its address when it is closed.
type hosted struct {
	net.Listener
	table   *hostTable
	address string
}

func (l *hosted) Close() error {
	l.table.mu.Lock()
	delete(l.table.real, l.address)
	l.table.mu.Unlock()
	return l.Listener.Close()
}
