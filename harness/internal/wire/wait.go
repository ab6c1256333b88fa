package wire

import (
	"net"
	"os"
	"time"
)

// doze waits as the verdict says, unless the read's deadline or the connection's end comes first. If the two fall on
// the same instant, as they may in virtual time, the deadline has it: the same each run.
func (t *tap) doze(since time.Time, v Verdict) error {
	for {
		t.mu.Lock()
		deadline := t.deadline
		if t.moved == nil {
			t.moved = make(chan struct{})
		}
		moved := t.moved
		t.mu.Unlock()

		var due, late <-chan time.Time
		var timers [2]*time.Timer
		if end := since.Add(v.wait); v.until == nil && (deadline.IsZero() || end.Before(deadline)) {
			timers[0] = time.NewTimer(time.Until(end))
			due = timers[0].C
		}
		if !deadline.IsZero() {
			timers[1] = time.NewTimer(time.Until(deadline))
			late = timers[1].C
		}
		again, err := false, error(nil)
		select {
		case <-due:
		case <-v.until:
		case <-late:
			err = os.ErrDeadlineExceeded
		case <-t.closed:
			err = net.ErrClosed
		case <-moved:
			again = true
		}
		for _, timer := range timers {
			if timer != nil {
				timer.Stop()
			}
		}
		if !again {
			return err
		}
	}
}

// sleep waits as the verdict says, and reports whether the connection is still open.
func (t *tap) sleep(since time.Time, v Verdict) bool {
	var timer <-chan time.Time
	if v.until == nil {
		tm := time.NewTimer(time.Until(since.Add(v.wait)))
		defer tm.Stop()
		timer = tm.C
	}
	select {
	case <-timer:
	case <-v.until:
	case <-t.closed:
		return false
	}
	return true
}
