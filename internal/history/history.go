// Package history remembers what the learner's runs have shown: a log with one line of JSON for each run, and the
// progress that follows from it.
//
// The log is the truth. The progress is one small file that is computed from the log, so that losing it costs nothing
// while the log is there, and losing both costs nothing but history: the next run says again what is green. Both lie in
// .katas/, which git ignores. A line is appended by one write, a file is replaced by a rename, and whatever cannot be
// read counts as not there: ending the tool at any moment, by kill -9 too, spoils nothing.
package history

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// Colours of a run.
const (
	Green    = "green"
	Red      = "red"
	NotBuilt = "build" // red too, but nothing was judged
)

// A Run is one line of the log.
type Run struct {
	Time       time.Time   `json:"time"`
	Kind       string      `json:"kind,omitempty"` // "" is a run of the tests; hint, reset, turn, handover
	By         string      `json:"by,omitempty"`   // the command: test, watch, dojo, replay
	Lesson     string      `json:"lesson,omitempty"`
	Step       int         `json:"step,omitempty"`   // the first red one, or the last one that ran; of a hint, its step
	Colour     string      `json:"colour,omitempty"` // green, red, build
	FirstRed   string      `json:"first_red,omitempty"`
	Word       string      `json:"word,omitempty"` // LOST, DUPLICATED, …
	Count      int         `json:"count,omitempty"`
	Seed       string      `json:"seed,omitempty"` // the schedule or crash point that shows it
	Report     string      `json:"report,omitempty"`
	GreenSteps []int       `json:"green_steps,omitempty"`
	RedSteps   []int       `json:"red_steps,omitempty"`
	Seconds    float64     `json:"seconds,omitempty"`
	Prediction *Prediction `json:"prediction,omitempty"`
	Driver     string      `json:"driver,omitempty"`
	Navigator  string      `json:"navigator,omitempty"`
	Note       string      `json:"note,omitempty"`
}

// A Prediction was made before the run.
type Prediction struct {
	Colour string `json:"colour,omitempty"`
	Word   string `json:"word,omitempty"`
	Count  int    `json:"count,omitempty"`
	Right  *bool  `json:"right,omitempty"` // nil until the run
}

// Progress is where the learner stands.
type Progress struct {
	Lessons map[string]*Standing `json:"lessons"`
	Current string               `json:"current,omitempty"` // the lesson of the latest run
	Last    *Run                 `json:"last,omitempty"`    // the latest run
	LastRed *Run                 `json:"last_red,omitempty"`
	Folded  int64                `json:"folded"` // bytes of the log that are in here
}

// Standing is where the learner stands in a lesson.
type Standing struct {
	Steps map[int]string `json:"steps"` // green or red; what never ran is missing
	Hints map[int]int    `json:"hints,omitempty"`
	Runs  int            `json:"runs"`
	Reds  int            `json:"reds"`
}

// Of is the standing in a lesson, empty when nothing has run.
func (p *Progress) Of(lesson string) *Standing {
	if s := p.Lessons[lesson]; s != nil {
		return s
	}
	return &Standing{Steps: map[int]string{}, Hints: map[int]int{}}
}

// Green tells whether a step was green the last time that it ran.
func (s *Standing) Green(step int) bool { return s.Steps[step] == Green }

// Book is the history of one clone.
type Book struct{ dir string }

// Open returns the book of the module at root. Nothing is written before there is something to keep.
func Open(root string) *Book { return &Book{filepath.Join(root, ".katas")} }

// Dir is where the tool keeps its files.
func (b *Book) Dir() string { return b.dir }

// Log is the file with a line for each run.
func (b *Book) Log() string { return filepath.Join(b.dir, "log.ndjson") }

func (b *Book) progressFile() string { return filepath.Join(b.dir, "progress.json") }

// Add appends a line to the log and brings the progress up to date. The progress has the run also when it cannot be written.
func (b *Book) Add(r Run) (*Progress, error) {
	if r.Time.IsZero() {
		r.Time = time.Now()
	}
	r.Time = r.Time.Round(0).Truncate(time.Millisecond)
	line, err := json.Marshal(r)
	if err != nil {
		return nil, err
	}
	if err = os.MkdirAll(b.dir, 0o755); err == nil {
		err = appendLine(b.Log(), line)
	}
	p := b.Progress()
	if err != nil {
		p.fold(r)
		return p, fmt.Errorf("the run cannot be noted: %w", err)
	}
	return p, b.save(p)
}

// appendLine writes a line in one piece. If the file ends in the middle of a line, since somebody was killed, the line
// begins with a new one.
func appendLine(name string, line []byte) error {
	f, err := os.OpenFile(name, os.O_APPEND|os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return err
	}
	line = append(line, '\n')
	last := make([]byte, 1)
	if info, err := f.Stat(); err == nil && info.Size() > 0 {
		if _, err := f.ReadAt(last, info.Size()-1); err == nil && last[0] != '\n' {
			line = append([]byte{'\n'}, line...)
		}
	}
	_, err = f.Write(line)
	return errors.Join(err, f.Close())
}

// Progress is what follows from the log. It never fails: what cannot be read counts as not there.
func (b *Book) Progress() *Progress {
	p := &Progress{}
	if text, err := os.ReadFile(b.progressFile()); err == nil && json.Unmarshal(text, p) != nil {
		p = &Progress{}
	}
	if p.Lessons == nil {
		p.Lessons = map[string]*Standing{}
	}
	f, err := os.Open(b.Log())
	if err != nil {
		p.Folded = 0
		return p
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || info.Size() < p.Folded {
		p.Folded = 0 // somebody has made a new log; what was known stays
	}
	text, err := io.ReadAll(io.NewSectionReader(f, p.Folded, 1<<40))
	if err != nil {
		return p
	}
	for len(text) > 0 {
		end := bytes.IndexByte(text, '\n')
		if end < 0 {
			break // a line that is being written
		}
		var r Run
		if json.Unmarshal(text[:end], &r) == nil {
			p.fold(r)
		}
		p.Folded += int64(end + 1)
		text = text[end+1:]
	}
	return p
}

// fold takes one line of the log in.
func (p *Progress) fold(r Run) {
	if r.Lesson == "" {
		return
	}
	s := p.Lessons[r.Lesson]
	if s == nil {
		s = &Standing{}
		p.Lessons[r.Lesson] = s
	}
	if s.Steps == nil {
		s.Steps = map[int]string{}
	}
	if s.Hints == nil {
		s.Hints = map[int]int{}
	}
	switch r.Kind {
	case "hint":
		s.Hints[r.Step]++
	case "reset":
		s.Steps = map[int]string{}
	case "":
		p.Current, p.Last = r.Lesson, &r
		s.Runs++
		for _, n := range r.GreenSteps {
			s.Steps[n] = Green
		}
		for _, n := range r.RedSteps {
			s.Steps[n] = Red
		}
		if r.Colour != Green {
			s.Reds++
		}
		if r.Colour == Red {
			p.LastRed = &r
		}
	}
}

func (b *Book) save(p *Progress) error {
	text, err := json.MarshalIndent(p, "", "  ")
	if err != nil {
		return err
	}
	return WriteFile(b.progressFile(), append(text, '\n'))
}

// Runs are all lines of the log, oldest first.
func (b *Book) Runs() ([]Run, error) {
	text, err := os.ReadFile(b.Log())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var out []Run
	for line := range bytes.Lines(text) {
		var r Run
		if json.Unmarshal(line, &r) == nil {
			out = append(out, r)
		}
	}
	return out, err
}

// Expect keeps a prediction for the next run; nil forgets it.
func (b *Book) Expect(p *Prediction) error {
	file := filepath.Join(b.dir, "prediction.json")
	if p == nil {
		if err := os.Remove(file); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return nil
	}
	text, err := json.Marshal(p)
	if err != nil {
		return err
	}
	return WriteFile(file, append(text, '\n'))
}

// Expected is the prediction for the next run, nil if none was made.
func (b *Book) Expected() *Prediction {
	text, err := os.ReadFile(filepath.Join(b.dir, "prediction.json"))
	if err != nil {
		return nil
	}
	p := &Prediction{}
	if json.Unmarshal(text, p) != nil {
		return nil
	}
	return p
}

// Compare says whether a run was as predicted, and notes it in the prediction.
func (p *Prediction) Compare(r Run) bool {
	right := r.Colour == p.Colour && (p.Word == "" || p.Word == r.Word) && (p.Count == 0 || p.Count == r.Count)
	p.Right = &right
	return right
}

// WriteFile replaces a file so that whoever reads it finds the old text or the new one, whenever the writer is killed.
func WriteFile(name string, text []byte) error {
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(name), "."+filepath.Base(name)+".*")
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if err == nil {
		err = f.Sync()
	}
	if err == nil {
		err = f.Chmod(0o644)
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), name)
	}
	if err != nil {
		os.Remove(f.Name())
	}
	return err
}

// String is a prediction as its maker said it: "red, LOST, 2 records".
func (p *Prediction) String() string {
	text := p.Colour
	if p.Word != "" {
		text += ", " + p.Word
	}
	if p.Count > 0 {
		text += fmt.Sprintf(", %d records", p.Count)
	}
	return text
}
