package harness

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// What a spec calls must not be compiled into it: the compiler inlines a small function that returns a closure, and
// compiles the whole closure again at each call. A learner would wait for that at each save; with it, lesson 07's specs
// took twice as long to compile.
func TestWhatASpecCallsIsNotCompiledIntoIt(t *testing.T) {
	names, err := filepath.Glob("*.go")
	require.NoError(t, err)
	seen := 0
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ParseComments)
		require.NoError(t, err)
		for _, d := range file.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if !ok || !fn.Name.IsExported() || !closes(fn) {
				continue
			}
			seen++
			if fn.Doc == nil || !strings.Contains(fn.Doc.List[len(fn.Doc.List)-1].Text, "go:noinline") {
				t.Errorf("%s: %s returns a closure: put //go:noinline above it, as its last comment", name, fn.Name.Name)
			}
		}
	}
	require.Greater(t, seen, 30, "closures were found at all")
}

// closes says whether a function gives out a closure of its own.
func closes(fn *ast.FuncDecl) bool {
	found := false
	if fn.Body == nil || fn.Type.Results == nil {
		return false
	}
	for _, s := range fn.Body.List {
		ret, ok := s.(*ast.ReturnStmt)
		if !ok {
			continue
		}
		for _, r := range ret.Results {
			ast.Inspect(r, func(n ast.Node) bool {
				if _, ok := n.(*ast.FuncLit); ok {
					found = true
				}
				return !found
			})
		}
	}
	return found
}
