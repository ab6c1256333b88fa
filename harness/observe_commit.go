package harness

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/kafka-katas/kafka-katas/harness/internal/wire"
)

func (p *life) repliedProduce(req *kmsg.ProduceRequest, resp *kmsg.ProduceResponse) {
	batches, _ := wire.Records(req) // what cannot be read is not journalled
	for _, t := range resp.Topics {
		topic := p.w.topicOf(t.Topic, t.TopicID)
		for _, part := range t.Partitions {
			at := Event{Topic: topic, Partition: part.Partition}
			if p.refused(part.ErrorCode, "Produce", at) {
				continue
			}
			for _, b := range batches {
				if p.w.topicOf(b.Topic, b.TopicID) != topic || b.Partition != part.Partition {
					continue
				}
				for i, r := range b.Records {
					at.Kind, at.Process, at.Offset, at.Key = Produced, p.Name, part.BaseOffset+int64(i), string(r.Key)
					if t := p.w.topicNamed(topic); t != nil {
						t.produced(at.Partition, at.Offset)
					}
					p.w.journal.add(at)
				}
			}
		}
	}
}

func (p *life) repliedCommit(req *kmsg.OffsetCommitRequest, resp *kmsg.OffsetCommitResponse, sent int) {
	asked := map[TopicPartition]int64{}
	for _, t := range req.Topics {
		for _, part := range t.Partitions {
			asked[TopicPartition{p.w.topicOf(t.Topic, t.TopicID), part.Partition}] = part.Offset
		}
	}
	committed := false
	for _, t := range resp.Topics {
		for _, part := range t.Partitions {
			tp := TopicPartition{p.w.topicOf(t.Topic, t.TopicID), part.Partition}
			e := Event{Group: req.Group, Generation: req.Generation, Topic: tp.Topic, Partition: tp.Partition, Offset: asked[tp], Sent: sent}
			if p.refused(part.ErrorCode, "OffsetCommit", e) {
				continue
			}
			e.Kind, e.Process = Committed, p.Name
			p.w.journal.add(e)
			committed = true
		}
	}
	if committed {
		p.beat(req.Group)
	}
}

func (p *life) repliedTxnCommit(req *kmsg.TxnOffsetCommitRequest, resp *kmsg.TxnOffsetCommitResponse, sent int) {
	refused := map[TopicPartition]bool{}
	for _, t := range resp.Topics {
		for _, part := range t.Partitions {
			tp := TopicPartition{p.w.topicOf(t.Topic, t.TopicID), part.Partition}
			refused[tp] = p.refused(part.ErrorCode, "TxnOffsetCommit", Event{Group: req.Group, Topic: tp.Topic, Partition: tp.Partition})
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, t := range req.Topics {
		for _, part := range t.Partitions {
			tp := TopicPartition{p.w.topicOf(t.Topic, t.TopicID), part.Partition}
			if !refused[tp] {
				p.txns[req.TransactionalID] = append(p.txns[req.TransactionalID], Event{Kind: Committed, Process: p.Name, Group: req.Group, Generation: req.Generation,
					Topic: tp.Topic, Partition: tp.Partition, Offset: part.Offset, Sent: sent})
			}
		}
	}
}

// repliedEndTxn makes a transaction's offsets committed, or forgets them.
func (p *life) repliedEndTxn(req *kmsg.EndTxnRequest, resp *kmsg.EndTxnResponse) {
	if p.refused(resp.ErrorCode, "EndTxn", Event{}) {
		return
	}
	p.mu.Lock()
	offsets := p.txns[req.TransactionalID]
	delete(p.txns, req.TransactionalID)
	p.mu.Unlock()
	if !req.Commit {
		p.w.journal.add(Event{Kind: Noted, Process: p.Name, Text: "transaction aborted"})
		return
	}
	p.w.journal.add(Event{Kind: Noted, Process: p.Name, Text: "transaction committed"})
	for _, e := range offsets {
		p.w.journal.add(e)
	}
}
