package harness

import (
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// clients is the process as a hook that notes which clients its program has made.
type clients Process

var _ kgo.HookNewClient = (*clients)(nil)

func (c *clients) OnNewClient(client *kgo.Client) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.made = append(c.made, client)
}

// haunting is how long the remains of a process have for ending by themselves.
const haunting = 10 * time.Second

// bury sees to it that the program of a process that was cut off can return: its goroutines are still there, which those
// of a killed process are not, and kgo waits without end for the reply to a produce request that has left.
func (p *life) bury() {
	tick := time.NewTicker(haunting)
	defer tick.Stop()
	for {
		select {
		case <-p.done:
			return
		case <-p.w.ctx.Done():
			return
		case <-tick.C:
		}
		p.mu.Lock()
		made := slices.Clone(p.made)
		p.mu.Unlock()
		for _, c := range made {
			c.UnsafeAbortBufferedRecords()
		}
	}
}
