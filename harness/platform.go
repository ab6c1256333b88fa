package harness

import "time"

// RestartAfter makes a platform of the story: that long after each crash of the process it begins its next life, as by
// [Process.Restart], while the story sleeps or waits for a claim. It is what a story of [Sweep] says once, so that it
// reads the same wherever the crash is.
func (p *Process) RestartAfter(d time.Duration) *Process {
	p.mu.Lock()
	p.restartAfter = d
	crashed := p.crashed
	p.mu.Unlock()
	if crashed { // before the story came to say so
		p.reviveLater()
	}
	return p
}

// reviveLater has the story's goroutine restart a crashed process when it is time.
func (p *Process) reviveLater() {
	p.mu.Lock()
	after := p.restartAfter
	if after == 0 || p.reviving {
		p.mu.Unlock()
		return
	}
	p.reviving = true
	p.mu.Unlock()
	time.AfterFunc(after, func() {
		select {
		case p.w.revivals <- p:
		case <-p.w.ctx.Done():
		}
	})
}

// revive begins the next life of a crashed process, unless the story has done so itself.
func (w *World) revive(p *Process) {
	for _, live := range w.live() {
		if live.Name == p.Name {
			return
		}
	}
	p.Restart()
}
