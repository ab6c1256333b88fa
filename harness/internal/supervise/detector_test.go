package supervise

import "testing"

func TestDetectorFailed_TellsItsFaultsFromTheProgramsOwn(t *testing.T) {
	for _, c := range []struct {
		name, text string
		code       int
		want       bool
	}{
		{"a check of its own", "ThreadSanitizer: CHECK failed: tsan_rtl.cpp:346 \"((0)) != (0)\"", exitOfDetector, true},
		{"a program that writes the same and goes on", "ThreadSanitizer: CHECK failed: tsan_rtl.cpp:346", 1, false},
		{"a race", "==================\nWARNING: DATA RACE", exitOfDetector, false},
		{"os.Exit with the detector's code", "", exitOfDetector, false},
		{"a nil pointer", "panic: runtime error: invalid memory address or nil pointer dereference\n[signal SIGSEGV: segmentation violation", 2, false},
		{"a memory fault outside of Go's code", "SIGSEGV: segmentation violation\nPC=0x4a1 m=3 sigcode=1 addr=0x0", 2, raced},
	} {
		if got := detectorFailed([]byte(c.text), c.code); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}
