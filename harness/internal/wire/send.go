package wire

import (
	"bytes"
	"fmt"
	"net"
	"slices"
	"time"
)

// parcel is a frame whose verdict has to wait for its time.
type parcel struct {
	f     *Frame
	bytes []byte
	since time.Time
	v     Verdict
}

// Write judges and forwards the frames of p. The beginning of a frame is kept until its end is written.
func (t *tap) Write(p []byte) (int, error) {
	t.writing <- struct{}{}
	defer func() { <-t.writing }()
	sent := 0
	for sent < len(p) && t.failed == nil {
		select {
		case <-t.closed:
			t.failed = t.why("write", net.ErrClosed)
			continue
		default:
		}
		frame, n := t.split(p[sent:])
		if frame != nil {
			t.failed = t.why("write", t.post(frame))
		}
		if t.failed == nil {
			sent += n
		}
	}
	if sent < len(p) {
		return sent, t.failed
	}
	return sent, nil
}

// split takes one frame, or as much as there is of it, from p and says how much it took. The frame is a part of p
// wherever possible.
func (t *tap) split(p []byte) (frame []byte, n int) {
	if t.plain.Load() { // part is empty: it began at the end of a frame
		return p, len(p)
	}
	if len(t.part) == 0 {
		size, ok := frameSize(p)
		switch {
		case ok && size < 0:
			t.plain.Store(true)
			return p, len(p)
		case ok && size <= len(p):
			return p[:size], size
		}
		t.part = bytes.Clone(p)
		return nil, len(p)
	}
	if len(t.part) < 4 {
		n = min(4-len(t.part), len(p))
		t.part = append(t.part, p[:n]...)
	}
	size, ok := frameSize(t.part)
	if !ok {
		return nil, n
	}
	if size < 0 {
		t.plain.Store(true)
		frame, t.part = append(t.part, p[n:]...), nil
		return frame, len(p)
	}
	more := min(size-len(t.part), len(p)-n)
	t.part = append(t.part, p[n:n+more]...)
	n += more
	if len(t.part) == size {
		frame, t.part = t.part, nil
	}
	return frame, n
}

// post asks the handler about one frame and follows its verdict, now or in the backlog.
func (t *tap) post(frame []byte) error {
	x := parcel{bytes: frame}
	if !t.plain.Load() {
		if x.f = parseFrame(frame); x.f != nil {
			x.f.Conn, x.f.Broker = t.id, t.broker
			x.v = t.h.Request(x.f)
			if x.f.Key == saslHandshake && x.f.Version == 0 {
				t.plain.Store(true)
			}
		}
	}
	t.mu.Lock()
	if x.v.what != delay && !t.draining {
		t.mu.Unlock()
		return t.leave(x)
	}
	x.bytes, x.since = bytes.Clone(frame), time.Now()
	t.backlog = append(t.backlog, x)
	if !t.draining {
		t.draining = true
		go t.drain()
	}
	t.mu.Unlock()
	return nil
}

// drain sends the backlog, each parcel at its time.
func (t *tap) drain() {
	for {
		t.mu.Lock()
		if len(t.backlog) == 0 {
			t.draining = false
			t.mu.Unlock()
			return
		}
		x := t.backlog[0]
		t.backlog = t.backlog[1:]
		t.mu.Unlock()
		for x.v.what == delay {
			if !t.sleep(x.since, x.v) {
				return
			}
			x.since, x.v = time.Now(), *x.v.then
		}
		if t.leave(x) != nil {
			t.sever()
			return
		}
	}
}

// leave follows a verdict that waits for nothing.
func (t *tap) leave(x parcel) error {
	silent := x.f != nil && noReply(x.f.Request)
	switch x.v.what {
	case cut:
		t.sever()
		return net.ErrClosed
	case answer:
		if !silent {
			t.expect(expected{f: x.f, ready: reply(x.f, nil, x.v)})
		}
		return nil
	default:
		if x.f != nil && !silent {
			t.expect(expected{f: x.f})
		}
		_, err := t.Conn.Write(x.bytes)
		return err
	}
}

// expect queues a reply. A reader that already waits for the broker is woken if it need not.
func (t *tap) expect(e expected) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.pending = append(t.pending, e)
	if e.ready != nil && len(t.pending) == 1 && t.idle && !t.kicked {
		t.kicked = true
		t.Conn.SetReadDeadline(time.Unix(1, 0))
	}
}

// reply is the frame of an answer. tags are the reply header's own, if there was one.
func reply(f *Frame, tags []byte, v Verdict) []byte {
	if v.resp.Key() != f.Key {
		panic(fmt.Sprintf("wire: %s answered by a %T", f.Name, v.resp))
	}
	v.resp.SetVersion(f.Version)
	return slices.Clip(appendReply(f, tags, v.resp))
}
