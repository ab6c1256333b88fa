package supervise

import (
	"bytes"
	"os"
)

// traced reads the kernel's word for it.
func traced() bool {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return false
	}
	_, rest, ok := bytes.Cut(status, []byte("TracerPid:"))
	if !ok {
		return false
	}
	pid, _, _ := bytes.Cut(rest, []byte("\n"))
	return string(bytes.TrimSpace(pid)) != "0"
}
