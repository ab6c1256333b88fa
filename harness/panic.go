package harness

import (
	"fmt"
	"time"

	"github.com/kafka-katas/kafka-katas/harness/internal/stacks"
)

// panicSite is " (consumer.go:42)", where in the learner's code a recovered panic came from; "" if that is not known.
func panicSite(stack []byte, mine func(file string) bool) string {
	for _, g := range stacks.Parse(stack) {
		for _, f := range g.Frames {
			if mine(f.File) {
				return fmt.Sprintf(" (%s)", f.Place())
			}
		}
	}
	return ""
}

// seconds is how sentences give story time: 45.31s.
func seconds(d time.Duration) string {
	return fmt.Sprintf("%.2fs", d.Seconds())
}
