package dojo

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/kafka-katas/kafka-katas/internal/desk"
	"github.com/kafka-katas/kafka-katas/internal/history"
	"github.com/kafka-katas/kafka-katas/internal/lesson"
	"github.com/kafka-katas/kafka-katas/internal/reset"
	"github.com/kafka-katas/kafka-katas/internal/watch"
)

// Dojo is a watched lesson with turns.
type Dojo struct {
	Desk  *desk.Desk
	Clock *Clock
	Mob   func() error   // hands over to the next machine; nil for none
	TCR   *lesson.Lesson // whose files are taken back when an earlier step regresses; nil for none
	now   func() time.Time
	step  int               // the furthest that was red
	good  map[string][]byte // the files when nothing had regressed
}

// New is a dojo at a desk.
func New(d *desk.Desk, c *Clock) *Dojo { return &Dojo{Desk: d, Clock: c, now: time.Now} }

// Keys are those that a dojo adds.
const Keys = "x rotate  z restart turn  "

// Extra is what the dojo adds to the watching terminal.
func (d *Dojo) Extra() watch.Extra {
	return watch.Extra{
		Header: func() string { return d.Clock.Line(d.now()) },
		Bell:   func() bool { return d.Clock.Rings(d.now()) },
		Key:    d.Key,
		Event:  d.Event,
		Keys:   Keys,
	}
}

// Note adds who is at the keyboard to what is kept of a run.
func (d *Dojo) Note(r *history.Run) { r.Driver, r.Navigator = d.Clock.Driver(), d.Clock.Navigator() }

// Key takes the dojo's keys.
func (d *Dojo) Key(key string) (watch.Notice, bool) {
	switch key {
	case "x":
		return d.rotate(""), true
	case "z":
		d.Clock.Restart(d.now())
		return watch.Notice{Text: "the turn begins anew"}, true
	}
	return watch.Notice{}, false
}

// Event rotates in ping-pong: who makes a step green has unlocked the next one, which is the other's to make green.
func (d *Dojo) Event(e watch.Event) watch.Notice {
	v := e.Verdict
	if v == nil || v.Step == 0 {
		return watch.Notice{}
	}
	switch {
	case v.Colour == history.Green: // from here on every red one is worse
		d.step = max(d.step, v.Step+1)
	case v.Colour != history.Red:
		return watch.Notice{}
	case v.Step < d.step && d.TCR != nil && d.good != nil:
		return watch.Notice{Text: d.revert(v.Step)}
	}
	if d.TCR != nil {
		d.good, _ = texts(d.TCR)
	}
	if v.Colour == history.Green {
		return watch.Notice{}
	}
	unlocked := d.step > 0 && v.Step > d.step
	d.step = max(d.step, v.Step)
	if unlocked && d.Clock.PingPong {
		return d.rotate(fmt.Sprintf("step %d is unlocked. ", v.Step))
	}
	return watch.Notice{}
}

// rotate ends a turn: the hand-over note is written, and the next one drives.
func (d *Dojo) rotate(why string) watch.Notice {
	file, err := d.HandOver()
	d.Clock.Rotate(d.now())
	if err == nil {
		r := history.Run{Kind: "turn", By: "dojo"}
		d.Note(&r)
		_, err = d.Desk.Book.Add(r)
	}
	if err != nil {
		return watch.Notice{Text: why + "the turn changed, but: " + err.Error()}
	}
	if short, err := filepath.Rel(d.Desk.Root, file); err == nil {
		file = short
	}
	text := why + "handed over: " + file
	if d.Mob == nil {
		return watch.Notice{Text: text}
	}
	return watch.Notice{Text: text + "; mob next is under way", Later: func() string { // it pushes
		if err := d.Mob(); err != nil {
			return why + "the turn changed, but: " + err.Error()
		}
		return text + ", and mob next"
	}}
}

// HandOver writes what the next one must know: the step, the first red, its seed, its timeline.
func (d *Dojo) HandOver() (string, error) {
	p := d.Desk.Book.Progress()
	var b strings.Builder
	fmt.Fprintf(&b, "# Hand-over, %s\n\n", d.now().Format("2006-01-02 15:04"))
	if who := d.Clock.Driver(); who != "" {
		fmt.Fprintf(&b, "From %s", who)
		if next := d.Clock.Navigator(); next != "" {
			fmt.Fprintf(&b, " to %s", next)
		}
		b.WriteString(".\n\n")
	}
	short := "nothing was run yet"
	if r := p.Last; r != nil {
		short = fmt.Sprintf("%s step %d is %s", r.Lesson, r.Step, r.Colour)
		fmt.Fprintf(&b, "- %s\n", short)
		for _, line := range [][2]string{{"first red", r.FirstRed}, {"word", r.Word}, {"seed", r.Seed}, {"timeline", r.Report}} {
			if line[1] != "" {
				fmt.Fprintf(&b, "- %s: %s\n", line[0], line[1])
			}
		}
		if r.FirstRed != "" {
			fmt.Fprintf(&b, "- again: go tool kata test %s %d\n", strings.TrimPrefix(r.Lesson, "lesson"), r.Step)
		}
	} else {
		fmt.Fprintf(&b, "- %s\n", short)
	}
	file := filepath.Join(d.Desk.Book.Dir(), "handover.md")
	if err := history.WriteFile(file, []byte(b.String())); err != nil {
		return "", err
	}
	_, err := d.Desk.Book.Add(history.Run{Kind: "handover", By: "dojo", Driver: d.Clock.Driver(), Navigator: d.Clock.Navigator(), Note: short})
	return file, err
}

// revert brings the files back that broke nothing. Specs start red, so a red step is no reason for it; one that was green
// before is. What it takes away is in a backup.
func (d *Dojo) revert(step int) string {
	now, err := texts(d.TCR)
	if err != nil {
		return "nothing was taken back: " + err.Error()
	}
	plan := &reset.Plan{Stub: d.good}
	for name, text := range d.good {
		if !bytes.Equal(now[name], text) {
			plan.Write = append(plan.Write, name)
		}
	}
	for name := range now {
		if _, ok := d.good[name]; !ok {
			plan.Set = append(plan.Set, name)
		}
	}
	done, err := reset.Do(d.TCR, plan, filepath.Join(d.Desk.Book.Dir(), "backups"), d.now())
	if err != nil {
		return "nothing was taken back: " + err.Error()
	}
	return fmt.Sprintf("step %d regressed: taken back. Your edit is in %s", step, done.Backup)
}

// texts are the lesson's files as they are now.
func texts(l *lesson.Lesson) (map[string][]byte, error) {
	names, err := l.Files()
	if err != nil {
		return nil, err
	}
	out := map[string][]byte{}
	for _, name := range names {
		if out[name], err = os.ReadFile(filepath.Join(l.Dir(), name)); err != nil {
			return nil, err
		}
	}
	return out, nil
}
