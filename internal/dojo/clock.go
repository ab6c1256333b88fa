// Package dojo is what a pair or a mob needs around a kata: whose turn it is and for how long, who unlocks the next step
// and who makes it green, what the next one must know, and what to do about a step that was green before.
package dojo

import (
	"fmt"
	"sync"
	"time"
)

// Clock counts a turn down and says who drives. It knows no other time than what it is told. It is safe for concurrent use.
type Clock struct {
	Names    []string      // in the order in which they drive
	Turn     time.Duration // how long a turn lasts
	PingPong bool          // turns change when a step is unlocked, not by time alone

	mu    sync.Mutex
	at    int
	began time.Time
	rung  bool
}

// NewClock begins the first turn.
func NewClock(now time.Time, turn time.Duration, names ...string) *Clock {
	return &Clock{Names: names, Turn: turn, began: now}
}

// Driver types.
func (c *Clock) Driver() string { return c.name(0) }

// Navigator says what to type: who drives next.
func (c *Clock) Navigator() string { return c.name(1) }

func (c *Clock) name(after int) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.Names) <= after {
		return ""
	}
	return c.Names[(c.at+after)%len(c.Names)]
}

// Left is how much of the turn is left; below zero it is over.
func (c *Clock) Left(now time.Time) time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.Turn - now.Sub(c.began)
}

// Rings tells once that the turn is over.
func (c *Clock) Rings(now time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.rung || now.Sub(c.began) < c.Turn {
		return false
	}
	c.rung = true
	return true
}

// Rotate begins the next one's turn.
func (c *Clock) Rotate(now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.Names) > 0 {
		c.at = (c.at + 1) % len(c.Names)
	}
	c.began, c.rung = now, false
}

// Restart begins the turn anew.
func (c *Clock) Restart(now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.began, c.rung = now, false
}

// Line is what is shown above everything: who, and how long.
func (c *Clock) Line(now time.Time) string {
	left := c.Left(now).Round(time.Second)
	text := fmt.Sprintf("%d:%02d", int(left.Minutes()), int(left.Seconds())%60)
	if left <= 0 {
		text = "TURN OVER: press x to rotate"
	}
	if d := c.Driver(); d != "" {
		text += "  " + d + " drives"
	}
	if n := c.Navigator(); n != "" {
		text += ", " + n + " navigates"
	}
	if c.PingPong {
		text += "  (ping-pong)"
	}
	return text
}
