// Edittoverdict measures how long a learner waits from saving a file to the verdict, against two floors: an empty test
// that imports the same packages, of which the linker then throws nearly everything away; and a test that tells an empty
// story, so that it links what every specification links. Each run changes a source file first, so that it compiles,
// links and runs as after an edit.
//
//	go run ./internal/edittoverdict -runs 11
//
// It works on copies in .katas/, which git ignores. Quote the ratios: they hold when the machine's speed drifts, since
// the commands take turns.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/kafka-katas/kafka-katas/internal/desk"
	"github.com/kafka-katas/kafka-katas/internal/lesson"
	"github.com/kafka-katas/kafka-katas/internal/verdict"
	"github.com/kafka-katas/kafka-katas/internal/watch"
)

const floorTest = `package floor

import (
	"testing"

	_ "github.com/twmb/franz-go/pkg/kadm"
	_ "github.com/twmb/franz-go/pkg/kfake"
	_ "github.com/twmb/franz-go/pkg/kgo"

	_ "github.com/kafka-katas/kafka-katas/harness"
	_ "github.com/kafka-katas/kafka-katas/ops"
)

func TestNothing(*testing.T) {}
`

const emptyStory = `package story

import (
	"testing"

	_ "github.com/twmb/franz-go/pkg/kadm"
	_ "github.com/twmb/franz-go/pkg/kgo"

	"github.com/kafka-katas/kafka-katas/harness"
	_ "github.com/kafka-katas/kafka-katas/ops"
)

func TestMain(m *testing.M) { harness.Main(m) }

func TestNothing(t *testing.T) { harness.Run(t, func(*harness.World) {}) }
`

func main() {
	runs := flag.Int("runs", 11, "counted runs of each command, after one that warms the caches")
	name := flag.String("lesson", "lesson07", "the kata")
	flag.Parse()
	if err := measure(*name, *runs); err != nil {
		fmt.Fprintln(os.Stderr, "edittoverdict:", err)
		os.Exit(1)
	}
}

// a command is one of those that take turns.
type command struct {
	name string
	dir  string
	args []string
	red  bool            // it ends with exit code 1
	took []time.Duration // on the clock
	cpu  []time.Duration // of all processes together: holds still when others use the machine too

	verdict func() error // waits for it, where something runs already that is told of the edit
}

// desked is a course's learner, and the lesson.
func desked(course, name string) (*desk.Desk, *lesson.Lesson, error) {
	root, err := filepath.Abs(course)
	if err != nil {
		return nil, nil, err
	}
	l, err := lesson.Find(root, name)
	return desk.New(root), l, err
}

// tested is kata test.
func tested(course, name string) (*command, error) {
	d, l, err := desked(course, name)
	if err != nil {
		return nil, err
	}
	return &command{name: "the kata's first red, by kata test", dir: l.Dir(), verdict: func() error {
		v, err := d.Run(context.Background(), verdict.Request{Lesson: l})
		if err == nil && v.Colour != verdict.Red {
			err = fmt.Errorf("it is %s\n%s", v.Colour, v.Build)
		}
		return err
	}}, nil
}

// watching is a session of kata watch that goes on beside the commands, until end.
func watching(course, name string) (c *command, end func(), err error) {
	d, l, err := desked(course, name)
	if err != nil {
		return nil, nil, err
	}
	ctx, stop := context.WithCancel(context.Background())
	events, _ := (&watch.Session{Desk: d, Lesson: l, By: "watch"}).Start(ctx)
	c = &command{name: "the kata's first red, by kata watch", dir: l.Dir(), verdict: func() error {
		for e := range events {
			switch {
			case e.Err != nil:
				return e.Err
			case e.Verdict != nil && e.Verdict.Colour == verdict.Red:
				return nil
			case e.Verdict != nil:
				return fmt.Errorf("watch says that it is %s\n%s", e.Verdict.Colour, e.Verdict.Build)
			}
		}
		return errors.New("watch has ended")
	}}
	end = func() {
		stop()
		for range events { // until nothing runs any more
		}
	}
	return c, end, c.verdict() // it begins with a run
}

func measure(name string, runs int) error {
	if runs < 1 {
		return fmt.Errorf("-runs %d: give at least 1", runs)
	}
	work := filepath.Join(".katas", "edittoverdict")
	defer os.RemoveAll(work)
	floor, story, kata := filepath.Join(work, "floor"), filepath.Join(work, "story"), filepath.Join(work, "kata")
	if err := os.RemoveAll(work); err != nil {
		return err
	}
	if err := os.MkdirAll(floor, 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(floor, "floor_test.go"), []byte(floorTest), 0o644); err != nil {
		return err
	}
	if err := os.MkdirAll(story, 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(story, "story_test.go"), []byte(emptyStory), 0o644); err != nil {
		return err
	}
	if err := os.CopyFS(kata, os.DirFS(filepath.Join("katas", name))); err != nil {
		return fmt.Errorf("run this at the root of a clone: %w", err)
	}
	commands := []*command{
		{name: "floor: an empty test, with the tag", dir: floor, args: []string{"-tags", "synctests"}},
		{name: "floor: an empty story, with the tag", dir: story, args: []string{"-tags", "synctests"}},
		{name: "the kata's first red, with the tag", dir: kata, args: []string{"-tags", "synctests"}, red: true},
		{name: "the kata's first red, plain go test", dir: kata, red: true},
	}
	course, other := filepath.Join(work, "course"), filepath.Join(work, "other")
	for _, c := range []string{course, other} {
		if err := os.CopyFS(filepath.Join(c, "katas", name), os.DirFS(filepath.Join("katas", name))); err != nil {
			return err
		}
	}
	byTest, err := tested(other, name)
	if err != nil {
		return err
	}
	watched, end, err := watching(course, name)
	if err != nil {
		return err
	}
	defer end()
	commands = append(commands, byTest, watched)
	for i := range runs + 1 {
		for _, c := range commands {
			took, cpu, err := c.run(i)
			if err != nil {
				return err
			}
			if i > 0 {
				c.took, c.cpu = append(c.took, took), append(c.cpu, cpu)
			}
		}
	}
	for _, c := range commands {
		fmt.Printf("%-38s median %-6v min %-6v cpu %-6v", c.name, median(c.took), slices.Min(c.took).Round(10*time.Millisecond), median(c.cpu))
		if c != commands[0] {
			fmt.Printf("  %.2f times the empty test, %.2f times the empty story", ratio(c.took, commands[0].took), ratio(c.took, commands[1].took))
		}
		fmt.Println()
	}
	return nil
}

// run edits a file and runs the tests.
func (c *command) run(i int) (took, cpu time.Duration, err error) {
	pkg := strings.TrimPrefix(filepath.Base(c.dir), "kata")
	if pkg == "" {
		pkg = packageName(c.dir)
	}
	edit := fmt.Sprintf("package %s\n\nvar edited = %d + %d\n\nfunc init() { edited++ }\n", pkg, time.Now().UnixNano(), i)
	if err := os.WriteFile(filepath.Join(c.dir, "edit.go"), []byte(edit), 0o644); err != nil {
		return 0, 0, err
	}
	if c.verdict != nil {
		begin := time.Now()
		err := c.verdict()
		return time.Since(begin), 0, err
	}
	cmd := exec.Command("go", append(append([]string{"test"}, c.args...), "./"+filepath.ToSlash(c.dir))...)
	begin := time.Now()
	out, err := cmd.CombinedOutput()
	took = time.Since(begin)
	cpu = cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	if _, failed := err.(*exec.ExitError); failed != c.red || strings.Contains(string(out), "[build failed]") {
		return 0, 0, fmt.Errorf("%s did not end as it should:\n%s", strings.Join(cmd.Args, " "), out)
	}
	return took, cpu, nil
}

func packageName(dir string) string {
	files, _ := filepath.Glob(filepath.Join(dir, "*.go"))
	for _, file := range files {
		data, _ := os.ReadFile(file)
		for line := range strings.Lines(string(data)) {
			if name, ok := strings.CutPrefix(line, "package "); ok {
				return strings.TrimSpace(name)
			}
		}
	}
	return "kata"
}

func median(d []time.Duration) time.Duration {
	d = slices.Sorted(slices.Values(d))
	return d[len(d)/2].Round(10 * time.Millisecond)
}

// ratio is the median of the ratios pair by pair.
func ratio(a, b []time.Duration) float64 {
	var out []float64
	for i := range a {
		out = append(out, float64(a[i])/float64(b[i]))
	}
	slices.Sort(out)
	return out[len(out)/2]
}
