package judge

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"go/ast"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
)

// aloneLimit is generous: the harness gives its verdict on any program within ten seconds.
const aloneLimit = time.Minute

// judgeStubs is law 1. The test programs are built once; then each spec has a process of its own, since "alone"
// means without what an earlier spec left behind.
func (s *session) judgeStubs() error {
	dir := filepath.Join(s.work, "stubs")
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	args := []string{"test", "-c", "-tags", Tag, "-o", dir + string(filepath.Separator)}
	for _, l := range s.Lessons {
		if err := l.lintStub(); err != nil {
			return err
		}
		args = append(args, l.kataPattern())
	}
	build := exec.CommandContext(s.ctx, "go", args...)
	build.Dir, build.Env = s.Root, environment()
	said, err := build.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return err
	}
	test2json, err := toolPath(s.ctx, s.Root, "test2json")
	if err != nil {
		return err
	}
	var g errgroup.Group
	g.SetLimit(runtime.GOMAXPROCS(0))
	type result struct {
		lesson *Lesson
		spec   Specification
		run    *testRun
	}
	var results []*result
	for _, l := range s.Lessons {
		program := findProgram(dir, l.Name)
		if program == "" {
			l.breaks(Stub, Broken{
				Subject: "the stub", Expected: "a stub that compiles with its specs", Got: "it does not",
				Output: excerpt(string(said), 40), Again: "go vet -tags " + Tag + " " + l.kataPattern(),
			})
			continue
		}
		for _, spec := range l.Specs {
			r := &result{l, spec, newTestRun()}
			results = append(results, r)
			g.Go(func() error { return s.runAlone(r.run, test2json, program, l, spec.Name) })
		}
	}
	if err := g.Wait(); err != nil {
		return err
	}
	for _, r := range results {
		s.runs += r.run.runs()
		r.lesson.judgeStub(r.spec.Name, r.run.of(r.lesson.Name))
	}
	return nil
}

func findProgram(dir, lesson string) string {
	for _, name := range []string{lesson + ".test", lesson + ".test.exe"} {
		if path := filepath.Join(dir, name); fileExists(path) {
			return path
		}
	}
	return ""
}

func fileExists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func toolPath(ctx context.Context, root, tool string) (string, error) {
	cmd := exec.CommandContext(ctx, "go", "tool", "-n", tool)
	cmd.Dir = root
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("go tool -n %s: %w", tool, err)
	}
	return strings.TrimSpace(string(out)), nil
}

// runAlone runs one spec in a process of its own and reads what it says.
func (s *session) runAlone(r *testRun, test2json, program string, l *Lesson, spec string) error {
	ctx, cancel := context.WithTimeout(s.ctx, aloneLimit+10*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, test2json, "-p", l.Name, program,
		"-test.run=^"+spec+"$", "-test.v=test2json", "-test.paniconexit0", "-test.timeout="+aloneLimit.String())
	cmd.Dir, cmd.Env = l.kata(), environment()
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	var exit *exec.ExitError
	if s.ctx.Err() != nil {
		return s.ctx.Err()
	}
	if err != nil && !errors.As(err, &exit) {
		return err
	}
	return r.read(&out)
}

func (l *Lesson) judgeStub(spec string, p *packageRun) {
	o := p.last(spec)
	if o.result == "fail" && (o.word == Unwritten || o.word != broken && slices.Contains(words, o.word)) {
		return
	}
	l.breaks(Stub, Broken{
		Subject:  spec,
		Expected: "red by a claim, or by the stub's own sentence (verdict " + Unwritten + ")",
		Got:      how(o.result, o.word, o.output+p.output),
		Output:   excerpt(o.output+p.output, 25),
		Again:    fmt.Sprintf("go test -tags %s %s -run '^%s$'", Tag, l.kataPattern(), spec),
	})
}

// lintStub sees to it that a stub guides, and never ends the learner's program.
func (l *Lesson) lintStub() error {
	files, fset, err := parseDir(l.kata(), isPlain)
	if err != nil {
		return nil // the compiler says it better
	}
	guided := len(files) == 0
	for _, f := range files {
		for _, group := range f.Comments {
			for _, c := range group.List {
				guided = guided || strings.HasPrefix(c.Text, "// TODO:")
			}
		}
		ast.Inspect(f, func(n ast.Node) bool {
			if call, ok := n.(*ast.CallExpr); ok && endsProgram(call.Fun) {
				l.breaks(Stub, Broken{
					Subject:  position(fset, call.Pos()),
					Expected: "a stub that returns its sentence as an error, and never panics",
					Got:      "it ends the program",
				})
			}
			return true
		})
	}
	if !guided {
		l.breaks(Stub, Broken{Subject: "the stub", Expected: "a \"// TODO:\" that says where to begin", Got: "there is none"})
	}
	return nil
}

func endsProgram(fun ast.Expr) bool {
	switch f := fun.(type) {
	case *ast.Ident:
		return f.Name == "panic"
	case *ast.SelectorExpr:
		pkg, ok := f.X.(*ast.Ident)
		return ok && (pkg.Name == "os" && f.Sel.Name == "Exit" || pkg.Name == "log" && (strings.HasPrefix(f.Sel.Name, "Fatal") || strings.HasPrefix(f.Sel.Name, "Panic")))
	}
	return false
}

func position(fset *token.FileSet, pos token.Pos) string {
	p := fset.Position(pos)
	return fmt.Sprintf("%s:%d", filepath.Base(p.Filename), p.Line)
}
