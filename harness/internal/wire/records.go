package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Produced are the records that a Produce request has for one partition, which its topic's name or, from version 13
// on, its TopicID tells. A record's Offset counts from 0: add the answer's BaseOffset.
type Produced struct {
	Topic         string
	TopicID       [16]byte
	Partition     int32
	Transactional bool
	Records       []*kgo.Record
}

const (
	attrLogAppendTime = 1 << 3
	attrTransactional = 1 << 4
	attrControl       = 1 << 5
)

// Records decodes what a request produces, whatever its compression. What cannot be decoded is left out and told in err.
func Records(req *kmsg.ProduceRequest) (out []Produced, err error) {
	for _, t := range req.Topics {
		for _, p := range t.Partitions {
			pr := Produced{Topic: t.Topic, TopicID: t.TopicID, Partition: p.Partition}
			if bad := pr.add(p.Records); bad != nil {
				err = errors.Join(err, fmt.Errorf("records of %s/%d: %w", t.Topic, p.Partition, bad))
			}
			for _, r := range pr.Records {
				r.Topic, r.Partition = t.Topic, p.Partition
			}
			out = append(out, pr)
		}
	}
	return out, err
}

// add decodes batches.
func (p *Produced) add(raw []byte) error {
	for len(raw) > 0 {
		n, ok := batchSize(raw)
		if !ok || n > len(raw) {
			return errors.New("a record batch is cut short")
		}
		var b kmsg.RecordBatch
		if err := b.ReadFrom(raw[:n]); err != nil {
			return err
		}
		raw = raw[n:]
		if b.Magic != 2 {
			return fmt.Errorf("a record batch of version %d", b.Magic)
		}
		if b.Attributes&attrControl != 0 {
			continue
		}
		p.Transactional = p.Transactional || b.Attributes&attrTransactional != 0
		if err := p.unpack(&b); err != nil {
			return err
		}
	}
	return nil
}

// unpack decodes one batch.
func (p *Produced) unpack(b *kmsg.RecordBatch) error {
	raw := b.Records
	if codec := kgo.CompressionCodecType(b.Attributes & 7); codec != kgo.CodecNone {
		// A new one each time: a kept one might carry what belongs to one bubble into another.
		var err error
		if raw, err = Decompressor().Decompress(raw, codec); err != nil {
			return err
		}
	}
	for range b.NumRecords {
		size, head := binary.Varint(raw)
		if head <= 0 || size < 0 || size > int64(len(raw)-head) {
			return errors.New("a record is cut short")
		}
		var r kmsg.Record
		if err := r.ReadFrom(raw[:head+int(size)]); err != nil {
			return err
		}
		raw = raw[head+int(size):]
		p.Records = append(p.Records, record(b, r, int64(len(p.Records))))
	}
	return nil
}

// batchSize is the length of the batch that raw begins with.
func batchSize(raw []byte) (int, bool) {
	const head = 8 + 4 // first offset, length
	if len(raw) < head {
		return 0, false
	}
	n, ok := frameSize(raw[8:])
	return 8 + n, ok && n > 4
}

func record(b *kmsg.RecordBatch, r kmsg.Record, offset int64) *kgo.Record {
	at := b.FirstTimestamp + r.TimestampDelta64
	if b.Attributes&attrLogAppendTime != 0 {
		at = b.MaxTimestamp
	}
	out := &kgo.Record{
		Key: r.Key, Value: r.Value, Timestamp: time.UnixMilli(at), Offset: offset,
		ProducerID: b.ProducerID, ProducerEpoch: b.ProducerEpoch,
	}
	for _, h := range r.Headers {
		out.Headers = append(out.Headers, kgo.RecordHeader{Key: h.Key, Value: h.Value})
	}
	return out
}
