// Package stop tells the first request to stop from the second.
package stop

import (
	"context"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// moment is within how long two requests are one. A terminal tells every process of its group, and go tool passes on to
// its tool what it was told itself: one Ctrl-C arrives several times.
const moment = 300 * time.Millisecond

// Signals asks to stop at SIGINT and SIGTERM, until done is called.
func Signals() (asked chan os.Signal, done func()) {
	asked = make(chan os.Signal, 8)
	signal.Notify(asked, os.Interrupt, syscall.SIGTERM)
	return asked, func() { signal.Stop(asked) }
}

// At ends gently at the first request and at once at the second. Both end with parent; without that, a goroutine stays.
func At(parent context.Context, asked <-chan os.Signal) (gently, atOnce context.Context) {
	gently, first := context.WithCancel(parent)
	atOnce, second := context.WithCancel(parent)
	go func() {
		defer second()
		defer first()
		var at time.Time
		for {
			select {
			case <-parent.Done():
				return
			case <-asked:
			}
			switch {
			case at.IsZero():
				at = time.Now()
				first()
			case time.Since(at) >= moment:
				return
			}
		}
	}()
	return gently, atOnce
}
