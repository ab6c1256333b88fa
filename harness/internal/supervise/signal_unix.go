//go:build unix

package supervise

import (
	"os"
	"os/signal"
	"syscall"
)

var forwarded = []os.Signal{os.Interrupt, syscall.SIGTERM, syscall.SIGQUIT, syscall.SIGHUP}

// interrupts are those of them that end a process without another word.
var interrupts = []os.Signal{os.Interrupt, syscall.SIGTERM, syscall.SIGHUP}

// dieBy ends this process by the signal that ended the child, as a shell expects.
func dieBy(s os.Signal) {
	signal.Reset(s)
	if n, ok := s.(syscall.Signal); ok {
		syscall.Kill(syscall.Getpid(), n)
		select {}
	}
}

// orphaned tells that the parent is gone.
func orphaned(parent int) bool { return os.Getppid() != parent }
