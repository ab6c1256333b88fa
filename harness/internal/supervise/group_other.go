//go:build !unix

package supervise

import "os/exec"

const grouped = false

func group(*exec.Cmd) {}

func endGroup(cmd *exec.Cmd) { cmd.Process.Kill() }
