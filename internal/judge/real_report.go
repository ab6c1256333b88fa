package judge

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"golang.org/x/mod/modfile"
)

// How a spec ended on a real cluster, beside the in-memory Kafka.
const (
	Same    = "same"
	Differs = "differs"
	Skipped = "skipped"
)

// RealReport compares the in-memory Kafka with a real cluster.
type RealReport struct {
	Cluster     string      `json:"cluster"` // its version and size
	Client      string      `json:"client"`  // version of franz-go
	Limit       string      `json:"limit"`
	Side        int         `json:"sideBySide"`
	Specs       []*RealSpec `json:"specs"`
	FakeSeconds float64     `json:"fakeSeconds"` // of wall time, for all specs
	Seconds     float64     `json:"seconds"`
}

// RealSpec is one spec on both.
type RealSpec struct {
	Lesson  string  `json:"lesson"`
	Spec    string  `json:"spec"`
	Verdict string  `json:"verdict"`
	Why     string  `json:"why,omitempty"`  // it was skipped or differs
	Fake    string  `json:"fake"`           // "green", "red: LOST", ...
	Real    string  `json:"real,omitempty"` // the same of the cluster; "" when it was skipped
	Lasts   float64 `json:"lasts"`          // seconds of story time
	Seconds float64 `json:"seconds"`        // of real time on the cluster, with arrangement and removal
	Output  string  `json:"output,omitempty"`

	lesson *Lesson
	lasts  time.Duration
}

// Count says how many specs ended so.
func (r *RealReport) Count(verdict string) (n int) {
	for _, s := range r.Specs {
		if s.Verdict == verdict {
			n++
		}
	}
	return n
}

// Summary is the report in a line.
func (r *RealReport) Summary() string {
	return fmt.Sprintf("%s on %s: %d same, %d differ, %d skipped; %.0fs side by side, %.1fs in virtual time",
		plural(len(r.Specs), "spec"), r.Cluster, r.Count(Same), r.Count(Differs), r.Count(Skipped), r.Seconds, r.FakeSeconds)
}

// JSON writes the report for machines.
func (r *RealReport) JSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(r)
}

// Print writes what differs, with all that is known, and the summary.
func (r *RealReport) Print(w io.Writer) {
	for _, s := range r.Specs {
		if s.Verdict == Differs {
			fmt.Fprintf(w, "\n%s %s: %s in memory, %s on the cluster\n\n%s\n", s.Lesson, s.Spec, s.Fake, s.Real, s.Output)
		}
	}
	fmt.Fprintf(w, "\n%s\n", r.Summary())
}

// Markdown writes the table.
func (r *RealReport) Markdown(w io.Writer) {
	fmt.Fprintf(w, "## The same specifications on a real cluster\n\n%s. franz-go %s; stories longer than %s are left out; %d side by side.\n",
		r.Summary(), r.Client, r.Limit, r.Side)
	lesson := ""
	for _, s := range r.Specs {
		if s.Lesson != lesson {
			lesson = s.Lesson
			fmt.Fprintf(w, "\n### %s\n\n| spec | real against fake | story | seconds | |\n|---|---|--:|--:|---|\n", lesson)
		}
		got, took := s.Verdict, fmt.Sprintf("%.1f", s.Seconds)
		switch s.Verdict {
		case Differs:
			got = "**differs**: " + s.Real
		case Skipped:
			took = ""
		}
		fmt.Fprintf(w, "| %s | %s | %.1f | %s | %s |\n", short(s.Spec), got, s.Lasts, took, strings.ReplaceAll(s.Why, "|", `\|`))
	}
}

// required is the version of a module that the course uses.
func (c *Course) required(module string) string {
	text, err := os.ReadFile(filepath.Join(c.Root, "go.mod"))
	if err != nil {
		return ""
	}
	file, err := modfile.ParseLax("go.mod", text, nil)
	if err != nil {
		return ""
	}
	for _, m := range file.Require {
		if m.Mod.Path == module {
			return m.Mod.Version
		}
	}
	return ""
}

var place = regexp.MustCompile(`^\s+\w+\.go:\d+: `)

// skipReason is what a skipped test said.
func skipReason(output string) string {
	for line := range strings.Lines(output) {
		if place.MatchString(line) {
			return strings.TrimSpace(place.ReplaceAllString(line, ""))
		}
	}
	return ""
}

// firstSentence is how a failure begins: the word and the broken promise, up to the blank line.
func firstSentence(output string) string {
	var out []string
	for line := range strings.Lines(excerpt(output, 50)) {
		text := strings.TrimSpace(place.ReplaceAllString(line, ""))
		switch {
		case strings.HasPrefix(text, "---") || text == "" && len(out) == 0:
		case text == "":
			return strings.Join(out, " ")
		default:
			out = append(out, text)
		}
	}
	return strings.Join(out, " ")
}
