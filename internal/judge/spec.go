package judge

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"go/types"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// A Specification is one test of a lesson: TestStepNN_APromise.
type Specification struct {
	Name     string
	Step     int
	Explores bool // tells its story at many points or by many schedules, and takes as long as all others together
}

var stepName = regexp.MustCompile(`^TestStep(\d\d)_[A-Z0-9]`)

// readSpecs finds the lesson's specifications and lints how they are written.
func (l *Lesson) readSpecs() error {
	files, _, err := parseDir(l.kata(), isTest)
	if err != nil {
		return err
	}
	for _, f := range files {
		for _, d := range f.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if !ok || !isTestFunc(fn) {
				continue
			}
			m := stepName.FindStringSubmatch(fn.Name.Name)
			if m == nil {
				l.breaks(Spec, Broken{
					Subject:  fn.Name.Name,
					Expected: "a name like TestStep07_APromiseInDomainWords: first red first, hints and the README go by the step",
					Got:      fn.Name.Name,
				})
				continue
			}
			step, _ := strconv.Atoi(m[1])
			l.Specs = append(l.Specs, Specification{Name: fn.Name.Name, Step: step, Explores: explores(fn)})
		}
	}
	slices.SortStableFunc(l.Specs, func(a, b Specification) int { return a.Step - b.Step })
	return nil
}

func isTest(name string) bool  { return strings.HasSuffix(name, "_test.go") }
func isPlain(name string) bool { return strings.HasSuffix(name, ".go") && !isTest(name) }

// isTestFunc follows the go command: Test and then no lower-case letter, one *testing.T.
func isTestFunc(fn *ast.FuncDecl) bool {
	rest, ok := strings.CutPrefix(fn.Name.Name, "Test")
	if r, _ := utf8.DecodeRuneInString(rest); !ok || unicode.IsLower(r) || fn.Recv != nil {
		return false
	}
	params := fn.Type.Params.List
	return len(params) == 1 && types.ExprString(params[0].Type) == "*testing.T"
}

// explores says whether a specification calls harness.Explore or harness.Sweep itself.
func explores(fn *ast.FuncDecl) bool {
	found := false
	ast.Inspect(fn, func(n ast.Node) bool {
		if call, ok := n.(*ast.CallExpr); ok {
			switch types.ExprString(call.Fun) {
			case "harness.Explore", "harness.Sweep":
				found = true
			}
		}
		return !found
	})
	return found
}

// parseDir parses the Go files of dir that keep wants, in the order of their names. No directory is no files.
func parseDir(dir string, keep func(string) bool) ([]*ast.File, *token.FileSet, error) {
	fset := token.NewFileSet()
	files, err := parseInto(fset, dir, keep)
	return files, fset, err
}

func parseInto(fset *token.FileSet, dir string, keep func(string) bool) ([]*ast.File, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var files []*ast.File
	for _, e := range entries {
		if e.IsDir() || !keep(e.Name()) {
			continue
		}
		f, err := parser.ParseFile(fset, filepath.Join(dir, e.Name()), nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return nil, err
		}
		files = append(files, f)
	}
	return files, nil
}

// judgeSpecs is law 4.
func (c *Course) judgeSpecs() error {
	for _, l := range c.answered() {
		for _, s := range l.Specs {
			if !l.caughtBy[s.Name] {
				l.breaks(Spec, Broken{
					Subject:  s.Name,
					Expected: "at least one mistake that says \"Caught by: " + s.Name + ": WORD\"",
					Got:      "no mistake names it: a spec that nothing fails is not a spec",
				})
			}
		}
		if err := l.lintSpecNames(); err != nil {
			return err
		}
	}
	return nil
}

// lintSpecNames finds where a specification leans on what only one answer has. It type-checks solution and spec
// without their imports, which is enough to know each name of the package itself.
func (l *Lesson) lintSpecNames() error {
	fset := token.NewFileSet()
	answer, err := parseInto(fset, l.solution(), isPlain)
	if err != nil {
		return nil // law 2 says so, with the compiler's words
	}
	spec, err := parseInto(fset, l.kata(), isTest)
	if err != nil {
		return err
	}
	info := &types.Info{Uses: map[*ast.Ident]types.Object{}}
	conf := types.Config{Importer: noImports{}, Error: func(error) {}}
	pkg, _ := conf.Check(l.Name, fset, append(slices.Clone(answer), spec...), info)

	seen := map[string]bool{}
	for id, obj := range info.Uses {
		from, to := fset.Position(id.Pos()), fset.Position(obj.Pos())
		if obj.Pkg() != pkg || obj.Exported() || !isTest(from.Filename) || isTest(to.Filename) || !to.IsValid() {
			continue
		}
		if seen[obj.Name()] {
			continue
		}
		seen[obj.Name()] = true
		l.breaks(Spec, Broken{
			Subject:  fmt.Sprintf("%s:%d", filepath.Base(from.Filename), from.Line),
			Expected: "exported names alone: a learner's answer need not have any other",
			Got:      "it uses " + obj.Name() + " of " + filepath.Base(to.Filename),
		})
	}
	for _, f := range spec {
		for _, imp := range f.Imports {
			if path, _ := strconv.Unquote(imp.Path.Value); strings.HasSuffix(path, "/katas/"+l.Name) || strings.Contains(path, "/solutions/") {
				l.breaks(Spec, Broken{
					Subject:  filepath.Base(fset.Position(imp.Pos()).Filename),
					Expected: "a spec inside the package it judges, so that it can be laid onto any answer",
					Got:      "it imports " + path,
				})
			}
		}
	}
	return nil
}

type noImports struct{}

func (noImports) Import(path string) (*types.Package, error) {
	return nil, fmt.Errorf("%s is not needed", path)
}
