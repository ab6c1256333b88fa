//go:build unix

package verdict

import (
	"os/exec"
	"syscall"
	"time"
)

// alone puts what is started into a process group of its own, so that cancelling ends all of it: the go command, the
// compiler, the tests and whatever they have started.
func alone(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	// What the tests have made outside their process, as on a real cluster, they remove when they are interrupted, and are
	// not waited for any longer than that.
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGINT) }
	cmd.WaitDelay = time.Second
}

// endAll ends what is left of the group.
func endAll(cmd *exec.Cmd) { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
