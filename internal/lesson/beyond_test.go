package lesson

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"slices"
	"testing"
)

// Who is at a step is judged without the files that are beyond it: nothing before them may need what they declare.
func TestNoSpecificationNeedsWhatIsBeyondIt(t *testing.T) {
	all, err := All(filepath.Join("..", ".."))
	if err != nil || len(all) == 0 {
		t.Fatal(all, err)
	}
	for _, l := range all {
		files := parseTests(t, l)
		cut := 0
		for _, s := range l.Steps {
			beyond, _ := l.Beyond(s.Number)
			cut += len(beyond)
			declared := map[string]string{} // functions, types, .methods; an exported method is there for an interface
			for _, name := range beyond {
				for d := range files[name].Scope.Objects {
					declared[d] = name
				}
				for _, d := range files[name].Decls {
					if f, ok := d.(*ast.FuncDecl); ok && f.Recv != nil && !f.Name.IsExported() {
						declared["."+f.Name.Name] = name
					}
				}
			}
			for name, f := range files {
				if slices.Contains(beyond, name) {
					continue
				}
				for _, needed := range needs(f) {
					if where := declared[needed]; where != "" {
						t.Errorf("%s: %s needs %s of %s, which is not compiled for a learner at step %d: move it to cast_test.go, or to a file named for the step that needs it first", l.Name, name, needed, where, s.Number)
					}
				}
			}
		}
		if cut == 0 {
			t.Errorf("%s: no step does without any file", l.Name)
		}
	}
}

// needs are the names that a file has from elsewhere in its package, and after a dot whatever it selects.
func needs(f *ast.File) (out []string) {
	for _, id := range f.Unresolved {
		out = append(out, id.Name)
	}
	ast.Inspect(f, func(n ast.Node) bool {
		if s, ok := n.(*ast.SelectorExpr); ok {
			out = append(out, "."+s.Sel.Name)
		}
		return true
	})
	return out
}

func parseTests(t *testing.T, l *Lesson) map[string]*ast.File {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(l.Dir(), "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]*ast.File{}
	for _, name := range names {
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		out[filepath.Base(name)] = f
	}
	return out
}
