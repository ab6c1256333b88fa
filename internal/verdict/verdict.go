// Package verdict runs a lesson's specifications by the go command and says how they went, as a learner wants to know it:
// the first red one with its words, and which steps are green.
package verdict

import (
	"cmp"
	"maps"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/kafka-katas/kafka-katas/internal/lesson"
)

// A Verdict is how one run went.
type Verdict struct {
	Lesson   string        `json:"lesson"`
	Colour   string        `json:"colour"` // green, red, build, cancelled
	Step     int           `json:"step,omitempty"`
	FirstRed string        `json:"first_red,omitempty"`
	Word     string        `json:"word,omitempty"`
	Count    int           `json:"count,omitempty"` // of records, when the failure is about records
	Failure  string        `json:"failure,omitempty"`
	Build    string        `json:"build,omitempty"` // the compiler's words
	Seed     string        `json:"seed,omitempty"`
	Report   string        `json:"report,omitempty"`
	Reds     []string      `json:"reds,omitempty"`
	Green    []int         `json:"green_steps"`
	Red      []int         `json:"red_steps"`
	Specs    Counts        `json:"specs"`
	Took     time.Duration `json:"took_ns"`
	Output   string        `json:"-"` // of the program itself, outside any test
	Failures []string      `json:"-"` // of all reds, in the order of Reds
}

// Counts are how many specifications ran how.
type Counts struct {
	Passed  int `json:"passed"`
	Failed  int `json:"failed"`
	Skipped int `json:"skipped"`
}

// Colours.
const (
	Green     = "green"
	Red       = "red"
	NotBuilt  = "build"     // the package does not compile
	Cancelled = "cancelled" // the run was ended before it had a verdict
)

// event is one line of go test -json.
type event struct {
	Action, Package, Test, Key, Value, Output, ImportPath, FailedBuild string
}

type test struct {
	name, result, word string
	output             strings.Builder
}

// reading collects the events of one package.
type reading struct {
	tests  map[string]*test
	order  []string
	failed bool
	build  string
	builds map[string]*strings.Builder
	output strings.Builder
}

func newReading() *reading {
	return &reading{tests: map[string]*test{}, builds: map[string]*strings.Builder{}}
}

func (r *reading) add(e event) {
	if strings.HasPrefix(e.Action, "build-") {
		if r.builds[e.ImportPath] == nil {
			r.builds[e.ImportPath] = &strings.Builder{}
		}
		r.builds[e.ImportPath].WriteString(e.Output)
		return
	}
	if e.Test == "" {
		switch e.Action {
		case "output":
			r.output.WriteString(e.Output)
		case "fail":
			r.failed = true
			if e.FailedBuild != "" {
				r.build = "it does not build"
				if b := r.builds[e.FailedBuild]; b != nil {
					r.build = strings.TrimSpace(b.String())
				}
			}
		}
		return
	}
	top, _, sub := strings.Cut(e.Test, "/")
	t := r.tests[top]
	if t == nil {
		t = &test{name: top}
		r.tests[top] = t
		r.order = append(r.order, top)
	}
	switch e.Action {
	case "output":
		t.output.WriteString(e.Output)
	case "attr":
		if e.Key == "verdict" && t.word == "" {
			t.word = e.Value
		}
	case "pass", "fail", "skip":
		if !sub && (t.result != "fail") { // under -count one red is red
			t.result = e.Action
		}
	}
}

var (
	seedLine   = regexp.MustCompile(`KATA_(?:SCHEDULE|POINT)='([^']*)'`)
	reportLine = regexp.MustCompile(`(?m)^\s*report\s+(\S.*)$`)
	others     = regexp.MustCompile(`\bnor (?:were|was) (\d+)\b|\band (\d+) (?:more|others?)\b`)
)

// verdict draws the conclusion.
func (r *reading) verdict(name string) *Verdict {
	v := &Verdict{Lesson: name, Colour: Green, Output: strings.TrimSpace(r.output.String())}
	if r.build != "" {
		v.Colour, v.Build = NotBuilt, r.build
		return v
	}
	steps := map[int]string{}
	var reds []*test
	for _, name := range r.order {
		t := r.tests[name]
		step := lesson.StepOf(name)
		switch t.result {
		case "pass":
			v.Specs.Passed++
			if steps[step] == "" {
				steps[step] = Green
			}
		case "skip":
			v.Specs.Skipped++
			steps[step] = cmp.Or(steps[step], "skip")
			if steps[step] == Green {
				steps[step] = "skip" // a part of it did not run
			}
		default:
			v.Specs.Failed++
			steps[step] = Red
			reds = append(reds, t)
		}
	}
	for _, n := range slices.Sorted(maps.Keys(steps)) {
		switch {
		case n == 0:
		case steps[n] == Green:
			v.Green, v.Step = append(v.Green, n), n
		case steps[n] == Red:
			v.Red = append(v.Red, n)
		}
	}
	slices.SortStableFunc(reds, func(a, b *test) int { return cmp.Compare(rank(a), rank(b)) })
	for _, t := range reds {
		v.Reds = append(v.Reds, t.name)
		v.Failures = append(v.Failures, body(t.output.String()))
	}
	if len(reds) > 0 {
		first := reds[0]
		v.Colour, v.FirstRed, v.Step = Red, first.name, lesson.StepOf(first.name)
		v.Word, v.Failure = first.word, v.Failures[0]
		if m := seedLine.FindStringSubmatch(v.Failure); m != nil {
			v.Seed = m[1]
		}
		if m := reportLine.FindStringSubmatch(v.Failure); m != nil {
			v.Report = m[1]
		}
		v.Count = count(v.Failure)
	} else if r.failed {
		v.Colour, v.Failure = Red, v.Output
	}
	return v
}

// rank is the order in which reds are told: by step, in a step as they stand, and last what is none's.
func rank(t *test) int {
	if step := lesson.StepOf(t.name); step > 0 {
		return step
	}
	return math.MaxInt
}

// count is how many records the first sentence of a failure is about.
func count(failure string) int {
	head, _, _ := strings.Cut(failure, "\n\n")
	if !strings.Contains(head, "offset") && !strings.Contains(head, "record") {
		return 0
	}
	n := 1
	if m := others.FindStringSubmatch(strings.Join(strings.Fields(head), " ")); m != nil {
		more, _ := strconv.Atoi(cmp.Or(m[1], m[2]))
		n += more
	}
	return n
}

var place = regexp.MustCompile(`^\s+\w+\.go:\d+: ?$`)

// body is what a failed test printed, without the frame that the testing package puts around it.
func body(output string) string {
	var lines []string
	for line := range strings.Lines(output) {
		line = strings.TrimRight(line, "\r\n")
		if strings.HasPrefix(line, "=== ") || strings.HasPrefix(line, "--- ") || place.MatchString(line) {
			continue
		}
		lines = append(lines, strings.TrimRight(line, " "))
	}
	margin := -1
	for _, line := range lines {
		if line == "" {
			continue
		}
		if n := len(line) - len(strings.TrimLeft(line, " ")); margin < 0 || n < margin {
			margin = n
		}
	}
	for i, line := range lines {
		if line != "" {
			lines[i] = line[margin:]
		}
	}
	return strings.Trim(strings.Join(lines, "\n"), "\n")
}
