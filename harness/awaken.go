package harness

import (
	"slices"
	"time"
)

// awaken has the clients of a process look whether there is something to fetch, at the next instant.
//
// kgo v1.22.2 can forget to: a fetch loop (source.loopFetch) that begins under a consumer session which is over by the
// time it looks at it ends without a further look, and takes the next session's wake-up along. A rebalance, a moved
// leader and a resumed partition that meet within microseconds leave the partition unfetched until something else stirs
// its broker. In real time that is next to never; in virtual time everything meets, and it was one story in 30,000.
//
// Resuming no partition changes nothing and stirs every broker.
func (p *life) awaken(after Request) {
	if !p.w.backend.exact() || after == Fetch || after == Produce {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.awakening || p.dead {
		return
	}
	p.awakening = true
	time.AfterFunc(1, func() { // everything of this instant has happened by then
		p.mu.Lock()
		p.awakening = false
		made := slices.Clone(p.made)
		if p.dead {
			made = nil
		}
		p.mu.Unlock()
		for _, client := range made {
			client.ResumeFetchPartitions(nil)
		}
	})
}
