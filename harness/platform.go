package harness

import (
	"slices"
	"time"
)

// RestartAfter makes a platform of the story: that long after each crash of the process it begins its next life, as by
// [Process.Restart], while the story sleeps or waits for a claim; a wait is not over before that. It is what a story of
// [Sweep] says once, so that it reads the same wherever the crash is.
func (p *Process) RestartAfter(d time.Duration) *Process {
	p.mu.Lock()
	p.restartAfter = d
	crashed := p.crashed
	p.mu.Unlock()
	if crashed { // before the story came to say so
		(*life)(p).reviveLater()
	}
	return p
}

// reviveLater has the story's goroutine restart a crashed process when it is time.
func (p *life) reviveLater() {
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
		case p.w.revivals <- (*Process)(p):
		case <-p.w.ctx.Done():
		}
	})
}

// restarting says whether a crashed process is due to begin another life. One may be about to crash at this instant: what
// has shown that it is done need not have heard of it itself.
func (w *World) restarting() bool {
	platform := func() (has, due bool) {
		w.mu.Lock()
		defer w.mu.Unlock()
		for i, p := range w.processes {
			p.mu.Lock()
			has = has || p.restartAfter > 0
			due = due || p.reviving && !slices.ContainsFunc(w.processes[i+1:], func(next *Process) bool { return next.Name == p.Name })
			p.mu.Unlock()
		}
		return has, due
	}
	if has, _ := platform(); !has {
		return false
	}
	w.backend.settle()
	_, due := platform()
	return due
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
