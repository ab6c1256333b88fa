package supervise

import "syscall"

func traced() bool {
	yes, _, _ := syscall.NewLazyDLL("kernel32.dll").NewProc("IsDebuggerPresent").Call()
	return yes != 0
}
