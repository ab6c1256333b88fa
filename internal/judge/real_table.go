package judge

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"
)

// Markdown writes the table.
func (r *RealReport) Markdown(w io.Writer) { r.markdown(w, nil) }

func (r *RealReport) markdown(w io.Writer, explained map[string]string) {
	fmt.Fprintf(w, "## The same specifications on a real cluster\n\n%s.\n\n", strings.ReplaceAll(r.Summary(), "\n", ".\n\n"))
	fmt.Fprintf(w, "franz-go %s, kfake %s, %s. Stories longer than %s are left out; up to %d side by side; from %s.\n",
		r.Client, r.Fake, r.Go, r.Limit, r.Side, plural(r.Runs, "run"))
	r.markdownFakeOnly(w)
	lesson := ""
	for _, s := range r.Specs {
		if s.Lesson != lesson {
			lesson = s.Lesson
			fmt.Fprintf(w, "\n### %s\n\n| spec | real against fake | story | seconds | |\n|---|---|--:|--:|---|\n", lesson)
		}
		fmt.Fprintf(w, "| %s | %s | %.1f | %s | %s |\n", short(s.Spec), got(s.Verdict, s.Real), s.Lasts, took(s.Verdict, s.Seconds), why(s.Why, explained[s.what()]))
	}
	lesson = ""
	for _, m := range r.Mistakes {
		if m.Lesson != lesson {
			lesson = m.Lesson
			fmt.Fprintf(w, "\n### Mistakes of %s\n\n| mistake | real against fake | should be | spec | seconds | |\n|---|---|---|---|--:|---|\n", lesson)
		}
		said := m.Why
		if m.Verdict == Same { // what is caught needs no reason
			said = ""
		}
		text := why(said, explained[m.what()])
		fmt.Fprintf(w, "| %s | %s | %s | %s | %s | %s |\n", m.Mistake, got(m.Verdict, m.Real), m.Word, short(m.Spec), took(m.Verdict, m.Seconds), text)
	}
}

// markdownFakeOnly lists the specs that need something only the fake can do.
func (r *RealReport) markdownFakeOnly(w io.Writer) {
	const mark = "not told on a real cluster: "
	first := true
	for _, s := range r.Specs {
		if what, ok := strings.CutPrefix(s.Why, mark); ok && s.Verdict == Skipped && !strings.Contains(what, "KATA_REAL_LIMIT") {
			if first {
				fmt.Fprint(w, "\nOnly the fake can do what these need:\n\n")
			}
			first = false
			fmt.Fprintf(w, "- %s %s: %s\n", s.Lesson, short(s.Spec), what)
		}
	}
}

func got(verdict, real string) string {
	if verdict == Differs {
		return "**differs**: " + real
	}
	return verdict
}

func took(verdict string, seconds float64) string {
	if verdict == Skipped {
		return ""
	}
	return fmt.Sprintf("%.1f", seconds)
}

// why is the reason for a line of the table, and what somebody who looked at a difference has found, also of one that is
// mended since.
func why(said, explained string) string {
	if explained != "" {
		said = strings.TrimSpace(said + " **Found:** " + explained)
	}
	return strings.ReplaceAll(said, "|", `\|`)
}

// A Table is a report that is kept in files.
type Table struct {
	Markdown string // the file to read
	Rows     string // the same as JSON, for the next run to go on from
	Explain  string // written by people, what was found where something differed, a line each: "lesson07 TestStep01_A: ..." or "lesson07/mistake: ..."
}

// TableAt is the table in this file, and what belongs to it beside it.
func TableAt(markdown string) Table {
	base := strings.TrimSuffix(markdown, ".md")
	return Table{markdown, base + ".json", base + ".txt"}
}

// Add takes a run into the table. A row stays until its spec or mistake is told again; a run with other versions of
// anything begins a new table.
func (t Table) Add(root string, run *RealReport) error {
	if run.Cluster == "" {
		return errors.New("no story was told on the cluster, so the table stays as it was")
	}
	whole, err := Open(root)
	if err != nil {
		return err
	}
	sum := *run
	old, err := t.read()
	if err != nil {
		return err
	}
	if old.versions() == run.versions() {
		sum.goOn(old)
	}
	sum.sort(whole)
	explained, err := t.explanations()
	if err != nil {
		return err
	}
	var rows, table bytes.Buffer
	if err := sum.JSON(&rows); err != nil {
		return err
	}
	fmt.Fprint(&table, "<!-- Written by `go tool kata check --brokers ... --table`. -->\n\n")
	sum.markdown(&table, explained)
	return errors.Join(os.WriteFile(t.Rows, rows.Bytes(), 0o644), os.WriteFile(t.Markdown, table.Bytes(), 0o644))
}

// read is what the table holds; without one, nothing.
func (t Table) read() (*RealReport, error) {
	r := &RealReport{}
	text, err := os.ReadFile(t.Rows)
	if errors.Is(err, fs.ErrNotExist) {
		return r, nil
	}
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(text, r); err != nil {
		return nil, fmt.Errorf("%s: %w", t.Rows, err)
	}
	return r, nil
}

// Same says what has turned out the same on the cluster, by earlier runs.
func (t Table) Same() (func(what string) bool, error) {
	r, err := t.read()
	if err != nil {
		return nil, err
	}
	same := map[string]bool{}
	for _, s := range r.Specs {
		same[s.what()] = s.Verdict == Same
	}
	for _, m := range r.Mistakes {
		same[m.what()] = m.Verdict == Same
	}
	return func(what string) bool { return same[what] }, nil
}

func (r *RealReport) versions() [4]string { return [...]string{r.Cluster, r.Client, r.Fake, r.Go} }

// goOn takes over what an earlier run has told and this one has not.
func (r *RealReport) goOn(old *RealReport) {
	specs := slices.Clone(r.Specs)
	for _, s := range old.Specs {
		i := slices.IndexFunc(specs, func(o *RealSpec) bool { return o.what() == s.what() })
		switch {
		case i < 0:
			specs = append(specs, s)
		case specs[i].Verdict == Skipped && s.Verdict != Skipped: // there was no time, or a lower limit
			specs[i] = s
		}
	}
	wrong := slices.Clone(r.Mistakes)
	for _, m := range old.Mistakes {
		i := slices.IndexFunc(wrong, func(o *RealMistake) bool { return o.what() == m.what() })
		switch {
		case i < 0:
			wrong = append(wrong, m)
		case wrong[i].Verdict == Skipped && m.Verdict != Skipped:
			wrong[i] = m
		}
	}
	r.Specs, r.Mistakes, r.Runs = specs, wrong, old.Runs+r.Runs
	if limitOf(old) > limitOf(r) {
		r.Limit = old.Limit
	}
	r.Side = max(r.Side, old.Side)
	if old.SpecsAtOnce > r.SpecsAtOnce {
		r.SpecsAtOnce, r.Seconds, r.FakeSeconds = old.SpecsAtOnce, old.Seconds, old.FakeSeconds
	}
	if old.MistakesAtOnce > r.MistakesAtOnce {
		r.MistakesAtOnce, r.MistakeSeconds = old.MistakesAtOnce, old.MistakeSeconds
	}
}

func limitOf(r *RealReport) time.Duration {
	d, _ := time.ParseDuration(r.Limit)
	return d
}

// sort brings the rows into the course's order, without those that the course has no more.
func (r *RealReport) sort(c *Course) {
	place := map[string]int{}
	for _, l := range c.Lessons {
		for _, s := range l.Specs {
			place[l.Name+" "+s.Name] = len(place) + 1
		}
		for _, w := range l.Mistakes {
			place[l.Name+"/"+w.Name] = len(place) + 1
		}
	}
	spec := func(s *RealSpec) int { return place[s.what()] }
	wrong := func(m *RealMistake) int { return place[m.what()] }
	r.Specs = slices.DeleteFunc(r.Specs, func(s *RealSpec) bool { return spec(s) == 0 })
	r.Mistakes = slices.DeleteFunc(r.Mistakes, func(m *RealMistake) bool { return wrong(m) == 0 })
	slices.SortFunc(r.Specs, func(a, b *RealSpec) int { return cmp.Compare(spec(a), spec(b)) })
	slices.SortFunc(r.Mistakes, func(a, b *RealMistake) int { return cmp.Compare(wrong(a), wrong(b)) })
}

// explanations are read from a file that need not be there.
func (t Table) explanations() (map[string]string, error) {
	text, err := os.ReadFile(t.Explain)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	out := map[string]string{}
	for line := range strings.Lines(string(text)) {
		if what, because, ok := strings.Cut(line, ": "); ok {
			out[strings.TrimSpace(what)] = strings.TrimSpace(because)
		}
	}
	return out, nil
}
