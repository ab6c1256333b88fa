package judge

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
)

// Report is what the judge found.
type Report struct {
	Lessons []LessonReport `json:"lessons"`
	Broken  []Broken       `json:"broken"`
	Counts  Counts         `json:"counts"`
	Notes   []string       `json:"notes,omitempty"`
}

// Counts are how much was judged.
type Counts struct {
	Lessons  int `json:"lessons"`
	Specs    int `json:"specs"`
	Mistakes int `json:"mistakes"`
	Runs     int `json:"runs"` // of specs, on stubs, solutions and mistakes
	Broken   int `json:"broken"`
}

// LessonReport is one lesson's table.
type LessonReport struct {
	Name     string          `json:"name"`
	Specs    []string        `json:"specs"`
	Mistakes []MistakeReport `json:"mistakes"`
}

// MistakeReport is one column of the table.
type MistakeReport struct {
	Name   string            `json:"name"`
	Title  string            `json:"title"`
	Ran    bool              `json:"ran"`
	Named  map[string]string `json:"caughtBy"` // spec to the word it is said to fail with
	Red    map[string]string `json:"red"`      // spec to the word it failed with, "" for none
	output map[string]string
	left   map[string]bool // specs that did not run
}

// newReport has a table for each lesson; when one mistake is judged alone, there is nothing else in it.
func newReport(c *Course, alone string) *Report {
	r := &Report{Notes: c.Notes, Broken: []Broken{}, Lessons: []LessonReport{}}
	for _, l := range c.Lessons {
		lr := LessonReport{Name: l.Name, Mistakes: []MistakeReport{}}
		for _, s := range l.Specs {
			lr.Specs = append(lr.Specs, s.Name)
		}
		for _, w := range l.Mistakes {
			if alone != "" && w.Name != alone {
				continue
			}
			named := map[string]string{}
			for _, c := range w.Catches {
				named[c.Spec] = c.Word
			}
			lr.Mistakes = append(lr.Mistakes, MistakeReport{
				Name: w.Name, Title: w.Title, Named: named, Red: map[string]string{}, output: map[string]string{}, left: map[string]bool{},
			})
		}
		if alone == "" || len(lr.Mistakes) > 0 {
			r.Lessons = append(r.Lessons, lr)
		}
	}
	return r
}

// record keeps how a mistake's run went.
func (r *Report) record(l *Lesson, w *Wrong, p *packageRun) {
	for i := range r.Lessons {
		if r.Lessons[i].Name != l.Name {
			continue
		}
		for j := range r.Lessons[i].Mistakes {
			m := &r.Lessons[i].Mistakes[j]
			if m.Name != w.Name || p.build != "" {
				continue
			}
			m.Ran = true
			for _, s := range l.Specs {
				switch o := p.last(s.Name); o.result {
				case "fail":
					m.Red[s.Name] = o.word
					m.output[s.Name] = o.output
				case "":
					m.left[s.Name] = true
				}
			}
		}
	}
}

// close gathers what the lessons found. Laws that were not asked for do not count.
func (r *Report) close(s *session) {
	for _, l := range r.Lessons {
		r.Counts.Specs += len(l.Specs)
		r.Counts.Mistakes += len(l.Mistakes)
	}
	for _, l := range s.Lessons {
		for _, b := range l.broken {
			if s.wants(b.Law) && (s.Options.Mistake == "" || b.Subject == s.Options.Mistake) {
				r.Broken = append(r.Broken, b)
			}
		}
	}
	slices.SortStableFunc(r.Broken, func(a, b Broken) int { return int(a.Law) - int(b.Law) })
	r.Counts.Lessons, r.Counts.Runs, r.Counts.Broken = len(r.Lessons), s.runs, len(r.Broken)
}

// String is the closing line.
func (c Counts) String() string {
	return fmt.Sprintf("%s, %s, %s, %s: %s", plural(c.Lessons, "lesson"), plural(c.Specs, "spec"),
		plural(c.Mistakes, "mistake"), plural(c.Runs, "run"), brokenLaws(c.Broken))
}

func brokenLaws(n int) string {
	if n == 0 {
		return "every law holds"
	}
	return "laws broken " + plural(n, "time")
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// JSON writes the report for machines.
func (r *Report) JSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(r)
}
