package stacks

import "strings"

func running(g Goroutine) bool {
	switch g.State {
	case "running", "runnable", "preempted", "waiting", "copystack", "GC assist wait", "GC assist marking":
		return true
	}
	return false
}

// waits says what a goroutine waits for.
func waits(g Goroutine) string {
	switch g.State {
	case "chan receive", "chan receive (nil chan)":
		if strings.Contains(g.State, "nil") {
			return "receives from a nil channel"
		}
		return "waits to receive from a channel"
	case "chan send":
		return "waits to send to a channel"
	case "chan send (nil chan)":
		return "sends to a nil channel"
	case "select":
		return "waits in a select"
	case "select (no cases)":
		return "waits in an empty select"
	case "sync.WaitGroup.Wait":
		return "waits for a sync.WaitGroup"
	case "sync.Cond.Wait":
		return "waits for a sync.Cond"
	case "sync.Mutex.Lock", "sync.RWMutex.Lock", "sync.RWMutex.RLock":
		return "waits for a " + strings.TrimSuffix(strings.TrimSuffix(g.State, ".RLock"), ".Lock")
	case "sleep":
		return "sleeps"
	case "semacquire":
		return "waits for a lock"
	}
	return "waits (" + g.State + ")"
}

func doing(g Goroutine) string {
	if running(g) {
		return "runs"
	}
	return waits(g)
}

// infrastructure are the goroutines that run the bubble itself.
func infrastructure(g Goroutine) bool {
	return g.State == "synctest.Run" || g.has("testing/synctest.testingSynctestTest")
}
