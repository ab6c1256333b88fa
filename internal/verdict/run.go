package verdict

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/kafka-katas/kafka-katas/internal/lesson"
	"github.com/kafka-katas/kafka-katas/internal/toolchain"
)

// Tag is the build tag under which virtual time works with the client (CONTRIBUTING.md says why).
const Tag = "synctests"

// Quick is how the tool builds what it only runs.
func Quick() []string {
	return append(toolchain.GCFlags(), "-tags="+toolchain.Tags(Tag), "-ldflags="+toolchain.LDFlags, "-vet=off")
}

// A Request says what to run.
type Request struct {
	Lesson  *lesson.Lesson
	Step    int      // 0 for all
	Test    string   // one specification, "" for all
	All     bool     // do not stop at the first red step
	Near    int      // the step that is expected to be the first red one; 0 for no idea
	Reports string   // where the timelines of red stories go as HTML; "" for none
	Env     []string // further environment
	Args    []string // further arguments of go test
	OnTest  func(name string)
}

// ErrCommand is an error of the go command itself: nothing was judged.
var ErrCommand = errors.New("the go command could not run the tests")

// Run runs the specifications. A red one is no error. When ctx ends, everything that was started has ended too when
// Run returns, and the verdict is Cancelled.
//
// Most of what a learner waits for is the compiler. So files beyond the step where the first red is expected are not
// compiled at first. If no step before theirs is red, or it does not compile, the next file is compiled too, and then
// everything: the compiler has the word in the end.
func Run(ctx context.Context, q Request) (*Verdict, error) {
	begin := time.Now()
	v, err := runNear(ctx, q)
	if v == nil && err == nil {
		v, err = run(ctx, q, "")
	}
	if v != nil {
		v.Took = time.Since(begin)
	}
	return v, err
}

// runNear runs them without the files that are ahead. It returns nothing if that says nothing.
func runNear(ctx context.Context, q Request) (*Verdict, error) {
	if q.Near == 0 || q.All || q.Test != "" || q.Step > 0 || os.Getenv("KATA_ALL") == "1" {
		return nil, nil
	}
	if os.Getenv("KAFKA_BROKERS") != "" || os.Getenv("KATA_EXPLORE") != "" {
		return nil, nil // what takes minutes to run is not run twice to save a moment of compiling
	}
	step := q.Near
	for range 2 { // a step that turns green may be the last of its file
		beyond, next := q.Lesson.Beyond(step)
		if len(beyond) == 0 {
			return nil, nil
		}
		v, err := runWithout(ctx, q, beyond)
		switch {
		case err != nil || v.Colour == NotBuilt:
			return nil, nil
		case v.Colour == Cancelled:
			return v, nil
		case len(v.Red) > 0 && slices.Min(v.Red) < next: // a file's steps need not follow each other
			return v, nil
		}
		step = next
	}
	return nil, nil
}

// runWithout runs them with nothing in these files.
func runWithout(ctx context.Context, q Request, files []string) (*Verdict, error) {
	dir, err := os.MkdirTemp("", "kata-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	empty, overlay := filepath.Join(dir, "empty.go"), filepath.Join(dir, "overlay.json")
	replace := map[string]string{}
	for _, name := range files {
		replace[filepath.Join(q.Lesson.Dir(), name)] = empty
	}
	text, err := json.Marshal(map[string]any{"Replace": replace})
	if err == nil {
		err = errors.Join(os.WriteFile(empty, []byte("package "+q.Lesson.Name+"\n"), 0o600), os.WriteFile(overlay, text, 0o600))
	}
	if err != nil {
		return nil, err
	}
	return run(ctx, q, overlay)
}

func run(ctx context.Context, q Request, overlay string) (*Verdict, error) {
	if ctx.Err() != nil {
		return &Verdict{Lesson: q.Lesson.Name, Colour: Cancelled}, nil
	}
	work, err := os.MkdirTemp(goTemp(), "kata-")
	if err != nil {
		return nil, fmt.Errorf("there is no place for what the go command builds: %w; free some space, or mend TMPDIR or GOTMPDIR", err)
	}
	defer removeAll(work)
	args := append([]string{"test", "-json"}, Quick()...)
	if overlay != "" {
		args = append(args, "-overlay", overlay)
	}
	switch {
	case q.Test != "":
		args = append(args, "-run", "^"+q.Test+"$")
	case q.Step > 0:
		args = append(args, "-run", fmt.Sprintf("^TestStep%02d_", q.Step))
	}
	args = append(append(args, q.Args...), q.Lesson.Pattern())
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = q.Lesson.Root
	cmd.Env = append(environment(q), "GOTMPDIR="+work) // one that is interrupted while it builds removes nothing
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	cmd.WaitDelay = 2 * time.Second
	alone(cmd)
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		if errors.Is(err, exec.ErrNotFound) {
			return nil, fmt.Errorf("there is no go command in PATH: install Go (https://go.dev/dl) or mend PATH")
		}
		return nil, err
	}
	r := newReading()
	stray := r.read(out, q.OnTest)
	err = cmd.Wait()
	if ctx.Err() != nil {
		endAll(cmd)
		return &Verdict{Lesson: q.Lesson.Name, Colour: Cancelled}, nil
	}
	if err != nil && !r.failed {
		return nil, fmt.Errorf("%w: %v\n%s", ErrCommand, err, strings.TrimSpace(stderr.String()+stray))
	}
	return r.verdict(q.Lesson.Name), nil
}

// goTemp is the folder in which the go command is to build, "" for the system's. The user may have said so to the go command alone.
var goTemp = sync.OnceValue(func() string {
	out, err := exec.Command("go", "env", "GOTMPDIR").Output()
	if err != nil {
		return "" // the run will say what is the matter
	}
	return strings.TrimSpace(string(out))
})

// removeAll removes a folder in which something that was killed may still be seen for a moment.
func removeAll(dir string) {
	for range 20 {
		if os.RemoveAll(dir) == nil {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func environment(q Request) []string {
	env := slices.DeleteFunc(os.Environ(), func(v string) bool {
		return strings.HasPrefix(v, "KATA_REPORT=") && q.Reports != ""
	})
	if q.Reports != "" {
		env = append(env, "KATA_REPORT="+q.Reports)
	}
	if q.All {
		env = append(env, "KATA_ALL=1")
	}
	return toolchain.Env(append(env, q.Env...))
}

// read takes in the lines of go test -json, and returns those that are none.
func (r *reading) read(in io.Reader, onTest func(string)) string {
	var stray strings.Builder
	lines := bufio.NewReader(in)
	for {
		line, err := lines.ReadBytes('\n')
		var e event
		if len(line) > 0 {
			if json.Unmarshal(line, &e) == nil && e.Action != "" {
				r.add(e)
				if e.Action == "run" && onTest != nil {
					onTest(e.Test)
				}
			} else {
				stray.Write(line)
			}
		}
		if err != nil {
			return stray.String()
		}
	}
}
