package judge

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"golang.org/x/mod/modfile"
)

// A Reverse is how a test of the learner's own did: green on the solution, and red on how many mistakes.
type Reverse struct {
	Lesson   string   `json:"lesson"`
	Tests    []string `json:"tests"`
	Solution string   `json:"solution"` // "" when it is green there; otherwise what it printed
	Build    bool     `json:"build"`    // it does not build
	Caught   []string `json:"caught"`   // names of mistakes
	Away     []string `json:"away"`     // names of those that got away
}

// errReverse says that a file cannot be the learner's tests.
var errReverse = errors.New("no test")

// Reverse runs the tests in file, which belong to the package of a lesson, on the lesson's solution and, if they are
// green there, on every mistake. The course's own specifications do not run; their casts may be used.
func (c *Course) Reverse(ctx context.Context, lesson, file string, log io.Writer) (*Reverse, error) {
	i := slices.IndexFunc(c.Lessons, func(l *Lesson) bool { return l.Name == lesson })
	if i < 0 || c.Lessons[i].caughtBy == nil {
		return nil, fmt.Errorf("%s has no solution to test", lesson)
	}
	l := c.Lessons[i]
	file, err := filepath.Abs(file)
	if err != nil {
		return nil, err
	}
	tests, err := ownTests(file, l.Name)
	if err != nil {
		return nil, err
	}
	mod, err := os.ReadFile(filepath.Join(c.Root, "go.mod"))
	if err != nil {
		return nil, err
	}
	work, err := os.MkdirTemp("", "kata-break-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(work)
	s := &session{Course: c, ctx: ctx, module: modfile.ModulePath(mod), work: work}
	out := &Reverse{Lesson: l.Name, Tests: tests, Caught: []string{}, Away: []string{}}

	o := newOverlay(work)
	lay := func(dir string) { l.layOwn(o, dir, file) }
	lay(l.solution())
	fmt.Fprintf(log, "on the solution\n")
	r, err := s.reverse(newTestRun(), o, tests, l.solutionPattern(), "-count=2")
	if err != nil {
		return nil, err
	}
	switch p := r.of(s.importPath(l.solutionPattern())); {
	case p.build != "":
		out.Solution, out.Build = p.build, true
		return out, nil
	case p.failed:
		for _, t := range tests {
			if run := p.last(t); run.result != "pass" {
				out.Solution += run.output
			}
		}
		out.Solution = cmpOr(excerpt(out.Solution, 60), cmpOr(excerpt(p.output, 60), "the test program failed"))
		return out, nil
	}
	var patterns []string
	var laid []*Wrong
	for _, w := range l.Mistakes {
		if !w.ready {
			continue
		}
		if err := o.layMistake(l, w); err != nil {
			continue // check says what is wrong with it
		}
		dir := filepath.Join(l.solution(), "mistakes", w.Name)
		lay(dir)
		release, err := hold(dir)
		if err != nil {
			return nil, err
		}
		defer release()
		patterns, laid = append(patterns, l.mistakePattern(w)), append(laid, w)
	}
	if len(patterns) == 0 {
		return out, nil
	}
	fmt.Fprintf(log, "on %s\n", plural(len(patterns), "mistake"))
	r = newTestRun()
	judged, caught := 0, 0
	r.ended = func(p *packageRun) { // each is built and linked anew: who waits for a minute wants to see it go on
		judged++
		if p.failed && p.build == "" {
			caught++
		}
		if judged%10 == 0 && judged < len(patterns) {
			fmt.Fprintf(log, "  %d of %d, caught %d\n", judged, len(patterns), caught)
		}
	}
	if r, err = s.reverse(r, o, tests, patterns...); err != nil {
		return nil, err
	}
	for i, w := range laid {
		if p := r.of(s.importPath(patterns[i])); p.failed && p.build == "" {
			out.Caught = append(out.Caught, w.Name)
		} else {
			out.Away = append(out.Away, w.Name)
		}
	}
	return out, nil
}

// reverse runs the tests over some packages. What hangs is red, and soon: a story takes milliseconds.
func (s *session) reverse(r *testRun, o *overlay, tests []string, args ...string) (*testRun, error) {
	file, err := o.write("break.json")
	if err != nil {
		return nil, err
	}
	flags := slices.Concat([]string{"-tags", Tag, "-overlay", file, "-timeout", "1m", "-run", "^(" + strings.Join(tests, "|") + ")$"}, quick)
	return r.goTest(s.ctx, s.Root, nil, append(flags, args...)...)
}

var aStep = regexp.MustCompile(`(?m)^func TestStep\d\d_`)

// layOwn lays the learner's file and the casts that it may use, that is the test files without a specification: every file
// costs compiling for each mistake.
func (l *Lesson) layOwn(o *overlay, dir, own string) {
	for to := range o.replace {
		if filepath.Dir(to) == dir && isTest(to) {
			delete(o.replace, to)
		}
	}
	for _, name := range l.casts() {
		if path := filepath.Join(l.kata(), name); path != own {
			o.replace[filepath.Join(dir, name)] = path
		}
	}
	o.replace[filepath.Join(dir, "own_test.go")] = own
	if entries, err := os.ReadDir(dir); err == nil {
		for _, e := range entries { // the solution's own tests may use names that the learner's do
			if path := filepath.Join(dir, e.Name()); isTest(path) && o.replace[path] == "" {
				o.replace[path] = ""
			}
		}
	}
}

// casts are the course's test files that hold no specification and no other test.
func (l *Lesson) casts() (out []string) {
	files, _ := filepath.Glob(filepath.Join(l.kata(), "*_test.go"))
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err == nil && !aStep.Match(text) && (!aTest.Match(text) || strings.Contains(string(text), "func TestMain(")) {
			out = append(out, filepath.Base(file))
		}
	}
	return out
}

var aTest = regexp.MustCompile(`(?m)^func Test[A-Z0-9_]\w*\(`)

// ownTests are the names of the tests in the learner's file.
func ownTests(file, lesson string) ([]string, error) {
	f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	if f.Name.Name != lesson {
		return nil, fmt.Errorf("%w: %s is of package %s; it must begin with \"package %s\"", errReverse, filepath.Base(file), f.Name.Name, lesson)
	}
	var out []string
	for _, d := range f.Decls {
		if fn, ok := d.(*ast.FuncDecl); ok && isTestFunc(fn) && fn.Name.Name != "TestMain" {
			out = append(out, fn.Name.Name)
		}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("%w in %s: write func TestMine(t *testing.T)", errReverse, filepath.Base(file))
	}
	return out, nil
}

// Print writes the score. Of the mistakes that got away it says the names alone: what they do is the riddle.
func (r *Reverse) Print(out io.Writer) error {
	w := bufio.NewWriter(out)
	switch {
	case r.Build:
		fmt.Fprintf(w, "%s\n\nIt does not build on the solution: it may use exported names, and the cast of the lesson (cast_test.go).\n", strings.TrimSpace(r.Solution))
	case r.Solution != "":
		fmt.Fprintf(w, "%s\n\nIt is red on the solution, which keeps every promise: it asks for something that was not promised.\n", r.Solution)
	default:
		fmt.Fprintf(w, "green on the solution\n")
		if len(r.Away) > 0 {
			fmt.Fprintf(w, "\ngot away\n")
		}
		for _, name := range r.Away {
			fmt.Fprintf(w, "  - %s\n", name)
		}
		if len(r.Caught) > 0 {
			fmt.Fprintf(w, "\ncaught\n")
		}
		for _, name := range r.Caught {
			fmt.Fprintf(w, "  + %s\n", name)
		}
		// The score comes last, where a long list leaves it on the screen.
		fmt.Fprintf(w, "\ncaught %d of %s\n", len(r.Caught), plural(len(r.Caught)+len(r.Away), "mistake"))
	}
	return w.Flush()
}
