package judge

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
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

// notTold is why a run leaves out what it has no time for.
const notTold = "not told: the run's time was over"

// RealReport compares the in-memory Kafka with a real cluster.
type RealReport struct {
	Cluster  string         `json:"cluster"` // its version and size
	Client   string         `json:"client"`  // version of franz-go
	Fake     string         `json:"fake"`    // version of kfake
	Go       string         `json:"go"`
	Limit    string         `json:"limit"`
	Side     int            `json:"sideBySide"`
	Runs     int            `json:"runs"` // that the report is put together from
	Specs    []*RealSpec    `json:"specs"`
	Mistakes []*RealMistake `json:"mistakes"`

	// Of the run that told the most of them:
	SpecsAtOnce    int     `json:"specsAtOnce"`
	FakeSeconds    float64 `json:"fakeSeconds"` // of wall time, for all specs
	Seconds        float64 `json:"seconds"`     // the same on the cluster
	MistakesAtOnce int     `json:"mistakesAtOnce"`
	MistakeSeconds float64 `json:"mistakeSeconds"`
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

// RealMistake is one mistake on both: same if a spec that is said to catch it does so on the cluster, in the same word.
type RealMistake struct {
	Lesson  string  `json:"lesson"`
	Mistake string  `json:"mistake"`
	Spec    string  `json:"spec,omitempty"` // the one that it was told last
	Word    string  `json:"word,omitempty"` // in which it should fail
	Verdict string  `json:"verdict"`
	Why     string  `json:"why,omitempty"`
	Fake    string  `json:"fake,omitempty"`
	Real    string  `json:"real,omitempty"`
	Lasts   float64 `json:"lasts"`
	Seconds float64 `json:"seconds"`
}

func (s *RealSpec) what() string    { return s.Lesson + " " + s.Spec }
func (m *RealMistake) what() string { return m.Lesson + "/" + m.Mistake }

func (c *Course) newRealReport(o RealOptions) *RealReport {
	return &RealReport{
		Limit: o.Limit.String(), Side: o.Side, Runs: 1, Specs: []*RealSpec{}, Mistakes: []*RealMistake{}, Go: runtime.Version(),
		Client: c.required("github.com/twmb/franz-go"), Fake: c.required("github.com/twmb/franz-go/pkg/kfake"),
	}
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

// CountWrong says how many mistakes ended so.
func (r *RealReport) CountWrong(verdict string) (n int) {
	for _, m := range r.Mistakes {
		if m.Verdict == verdict {
			n++
		}
	}
	return n
}

// wanted is the share of the mistakes that a real cluster must catch, of those that were told: some can only be made
// visible by what a fake does at an exact instant.
const wanted = 0.85

// Holds says whether the cluster agrees: each spec that was told is the same, and so many mistakes are caught.
func (r *RealReport) Holds() bool {
	same, differ := r.CountWrong(Same), r.CountWrong(Differs)
	return r.Count(Differs) == 0 && float64(same) >= wanted*float64(same+differ)
}

// Summary is the report in a line for the specs and one for the mistakes.
func (r *RealReport) Summary() string {
	var out []string
	if len(r.Specs) > 0 {
		told := fmt.Sprintf("%s on %s: %d same, %d differ, %d skipped", plural(len(r.Specs), "spec"), r.Cluster, r.Count(Same), r.Count(Differs), r.Count(Skipped))
		if r.SpecsAtOnce > 0 && r.FakeSeconds > 0 {
			told += fmt.Sprintf("; one run told %d in %.0fs side by side, and all in %.1fs in virtual time (ratio %.0f)",
				r.SpecsAtOnce, r.Seconds, r.FakeSeconds, r.Seconds/r.FakeSeconds)
		}
		out = append(out, told)
	}
	if len(r.Mistakes) > 0 {
		same, differ := r.CountWrong(Same), r.CountWrong(Differs)
		told := fmt.Sprintf("%s on %s: %d caught in the same word, %d not, %d skipped", plural(len(r.Mistakes), "mistake"), r.Cluster, same, differ, r.CountWrong(Skipped))
		if r.MistakesAtOnce > 0 {
			told += fmt.Sprintf("; one run told %d in %.0fs side by side", r.MistakesAtOnce, r.MistakeSeconds)
		}
		if same+differ > 0 {
			told += fmt.Sprintf("; %.0f%% of those told are caught", 100*float64(same)/float64(same+differ))
		}
		out = append(out, told)
	}
	return strings.Join(out, "\n")
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
	for _, m := range r.Mistakes {
		if m.Verdict == Differs {
			fmt.Fprintf(w, "\n%s/%s %s: %s in memory, %s on the cluster: %s\n", m.Lesson, m.Mistake, m.Spec, m.Fake, m.Real, m.Why)
		}
	}
	fmt.Fprintf(w, "\n%s\n", r.Summary())
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
