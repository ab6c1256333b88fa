package wire

import (
	"bytes"
	"io"
	"net"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// deaf is a connection that takes everything and reads what it was given.
type deaf struct {
	net.Conn
	in  io.Reader
	out bytes.Buffer
}

func (d *deaf) Read(p []byte) (int, error)    { return d.in.Read(p) }
func (d *deaf) Write(p []byte) (int, error)   { return d.out.Write(p) }
func (*deaf) Close() error                    { return nil }
func (*deaf) SetReadDeadline(time.Time) error { return nil }
func (*deaf) LocalAddr() net.Addr             { return nil }
func (*deaf) RemoteAddr() net.Addr            { return nil }

// decoder looks at everything as a harness does.
type decoder struct{ Handler }

func (decoder) Request(f *Frame) Verdict {
	switch req := f.Request.(type) {
	case *kmsg.ProduceRequest:
		Records(req)
	case *kmsg.JoinGroupRequest:
		Join(req)
	case *kmsg.ConsumerGroupHeartbeatRequest:
		HeartbeatOwned(req)
	}
	if f.Request != nil {
		Refuse(f.Request, kerr.NotController)
	}
	return Pass()
}

func (decoder) WantReply(*Frame) bool { return true }

func (decoder) Reply(_ *Frame, resp kmsg.Response) Verdict {
	switch resp := resp.(type) {
	case *kmsg.SyncGroupResponse:
		Assigned(resp)
	case *kmsg.ConsumerGroupHeartbeatResponse:
		HeartbeatAssigned(resp)
	}
	return Pass()
}

// FuzzTap: whatever goes out and comes in, in pieces of whatever size, goes on as it is.
func FuzzTap(f *testing.F) {
	for _, req := range requests() {
		req.SetVersion(req.MaxVersion())
		resp := req.ResponseKind()
		resp.SetVersion(req.MaxVersion())
		out := formatter.AppendRequest(nil, req, 1)
		f.Add(append(out, heartbeat(2, "g")...), appendReply(&Frame{Key: req.Key(), Corr: 1}, nil, resp), uint8(7))
	}
	f.Add(formatter.AppendRequest(nil, produceRequest(batch(0)), 1), []byte{0, 0, 0, 5, 0, 0, 0, 1, 0}, uint8(3))
	f.Add([]byte("\x00\x00\x00\x11\x00\x11\x00\x00\x00\x00\x00\x01\xff\xff\x00\x05PLAIN\x00\x00\x00\x04\x00a\x00b"), []byte("HTTP/1.1 400"), uint8(1))
	f.Fuzz(func(t *testing.T, out, in []byte, piece uint8) {
		if countsLong(out) || countsLong(in) {
			t.Skip("kmsg's own loop over the tags of a body may take seconds")
		}
		far := &deaf{in: bytes.NewReader(in)}
		conn := Tap(far, "b:1", decoder{})
		step := int(piece) + 1
		for at := 0; at < len(out); at += step {
			if _, err := conn.Write(out[at:min(at+step, len(out))]); err != nil {
				t.Fatal(err)
			}
		}
		if got := far.out.Bytes(); !bytes.HasPrefix(out, got) {
			t.Fatalf("%x went out as %x", out, got)
		}
		var got []byte
		buf := make([]byte, step)
		for {
			n, err := conn.Read(buf)
			got = append(got, buf[:n]...)
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		if !bytes.Equal(got, in) {
			t.Fatalf("%x came in as %x", in, got)
		}
	})
}

// countsLong tells whether there is something that kmsg may take for a count of many millions of tags.
func countsLong(p []byte) bool {
	run, small := 0, false
	for _, c := range p {
		if c < 0x80 {
			run, small = 0, false
			continue
		}
		run++
		small = small || c != 0xff // a run of ff alone is -1
		if run > 2 && small || run > 4 {
			return true
		}
	}
	return false
}

// FuzzRecords: no records panic.
func FuzzRecords(f *testing.F) {
	for _, attributes := range []int16{0, 1, 2, 3, 4, attrControl, attrLogAppendTime} {
		f.Add(batch(attributes))
	}
	f.Fuzz(func(_ *testing.T, raw []byte) { Records(produceRequest(raw)) })
}
