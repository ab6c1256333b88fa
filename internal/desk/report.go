package desk

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"

	"github.com/kafka-katas/kafka-katas/internal/history"
	"github.com/kafka-katas/kafka-katas/internal/lesson"
)

// Report says where the timeline of the last red is, and opens it if this system can show it.
func (d *Desk) Report(ctx context.Context, w io.Writer, open bool) error {
	r := d.Book.Progress().LastRed
	if r == nil {
		return errors.New("no run was red yet, so there is no timeline: go tool kata test")
	}
	if r.Report == "" {
		return fmt.Errorf("the last red, %s, has no timeline: it told no story", r.FirstRed)
	}
	if _, err := os.Stat(r.Report); err != nil {
		return fmt.Errorf("the timeline of %s is gone: run it again (go tool kata test %s %d)", r.FirstRed, strings.TrimPrefix(r.Lesson, "lesson"), r.Step)
	}
	out := &printer{w: w}
	out.f("%s\n%s\n", r.FirstRed, r.Report)
	if !open {
		return out.err
	}
	if err := Show(ctx, r.Report); err != nil {
		out.f("(not opened: %v)\n", err)
	}
	return out.err
}

// Show opens a file with what the desktop opens such files with.
func Show(ctx context.Context, file string) error {
	args := []string{"xdg-open", file}
	switch {
	case os.Getenv("BROWSER") != "" && runtime.GOOS != "windows" && runtime.GOOS != "darwin":
		args = append(strings.Fields(os.Getenv("BROWSER")), file)
	case runtime.GOOS == "darwin":
		args = []string{"open", file}
	case runtime.GOOS == "windows":
		args = []string{"rundll32", "url.dll,FileProtocolHandler", file}
	case os.Getenv("DISPLAY") == "" && os.Getenv("WAYLAND_DISPLAY") == "":
		return errors.New("there is no desktop here; open it in a browser")
	}
	program, err := exec.LookPath(args[0])
	if err != nil {
		return fmt.Errorf("there is no %s here; open it in a browser", args[0])
	}
	cmd := exec.CommandContext(context.WithoutCancel(ctx), program, args[1:]...)
	if err := cmd.Start(); err != nil {
		return err
	}
	go cmd.Wait() // a browser may stay; it is not waited for
	return nil
}

// Replay tells a story again with the schedule or crash point that made it red: of the last red, or as given.
func (d *Desk) Replay(ctx context.Context, w, warnings io.Writer, seed string, asked []string, spec string) error {
	last := d.Book.Progress().LastRed
	if seed == "" {
		if last == nil || last.Seed == "" {
			return errors.New("the last red has no seed to replay: give one, as a failure prints it (kata replay 'crash m1@2.3s' 07 18)")
		}
		seed = last.Seed
	}
	variable, text := Seed(seed)
	l, s, err := d.At(asked)
	if len(asked) == 0 {
		r := d.redOf(text)
		if r == nil {
			return fmt.Errorf("no run here was red with %q: say which lesson and step (kata replay %q 07 18)", text, text)
		}
		if l, err = lesson.Find(d.Root, r.Lesson); err == nil {
			s, spec = l.Step(r.Step), r.FirstRed
		}
	}
	if err != nil {
		return err
	}
	return d.Test(ctx, w, warnings, l, s, Test{By: "replay", Env: []string{variable + "=" + text}, Spec: spec, Args: []string{"-count=1"}})
}

// redOf is the latest run that was red with a seed.
func (d *Desk) redOf(seed string) (found *history.Run) {
	runs, _ := d.Book.Runs()
	for i := range runs {
		if runs[i].Seed == seed && runs[i].FirstRed != "" {
			found = &runs[i]
		}
	}
	return found
}

// Seed takes a seed apart, given as a failure prints it (KATA_SCHEDULE='crash m1@2.3s') or bare. A schedule names members
// and times, which a crash point does not.
func Seed(given string) (variable, text string) {
	given = strings.TrimSpace(given)
	for _, v := range []string{"KATA_SCHEDULE", "KATA_POINT"} {
		if rest, ok := strings.CutPrefix(given, v+"="); ok {
			return v, strings.Trim(rest, `'"`)
		}
	}
	if strings.Contains(given, "@") {
		return "KATA_SCHEDULE", given
	}
	return "KATA_POINT", given
}
