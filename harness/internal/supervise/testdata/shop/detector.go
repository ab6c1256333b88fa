package shop

import (
	"fmt"
	"os"
)

// FailDetector ends the process as the race detector does when it fails a check of its own, until it was told so often.
func FailDetector(file string, times int) {
	before, _ := os.ReadFile(file)
	if len(before) == times {
		return
	}
	os.WriteFile(file, append(before, '.'), 0o600)
	fmt.Fprintln(os.Stderr, `ThreadSanitizer: CHECK failed: tsan_rtl.cpp:346 "((exiting)) != (0)" (0x0, 0x0) (tid=1)`)
	os.Exit(66)
}
