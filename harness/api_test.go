package harness_test

import (
	"bytes"
	"flag"
	"go/ast"
	"go/doc"
	"go/parser"
	"go/printer"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var updateAPI = flag.Bool("update-api", false, "write testdata/api.txt anew (also UPDATE_GOLDEN=1)")

// What is exported here is what lessons, and whoever took the harness home, are written with.
func TestTheExportedSurfaceChangesOnPurpose(t *testing.T) {
	var got bytes.Buffer
	for _, dir := range []string{".", "httpfake"} {
		surface(t, &got, dir)
	}
	golden := filepath.Join("testdata", "api.txt")
	if *updateAPI || os.Getenv("UPDATE_GOLDEN") == "1" {
		if err := os.WriteFile(golden, got.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	want = bytes.ReplaceAll(want, []byte("\r\n"), []byte("\n"))
	if diff := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(got.String(), "\n")); diff != "" {
		t.Errorf("the exported surface of the harness has changed (-testdata/api.txt +now):\n%s\n"+
			"Every lesson stands on it: have the change reviewed as such, and ask of each new name whether a story reads better with it.\n"+
			"Then write it down: go test -tags synctests ./harness -run ExportedSurface -update-api", diff)
	}
}

// surface writes the exported declarations of the package in dir, without their comments.
func surface(t *testing.T, to *bytes.Buffer, dir string) {
	t.Helper()
	fset := token.NewFileSet()
	var files []*ast.File
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && path != dir:
			return fs.SkipDir
		case !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go"):
			return nil
		}
		file, err := parser.ParseFile(fset, path, nil, parser.SkipObjectResolution)
		files = append(files, file)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	pkg, err := doc.NewFromFiles(fset, files, "github.com/kafka-katas/kafka-katas/harness/"+dir)
	if err != nil {
		t.Fatal(err)
	}
	show := func(decl ast.Decl) {
		if err := (&printer.Config{Mode: printer.UseSpaces | printer.TabIndent, Tabwidth: 4}).Fprint(to, fset, decl); err != nil {
			t.Fatal(err)
		}
		to.WriteString("\n\n")
	}
	values := func(all []*doc.Value) {
		for _, v := range all {
			show(v.Decl)
		}
	}
	funcs := func(all []*doc.Func) {
		for _, f := range all {
			show(f.Decl)
		}
	}
	to.WriteString("package " + pkg.Name + "\n\n")
	values(pkg.Consts)
	values(pkg.Vars)
	funcs(pkg.Funcs)
	for _, typ := range pkg.Types {
		show(typ.Decl)
		values(typ.Consts)
		values(typ.Vars)
		funcs(typ.Funcs)
		funcs(typ.Methods)
	}
}
