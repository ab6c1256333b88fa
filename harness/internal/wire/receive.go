package wire

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// receiver is where the reading half stands in the stream. At most one of its fields is in use.
type receiver struct {
	ready   []byte   // a reply to hand to the client
	through int      // bytes of a passing reply still to come
	skip    int      // bytes of a replaced reply still to be thrown away
	collect *arrival // a reply that is to be decoded
	held    *arrival // a reply whose verdict waits for its time
	alien   bool     // what comes is not Kafka's: everything passes from here on
}

// arrival is a reply of the broker that has begun to arrive.
type arrival struct {
	f     *Frame
	size  int
	bytes []byte // if it was collected
	tags  []byte
	since time.Time
	v     Verdict
}

// Read hands on replies, each after the handler has seen it.
func (t *tap) Read(p []byte) (int, error) {
	t.reading <- struct{}{}
	defer func() { <-t.reading }()
	if len(p) == 0 {
		return 0, nil
	}
	for {
		if err := t.ended(); err != nil {
			return 0, t.why("read", err)
		}
		switch {
		case len(t.ready) > 0:
			n := copy(p, t.ready)
			t.ready = t.ready[n:]
			return n, nil
		case t.alien:
			n, err := t.br.Read(p)
			return n, t.why("read", err)
		case t.through > 0:
			n, err := t.br.Read(p[:min(len(p), t.through)])
			t.through -= n
			return n, t.why("read", err)
		}
		var err error
		switch {
		case t.skip > 0:
			var n int
			n, err = t.br.Discard(t.skip)
			t.skip -= n
		case t.held != nil:
			err = t.settle(t.held)
		case t.collect != nil:
			err = t.gather(t.collect)
		default:
			err = t.next()
		}
		if err != nil {
			return 0, t.why("read", err)
		}
	}
}

// ended is the error of a read that may not begin: the deadline has passed, or the connection is closed.
func (t *tap) ended() error {
	t.mu.Lock()
	at := t.deadline
	t.mu.Unlock()
	if !at.IsZero() && !time.Now().Before(at) {
		return os.ErrDeadlineExceeded
	}
	select {
	case <-t.closed:
		return net.ErrClosed
	default:
		return nil
	}
}

// next looks for the reply that comes next: one that the handler gave, or the broker's.
func (t *tap) next() error {
	if t.serve() {
		return nil
	}
	head, err := t.br.Peek(4)
	if t.awake(err) {
		return nil
	}
	if err == nil {
		size, _ := frameSize(head)
		if size < 8 {
			t.alien = true
			return nil
		}
		if head, err = t.br.Peek(8); err == nil {
			return t.arrive(size, int32(binary.BigEndian.Uint32(head[4:])))
		}
	}
	if !errors.Is(err, os.ErrDeadlineExceeded) && t.br.Buffered() > 0 {
		t.through = t.br.Buffered() // the torso of a frame, before the end of the stream
		return nil
	}
	return err
}

// serve takes a given reply from the head of the queue. If there is none, the reader is about to wait for the broker.
func (t *tap) serve() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.pending) > 0 && t.pending[0].ready != nil {
		t.ready = t.pending[0].ready
		t.pending = t.pending[1:]
		return true
	}
	t.idle = true
	return false
}

// awake tells whether the reader's wait ended only because there is something in the queue.
func (t *tap) awake(err error) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.idle = false
	if !t.kicked {
		return false
	}
	t.kicked = false
	t.Conn.SetReadDeadline(t.deadline)
	return errors.Is(err, os.ErrDeadlineExceeded)
}

// arrive asks the handler about a reply whose first eight bytes are here.
func (t *tap) arrive(size int, corr int32) error {
	f, given := t.match(corr)
	switch {
	case given:
		return nil // it comes first
	case f == nil:
		t.through = size
		return nil
	case f.Request != nil && t.h.WantReply(f):
		t.collect = &arrival{f: f, size: size}
		return nil
	}
	t.held = &arrival{f: f, size: size, since: time.Now(), v: t.h.Reply(f, nil)}
	return nil
}

// match finds the request of a reply. Requests before it in the queue were not answered, and will not be: Kafka
// answers in order. A given reply among them is due now.
func (t *tap) match(corr int32) (f *Frame, given bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	at := slices.IndexFunc(t.pending, func(e expected) bool { return e.ready == nil && e.f.Corr == corr })
	for range at + 1 {
		e := t.pending[0]
		if e.ready != nil {
			return nil, true
		}
		t.pending = t.pending[1:]
		f = e.f
	}
	return f, false
}

// gather collects a reply, and shows it to the handler once it is whole.
func (t *tap) gather(a *arrival) error {
	for len(a.bytes) < a.size {
		a.bytes = slices.Grow(a.bytes, min(a.size-len(a.bytes), 1<<20)) // no more than has come, whatever the length says
		n, err := t.br.Read(a.bytes[len(a.bytes):min(a.size, cap(a.bytes))])
		a.bytes = a.bytes[:len(a.bytes)+n]
		if err != nil {
			if !errors.Is(err, os.ErrDeadlineExceeded) && len(a.bytes) > 0 {
				t.collect, t.ready = nil, a.bytes
				return nil
			}
			return err
		}
	}
	var resp kmsg.Response
	resp, a.tags = decodeReply(a.f, a.bytes)
	a.v = t.h.Reply(a.f, resp)
	a.since = time.Now()
	t.collect, t.held = nil, a
	return nil
}

// settle follows the verdict on a reply, when its time has come.
func (t *tap) settle(a *arrival) error {
	for a.v.what == delay {
		if err := t.doze(a.since, a.v); err != nil {
			return err
		}
		a.since, a.v = time.Now(), *a.v.then
	}
	t.held = nil
	switch {
	case a.v.what == cut:
		t.sever()
		return io.EOF
	case a.v.what == answer:
		t.ready = reply(a.f, bytes.Clone(a.tags), a.v)
		if a.bytes == nil {
			t.skip = a.size
		}
	case a.bytes != nil:
		t.ready = a.bytes
	default:
		t.through = a.size
	}
	return nil
}
