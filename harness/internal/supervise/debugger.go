package supervise

import (
	"os"
	"sync"
)

// Debugged tells that a debugger is attached to this process, or KATA_DEBUG=1 says that one will be. Then nothing is
// supervised and no watchdog barks: time spent at a breakpoint is no stall.
var Debugged = sync.OnceValue(func() bool {
	if v := os.Getenv("KATA_DEBUG"); v != "" && v != "0" {
		return true
	}
	return traced()
})
