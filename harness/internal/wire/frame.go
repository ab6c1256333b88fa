package wire

import (
	"encoding/binary"

	"github.com/twmb/franz-go/pkg/kbin"
	"github.com/twmb/franz-go/pkg/kmsg"
)

const (
	produce          = 0
	controlledStop   = 7
	saslHandshake    = 17
	apiVersions      = 18
	saslAuthenticate = 36

	// Brokers take 100 MiB by default. What claims more is no Kafka frame (TLS and HTTP read as 300 MB and more).
	maxFrame = 256 << 20
)

// frameSize is the length of the frame that p begins with, its own four bytes of length included; -1 if this is no
// frame, and not ok if p is too short to say.
func frameSize(p []byte) (n int, ok bool) {
	if len(p) < 4 {
		return 0, false
	}
	size := int32(binary.BigEndian.Uint32(p))
	if size < 0 || size > maxFrame {
		return -1, true
	}
	return 4 + int(size), true
}

// parseFrame reads a whole request frame. It is nil if there is not even a header, and the frame's Request is nil if
// the body is not to be looked at or cannot be understood.
func parseFrame(frame []byte) *Frame {
	if len(frame) < 12 {
		return nil
	}
	f := &Frame{
		Key:     int16(binary.BigEndian.Uint16(frame[4:])),
		Version: int16(binary.BigEndian.Uint16(frame[6:])),
		Corr:    int32(binary.BigEndian.Uint32(frame[8:])),
	}
	f.Name = kmsg.NameForKey(f.Key)
	switch f.Key {
	case saslHandshake, apiVersions, saslAuthenticate:
	default:
		f.Request = decodeRequest(f.Key, f.Version, frame[12:])
	}
	return f
}

func decodeRequest(key, version int16, rest []byte) kmsg.Request {
	req := kmsg.RequestForKey(key)
	if req == nil || version < 0 || version > req.MaxVersion() {
		return nil
	}
	req.SetVersion(version)
	r := kbin.Reader{Src: rest}
	if key != controlledStop || version != 0 {
		r.NullableString() // client id
	}
	if req.IsFlexible() {
		skipTags(&r)
	}
	if r.Complete() != nil {
		return nil
	}
	body := append([]byte(nil), r.Src...) // a decoded request points into its bytes, and kgo uses its buffer again
	if req.ReadFrom(body) != nil {
		return nil
	}
	return req
}

// decodeReply reads a whole reply frame; tags are the bytes of its header's tags. resp is nil if it is not understood.
func decodeReply(f *Frame, frame []byte) (resp kmsg.Response, tags []byte) {
	resp = f.Request.ResponseKind()
	resp.SetVersion(f.Version)
	body := frame[8:]
	if resp.IsFlexible() {
		r := kbin.Reader{Src: body}
		skipTags(&r)
		if r.Complete() != nil {
			return nil, nil
		}
		tags, body = body[:len(body)-len(r.Src)], r.Src
	}
	if resp.ReadFrom(body) != nil {
		return nil, nil
	}
	return resp, tags
}

// skipTags is kmsg.SkipTags, but does not count on through tags that are not there: up to four thousand million.
func skipTags(r *kbin.Reader) {
	for n := r.Uvarint(); n > 0 && r.Ok(); n-- {
		_, size := r.Uvarint(), r.Uvarint()
		r.Span(int(size))
	}
}

// appendReply writes a reply frame.
func appendReply(f *Frame, tags []byte, resp kmsg.Response) []byte {
	dst := binary.BigEndian.AppendUint32(make([]byte, 4, 64), uint32(f.Corr))
	if resp.IsFlexible() && f.Key != apiVersions {
		if len(tags) == 0 {
			tags = []byte{0}
		}
		dst = append(dst, tags...)
	}
	dst = resp.AppendTo(dst)
	binary.BigEndian.PutUint32(dst, uint32(len(dst)-4))
	return dst
}

// noReply tells of the one request that is never answered.
func noReply(req kmsg.Request) bool {
	p, ok := req.(*kmsg.ProduceRequest)
	return ok && p.Acks == 0
}
