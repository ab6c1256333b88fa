package harness

import (
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

// bury sees to it that the program of a process that was cut off returns: its goroutines are still there, which those of
// a killed process are not, and kgo waits without end for the reply to a produce request that has left. Closing its
// clients ends that. A program that was asked to stop closes its own: there an unclosed client is a leak.
func (p *Process) bury() {
	rest := time.NewTimer(haunting)
	defer rest.Stop()
	select {
	case <-p.done:
		return
	case <-rest.C:
	}
	p.mu.Lock()
	made := p.made
	p.mu.Unlock()
	for _, c := range made {
		go c.CloseAllowingRebalance()
	}
}
