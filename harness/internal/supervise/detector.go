package supervise

import (
	"bytes"
	"fmt"
	"strings"
)

// checkFailed is how the race detector says that it found itself in a state that it holds impossible. It ends the process
// with the code of a race. Go 1.26's does so now and then, by tsan_rtl.cpp:346, where some hundred goroutines come and go
// quickly; the same program run again is judged as ever.
const checkFailed = "ThreadSanitizer: CHECK failed"

// exitOfDetector is the race detector's exit code unless GORACE says otherwise.
const exitOfDetector = 66

// detectorFailed says whether the child was ended by a fault of the race detector itself: by one of its own checks, or by a
// memory fault outside of Go's code, which no program in Go alone can cause.
func detectorFailed(text []byte, code int) bool {
	if bytes.HasPrefix(text, []byte(checkFailed)) {
		return code == exitOfDetector
	}
	return raced && bytes.HasPrefix(text, []byte("SIGSEGV: segmentation violation"))
}

// maxFaults bounds how often a run is taken up again after a fault of the race detector.
const maxFaults = 20

// crash is what the child, or its race detector, said when it ended.
func (s *seen) crash() []byte {
	if s.check != "" {
		return []byte(s.check)
	}
	return s.held.Bytes()
}

// takeUp says that the tests which the race detector broke off run again, if they do: they have no verdict. A child that
// starts in the middle of a repetition or of a shuffled order would repeat others.
func (p *parent) takeUp(e ending) bool {
	if e.giveUp != nil || !detectorFailed(p.seen.crash(), e.code) || noRestart() != "" || p.faults == maxFaults {
		return false
	}
	p.faults++
	again := "what is left runs again"
	if len(e.running) > 0 {
		var names []string
		for _, n := range e.running {
			names = append(names, n.Test)
		}
		again = strings.Join(names, " and ") + " runs again"
	}
	p.print(fmt.Sprintf("harness: the race detector failed a check of its own, which says nothing of the program: %s\n", again))
	return true
}
