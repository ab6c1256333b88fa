package harness

import (
	"maps"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/kafka-katas/kafka-katas/harness/internal/wire"
)

// lingering bounds how long the wires of a crashed process stay up for replies to what it had sent.
const lingering = time.Second

// effective says whether a request changes what others see. If its process crashes before the reply, the broker has done
// it all the same, and only the reply tells the journal.
func effective(req kmsg.Request) bool {
	switch req.(type) {
	case *kmsg.ProduceRequest, *kmsg.OffsetCommitRequest, *kmsg.TxnOffsetCommitRequest, *kmsg.EndTxnRequest:
		return true
	}
	return false
}

// unheard says whether a broker that the process is connected to has yet to reply to such a request.
func (p *life) unheard() bool {
	p.mu.Lock()
	up := map[string]bool{}
	for c := range p.cables {
		up[c.to] = true
	}
	p.mu.Unlock()
	return p.inFlight.has(func(f *wire.Frame) bool { return effective(f.Request) && up[f.Broker] })
}

// linger calls then when the brokers have replied to what a crashed process had sent. What it sends meanwhile goes
// nowhere, and what it hears makes no difference any more.
func (p *life) linger(then func()) {
	if !p.unheard() {
		then()
		return
	}
	heard, lingered := make(chan struct{}, 1), make(chan struct{})
	p.mu.Lock()
	p.heard, p.lingered = heard, lingered
	p.mu.Unlock()
	p.vanish()
	go func() {
		defer then()
		defer close(lingered)
		limit := time.NewTimer(lingering)
		defer limit.Stop()
		for p.unheard() {
			select {
			case <-heard:
			case <-limit.C:
				return
			case <-p.w.ctx.Done():
				return
			}
		}
	}()
}

// unplugAll closes the process's connections.
func (p *life) unplugAll() {
	p.mu.Lock()
	cables := slices.Collect(maps.Keys(p.cables))
	p.mu.Unlock()
	for _, c := range cables {
		c.Close()
	}
}

// silenced is what becomes of a request of a dead process.
func (p *life) silenced() wire.Verdict {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.lingered == nil {
		return wire.Cut()
	}
	return wire.Hold(p.lingered, wire.Cut())
}

// overheard journals what a reply to a dead process shows to have been done.
func (p *life) overheard(f *wire.Frame, resp kmsg.Response, sent int) wire.Verdict {
	if resp != nil && effective(f.Request) {
		p.replied(f.Request, resp, sent)
	}
	p.mu.Lock()
	heard := p.heard
	p.mu.Unlock()
	select {
	case heard <- struct{}{}: // nobody listens to nil
	default:
	}
	return p.unheeded()
}

// unheeded is what becomes of a reply to a dead process. While its wires are up this one stays up as well: what the broker
// has still to say on it shows what it has done.
func (p *life) unheeded() wire.Verdict {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.lingered == nil {
		return wire.Cut()
	}
	return wire.Pass()
}
