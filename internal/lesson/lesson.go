package lesson

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"unicode"
)

// A Lesson is one folder katas/lessonNN.
type Lesson struct {
	Name    string // "lesson07"
	Number  int
	Title   string // of the README, "Consumer groups and load balancing"; "" without one
	Steps   []Step // in order; from the README and the specifications
	Root    string // of the module, absolute
	Debrief string // the README's "After green", Markdown

	tests []testFile
}

// A testFile is a file of specifications.
type testFile struct {
	name  string
	first int // its first step
}

// A Step is one promise, judged by some specifications.
type Step struct {
	Number int
	Title  string   // the README's heading, or the first specification's promise
	Belt   string   // "White", "Brown", "Black"; "" when the README has none
	Text   string   // the README's section without what is folded, Markdown
	Hint   []string // paragraphs, from the vaguest to the most concrete
	Specs  []string // names of tests
}

// Dir is the lesson's folder.
func (l *Lesson) Dir() string { return filepath.Join(l.Root, "katas", l.Name) }

// Solution is the folder of the lesson's solution.
func (l *Lesson) Solution() string { return filepath.Join(l.Root, "solutions", l.Name) }

// Pattern names the lesson's package for the go command.
func (l *Lesson) Pattern() string { return "./katas/" + l.Name }

// Short is the lesson's number as people write it: "07".
func (l *Lesson) Short() string { return strings.TrimPrefix(l.Name, "lesson") }

// Step finds a step by its number.
func (l *Lesson) Step(n int) *Step {
	for i := range l.Steps {
		if l.Steps[i].Number == n {
			return &l.Steps[i]
		}
	}
	return nil
}

// Belts are the belts in the order of their first steps.
func (l *Lesson) Belts() []string {
	var out []string
	for _, s := range l.Steps {
		if s.Belt != "" && !slices.Contains(out, s.Belt) {
			out = append(out, s.Belt)
		}
	}
	return out
}

// Beyond are the names of the test files whose steps all come later than the step, and the first of those steps: who is
// at the step needs none of the files.
func (l *Lesson) Beyond(step int) (files []string, next int) {
	for _, f := range l.tests {
		if f.first > step {
			if files = append(files, f.name); next == 0 || f.first < next {
				next = f.first
			}
		}
	}
	return files, next
}

// Files are the names of the lesson's Go files that are no tests, sorted.
func (l *Lesson) Files() ([]string, error) { return sources(l.Dir()) }

// SolutionFiles are the names of the solution's Go files that are no tests, sorted.
func (l *Lesson) SolutionFiles() ([]string, error) { return sources(l.Solution()) }

func sources(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	var out []string
	for _, e := range entries {
		if n := e.Name(); e.Type().IsRegular() && strings.HasSuffix(n, ".go") && !strings.HasSuffix(n, "_test.go") {
			out = append(out, n)
		}
	}
	return out, err
}

var (
	folder   = regexp.MustCompile(`^lesson(\d\d)$`)
	specFunc = regexp.MustCompile(`^(TestStep(\d\d)_\w+)\(`)
	stepFile = regexp.MustCompile(`^step(\d\d)_\w+_test\.go$`)
	specName = regexp.MustCompile(`^TestStep(\d\d)_(\w+)$`)
)

// ErrNone says that there is no such lesson or step. The error around it says which there are.
var ErrNone = errors.New("there is none")

// All are the lessons of the course at root, in order.
func All(root string) ([]*Lesson, error) {
	names, err := names(root)
	if err != nil {
		return nil, err
	}
	out, errs := make([]*Lesson, len(names)), make([]error, len(names))
	var all sync.WaitGroup
	for i, name := range names { // a megabyte of text: side by side it is read in a third of the time
		all.Go(func() { out[i], errs[i] = read(root, name) })
	}
	all.Wait()
	return out, errors.Join(errs...)
}

// Find reads one lesson, named "lesson07", "07", "7" or by a path that ends in lesson07.
func Find(root, asked string) (*Lesson, error) {
	all, err := names(root)
	if err != nil {
		return nil, err
	}
	name := Name(asked)
	if !slices.Contains(all, name) {
		if _, err := os.Stat(filepath.Join(root, "solutions", name)); err == nil {
			return nil, fmt.Errorf("the folder katas/%s is gone: git checkout -- katas/%s brings it back as it was committed last", name, name)
		}
		if len(all) == 0 {
			return nil, fmt.Errorf("no lesson is called %q: %w in katas/ here", asked, ErrNone)
		}
		return nil, fmt.Errorf("no lesson is called %q: there is %s", asked, strings.Join(all, ", "))
	}
	return read(root, name)
}

// Name is the folder's name of a lesson that was asked for in any of the ways that Find takes.
func Name(asked string) string {
	n := strings.TrimSuffix(strings.TrimSuffix(filepath.ToSlash(asked), "/..."), "/")
	n = strings.TrimPrefix(n[strings.LastIndexByte(n, '/')+1:], "lesson")
	return fmt.Sprintf("lesson%02s", n)
}

// Names are the folders of the lessons, in order.
func Names(root string) ([]string, error) { return names(root) }

func names(root string) ([]string, error) {
	entries, err := os.ReadDir(filepath.Join(root, "katas"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var out []string
	for _, e := range entries {
		if e.IsDir() && folder.MatchString(e.Name()) {
			out = append(out, e.Name())
		}
	}
	return out, err
}

func read(root, name string) (*Lesson, error) {
	root, err := filepath.Abs(root)
	if err != nil {
		return nil, err
	}
	number, _ := strconv.Atoi(name[len("lesson"):])
	l := &Lesson{Name: name, Number: number, Root: root}
	readme, err := os.ReadFile(filepath.Join(l.Dir(), "README.md"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	l.readme(strings.ReplaceAll(string(readme), "\r\n", "\n"))
	if err := l.specs(); err != nil {
		return nil, err
	}
	slices.SortStableFunc(l.Steps, func(a, b Step) int { return a.Number - b.Number })
	return l, nil
}

// specs adds the names of the specifications, which are found by their text: they need not compile.
func (l *Lesson) specs() error {
	files, err := filepath.Glob(filepath.Join(l.Dir(), "*_test.go"))
	if err != nil {
		return err
	}
	slices.Sort(files)
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		first := 0
		if m := stepFile.FindStringSubmatch(filepath.Base(file)); m != nil { // one that others share has none of its own
			first, _ = strconv.Atoi(m[1])
		}
		for m := range specsIn(text) {
			n, _ := strconv.Atoi(string(m[2]))
			if first == 0 || n < first {
				first = n
			}
			step := l.Step(n)
			if step == nil {
				l.Steps = append(l.Steps, Step{Number: n, Title: Promise(string(m[1]))})
				step = &l.Steps[len(l.Steps)-1]
			}
			step.Specs = append(step.Specs, string(m[1]))
		}
		if first > 0 {
			l.tests = append(l.tests, testFile{filepath.Base(file), first})
		}
	}
	return nil
}

// specsIn are the matches of specFunc. The pattern is tried only where a function begins: to try it everywhere took longer
// than all else that a command does at its start.
func specsIn(text []byte) iter.Seq[[][]byte] {
	return func(yield func([][]byte) bool) {
		const head = "\nfunc "
		for {
			at := bytes.Index(text, []byte(head))
			if at < 0 {
				return
			}
			text = text[at+len(head):]
			if m := specFunc.FindSubmatch(text[:min(len(text), 300)]); m != nil && !yield(m) {
				return
			}
		}
	}
}

// StepOf is the number of the step that a test belongs to, 0 for none.
func StepOf(test string) int {
	m := specName.FindStringSubmatch(test)
	if m == nil {
		return 0
	}
	n, _ := strconv.Atoi(m[1])
	return n
}

// Promise is a specification's name in words: TestStep03_EveryGroupSeesEveryRecord is "every group sees every record".
func Promise(test string) string {
	m := specName.FindStringSubmatch(test)
	if m == nil {
		return test
	}
	var b strings.Builder
	for i, r := range m[2] {
		if unicode.IsUpper(r) {
			if i > 0 {
				b.WriteByte(' ')
			}
			r = unicode.ToLower(r)
		}
		b.WriteRune(r)
	}
	return b.String()
}
