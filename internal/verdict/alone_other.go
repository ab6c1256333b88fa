//go:build !unix

package verdict

import "os/exec"

// alone leaves it to the go command to end what it has started.
func alone(*exec.Cmd) {}

func endAll(*exec.Cmd) {}
