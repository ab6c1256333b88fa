package judge

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/bluekeyes/go-gitdiff/gitdiff"
)

// Wrong is a classic mistake: a small diff on the solution, and what there is to know about it.
type Wrong struct {
	Name    string // the file's name without .patch
	Title   string // the first sentence
	Does    string
	Looks   string // why it looks right
	Breaks  string // when it breaks
	Catches []Catch

	files []*gitdiff.File
	ready bool // read, and so worth running
}

// A Catch is one "Caught by" line: the spec and the delivery word it fails with.
type Catch struct{ Spec, Word string }

// readMistakes reads solutions/lessonNN/mistakes/*.patch. What is wrong with a file breaks law 3, and is no error.
func (l *Lesson) readMistakes() error {
	l.caughtBy = map[string]bool{}
	names, err := filepath.Glob(filepath.Join(l.solution(), "mistakes", "*.patch"))
	if err != nil {
		return err
	}
	slices.Sort(names)
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		w := &Wrong{Name: strings.TrimSuffix(filepath.Base(name), ".patch"), ready: true}
		l.Mistakes = append(l.Mistakes, w)
		for _, problem := range w.read(text) {
			l.breaksMistake(w, problem.expected, problem.got, "")
		}
		for _, catch := range w.Catches {
			switch {
			case l.spec(catch.Spec) == nil:
				l.breaksMistake(w, "\"Caught by\" a spec of "+l.Name, catch.Spec+" is not one", "")
			case !slices.Contains(words, catch.Word):
				l.breaksMistake(w, "a delivery word: "+strings.Join(words, ", "), fmt.Sprintf("%q", catch.Word), "")
			default:
				l.caughtBy[catch.Spec] = true
			}
		}
	}
	return nil
}

func (l *Lesson) breaksMistake(w *Wrong, expected, got, output string) {
	l.breaks(Mistake, Broken{
		Subject: w.Name, Expected: expected, Got: got, Output: output,
		Again: fmt.Sprintf("go tool kata check %s --mistake %s", l.Name, w.Name),
	})
}

type problem struct{ expected, got string }

// read takes the file apart and returns what is wrong with it.
func (w *Wrong) read(text []byte) []problem {
	files, preamble, err := gitdiff.Parse(bytes.NewReader(text))
	if err != nil {
		w.ready = false
		// The parser knows no preamble when it fails, so the rest would be noise.
		return []problem{{"a preamble and then a unified diff", err.Error()}}
	}
	w.files = files
	out := w.readPreamble(preamble)
	if len(files) == 0 {
		w.ready = false
		out = append(out, problem{"a unified diff after the preamble", "there is none"})
	}
	return out
}

const caughtBy = "Caught by:"

func (w *Wrong) readPreamble(preamble string) []problem {
	parts := []struct {
		head string
		text *string
	}{{"Does:", &w.Does}, {"Looks right because:", &w.Looks}, {"Breaks when:", &w.Breaks}}

	var out []problem
	at := &w.Title
lines:
	for line := range strings.Lines(preamble) {
		line = strings.TrimSpace(line)
		if rest, ok := strings.CutPrefix(line, caughtBy); ok {
			spec, word, ok := strings.Cut(rest, ":")
			if !ok {
				out = append(out, problem{caughtBy + " TestStepNN_APromise: WORD", line})
				continue
			}
			w.Catches = append(w.Catches, Catch{strings.TrimSpace(spec), strings.TrimSpace(word)})
			continue
		}
		for _, p := range parts {
			if rest, ok := strings.CutPrefix(line, p.head); ok {
				at = p.text
				*at = strings.TrimSpace(rest)
				continue lines
			}
		}
		*at = strings.TrimSpace(*at + " " + line)
	}
	if w.Title == "" {
		out = append(out, problem{"a first sentence that says what the mistake is", "the preamble has none"})
	}
	for _, p := range parts {
		if *p.text == "" {
			out = append(out, problem{fmt.Sprintf("a preamble with %q", p.head), "the preamble has none"})
		}
	}
	if len(w.Catches) == 0 {
		out = append(out, problem{caughtBy + " TestStepNN_APromise: WORD", "the preamble names no spec"})
	}
	return out
}

// apply returns the files of the solution as the mistake has them: name to content, nil for a file it takes away.
func (w *Wrong) apply(solution string) (map[string][]byte, error) {
	out := map[string][]byte{}
	for _, f := range w.files {
		name := path.Base(f.OldName)
		var before []byte
		if f.IsNew {
			name = path.Base(f.NewName)
		} else {
			var err error
			if before, err = os.ReadFile(filepath.Join(solution, name)); err != nil {
				return nil, fmt.Errorf("%s is not a file of the solution", name)
			}
			before = bytes.ReplaceAll(before, []byte("\r\n"), []byte("\n"))
		}
		if f.IsDelete {
			out[name] = nil
			continue
		}
		relocate(f, before)
		var after bytes.Buffer
		if err := gitdiff.Apply(&after, bytes.NewReader(before), f); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		if bytes.Equal(before, after.Bytes()) {
			return nil, errors.New(name + ": the diff changes nothing")
		}
		out[name] = after.Bytes()
	}
	return out, nil
}

// relocate moves each hunk to where its lines are now, nearest first, as git apply does: a line added at the top of
// the solution must not break every mistake. The lines themselves must match exactly.
func relocate(f *gitdiff.File, before []byte) {
	lines := strings.SplitAfter(string(before), "\n")
	from, shift := 0, int64(0)
	for _, hunk := range f.TextFragments {
		var old []string
		for _, line := range hunk.Lines {
			if line.Old() {
				old = append(old, line.Line)
			}
		}
		if len(old) == 0 {
			continue
		}
		best, want := -1, int(hunk.OldPosition-1+shift)
		for at := from; at+len(old) <= len(lines); at++ {
			if slices.Equal(lines[at:at+len(old)], old) && (best < 0 || abs(at-want) < abs(best-want)) {
				best = at
			}
		}
		if best < 0 {
			continue // Apply reports the conflict
		}
		shift = int64(best+1) - hunk.OldPosition
		hunk.OldPosition += shift
		hunk.NewPosition += shift
		from = best + len(old)
	}
}

func abs(n int) int { return max(n, -n) }
