//go:build unix

package against

import (
	"syscall"
	"time"
)

// ProcessorTime is what this process has computed so far, on all processors together; 0 where that cannot be told.
func ProcessorTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
