//go:build unix

package supervise

import (
	"os/exec"
	"syscall"
)

// grouped tells that a command and all that it has started can be ended together.
const grouped = true

// group has cmd start in a process group of its own.
func group(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }

// endGroup ends all of the group.
func endGroup(cmd *exec.Cmd) { syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
