package harness

import (
	"fmt"
	"strings"
	"testing"
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
	return clockTime(d, d, 2)
}

// storyPanicked is the verdict on a panic in the story's own goroutine.
func storyPanicked(test string, value any, stack []byte, mine func(string) bool) error {
	err := panicked("the story's goroutine", value, stack, mine)
	b := BreachOf(err)
	text := fmt.Sprint(value)
	switch {
	case b == nil:
	case strings.Contains(text, parallelConflict):
		return parallel(test)
	case strings.Contains(text, "closed channel"):
		b.What += ": the program has closed a channel that it was given"
		b.Why = "only its maker closes a channel, and once: whoever else holds it cannot know that it is closed"
	}
	return err
}

// parallelConflict is how the testing package words that a test wants to be parallel and must not.
const parallelConflict = "can not use t.Parallel"

// alone fails a parallel test, and makes t.Parallel panic in a story of this one: setting a variable is how the testing
// package lets a test say that it has the process to itself.
func alone(t *testing.T) {
	t.Helper()
	conflict := func() (conflict bool) {
		defer func() {
			if r := recover(); r != nil {
				conflict = true
			}
		}()
		t.Setenv("KATA_TEST", t.Name())
		return false
	}()
	if conflict {
		err := parallel(t.Name())
		t.Attr("verdict", Word(err))
		t.Fatalf("\n%s\n\nwhy    %s", err, BreachOf(err).Why)
	}
}

func parallel(test string) error {
	return &Broken{says("a story takes milliseconds and is judged by what its whole process does, so that two at once would be taken for each other",
		"%s calls t.Parallel: stories are told one at a time", test)}
}
