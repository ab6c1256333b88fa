package judge

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/printer"
	"go/token"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// judgeSurfaces is law 5.
func (c *Course) judgeSurfaces() error {
	for _, l := range c.Lessons {
		if err := l.judgeReadme(); err != nil {
			return err
		}
	}
	for _, l := range c.answered() {
		stubFiles, stub, err := surfaceOf(l.kata())
		if err != nil {
			return err
		}
		answerFiles, answer, err := surfaceOf(l.solution())
		if err != nil {
			return err
		}
		for _, name := range stubFiles {
			if !slices.Contains(answerFiles, name) {
				l.breaks(Surface, Broken{Subject: name, Expected: "the same file names in stub and solution", Got: "the solution has no " + name})
			}
		}
		for _, name := range answerFiles { // a learner who compares the two finds each thing in the file of its name
			if !slices.Contains(stubFiles, name) {
				l.breaks(Surface, Broken{Subject: name, Expected: "the same file names in stub and solution", Got: "the stub has no " + name})
			}
		}
		names := slices.Sorted(maps.Keys(stub))
		names = append(names, slices.DeleteFunc(slices.Sorted(maps.Keys(answer)), func(n string) bool { _, both := stub[n]; return both })...)
		for _, name := range names {
			inStub, okStub := stub[name]
			inAnswer, okAnswer := answer[name]
			switch {
			case !okAnswer:
				l.breaks(Surface, Broken{Subject: name, Expected: "in the solution as in the stub: " + inStub, Got: "the solution does not have it"})
			case !okStub:
				l.breaks(Surface, Broken{Subject: name, Expected: "in the stub as in the solution: " + inAnswer, Got: "the stub does not have it"})
			case inStub != inAnswer:
				l.breaks(Surface, Broken{Subject: name, Expected: "stub and solution alike", Got: "stub:     " + inStub + "\nsolution: " + inAnswer})
			}
		}
	}
	return nil
}

// surfaceOf maps each exported declaration of a package, by a name that says what it is, to its type. Names of
// parameters and comments do not count.
func surfaceOf(dir string) ([]string, map[string]string, error) {
	files, fset, err := parseDir(dir, isPlain)
	if err != nil {
		return nil, nil, err
	}
	s := surface{}
	var names []string
	for _, f := range files {
		names = append(names, filepath.Base(fset.Position(f.Pos()).Filename))
		canonical(f)
		for _, d := range f.Decls {
			switch d := d.(type) {
			case *ast.FuncDecl:
				s.addFunc(d)
			case *ast.GenDecl:
				s.addGen(d)
			}
		}
	}
	return names, s, nil
}

type surface map[string]string

func (s surface) addFunc(d *ast.FuncDecl) {
	if !d.Name.IsExported() {
		return
	}
	if d.Recv == nil {
		s["func "+d.Name.Name] = text(d.Type)
		return
	}
	recv := d.Recv.List[0].Type
	if base := baseName(recv); ast.IsExported(base) {
		s["method "+base+"."+d.Name.Name] = "(" + text(recv) + ") " + text(d.Type)
	}
}

func baseName(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.StarExpr:
		return baseName(e.X)
	case *ast.IndexExpr:
		return baseName(e.X)
	case *ast.IndexListExpr:
		return baseName(e.X)
	case *ast.SelectorExpr:
		return e.Sel.Name
	case *ast.Ident:
		return e.Name
	}
	return ""
}

func (s surface) addGen(d *ast.GenDecl) {
	var typ ast.Expr
	var values []ast.Expr
	for i, spec := range d.Specs {
		switch spec := spec.(type) {
		case *ast.TypeSpec:
			if spec.Name.IsExported() {
				s.addType(spec)
			}
		case *ast.ValueSpec:
			if d.Tok == token.CONST && (spec.Type != nil || len(spec.Values) > 0) {
				typ, values = spec.Type, spec.Values // a constant without either repeats them
			}
			for j, name := range spec.Names {
				if !name.IsExported() {
					continue
				}
				said := d.Tok.String()
				if t := spec.Type; t != nil {
					said += " " + text(t)
				} else if d.Tok == token.CONST && typ != nil {
					said += " " + text(typ)
				}
				// A constant's value is part of the promise; a variable's is not.
				if d.Tok == token.CONST && j < len(values) {
					said += " = " + text(values[j])
					if strings.Contains(said, "iota") {
						said += fmt.Sprintf(" (iota %d)", i)
					}
				}
				s[d.Tok.String()+" "+name.Name] = said
			}
		}
	}
}

func (s surface) addType(spec *ast.TypeSpec) {
	name := spec.Name.Name
	params := ""
	if spec.TypeParams != nil {
		params = "[" + text(spec.TypeParams) + "]"
	}
	if spec.Assign.IsValid() {
		s["type "+name] = "type" + params + " = " + text(spec.Type)
		return
	}
	switch t := spec.Type.(type) {
	case *ast.StructType:
		s["type "+name] = "type" + params + " struct"
		for _, f := range t.Fields.List {
			said := text(f.Type)
			if f.Tag != nil {
				said += " " + f.Tag.Value
			}
			if len(f.Names) == 0 && ast.IsExported(baseName(f.Type)) {
				s["field "+name+"."+baseName(f.Type)] = "embedded " + said
			}
			for _, n := range f.Names {
				if n.IsExported() {
					s["field "+name+"."+n.Name] = said
				}
			}
		}
	case *ast.InterfaceType:
		s["type "+name] = "type" + params + " interface"
		for _, m := range t.Methods.List {
			if len(m.Names) == 0 {
				s["interface "+name+" embeds "+text(m.Type)] = text(m.Type)
			}
			for _, n := range m.Names {
				s["method "+name+"."+n.Name] = text(m.Type)
			}
		}
	default:
		s["type "+name] = "type" + params + " " + text(spec.Type)
	}
}

// canonical rewrites a file so that equal declarations print equally: parameters lose their names, and a package is
// called by its import path.
func canonical(f *ast.File) {
	imports := map[string]string{}
	for _, imp := range f.Imports {
		path, _ := strconv.Unquote(imp.Path.Value)
		name := path[strings.LastIndex(path, "/")+1:]
		if imp.Name != nil {
			name = imp.Name.Name
		}
		imports[name] = path
	}
	ast.Inspect(f, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.FuncType:
			for _, list := range []*ast.FieldList{n.Params, n.Results} {
				if list != nil {
					list.List = unnamed(list.List)
				}
			}
		case *ast.SelectorExpr:
			if id, ok := n.X.(*ast.Ident); ok && imports[id.Name] != "" {
				id.Name = imports[id.Name]
			}
		case *ast.BlockStmt:
			return false
		}
		return true
	})
}

func unnamed(fields []*ast.Field) []*ast.Field {
	var out []*ast.Field
	for _, f := range fields {
		for range max(1, len(f.Names)) {
			out = append(out, &ast.Field{Type: f.Type})
		}
	}
	return out
}

// text prints a node on one line, without positions, and so the same wherever it stood.
func text(n ast.Node) string {
	if list, ok := n.(*ast.FieldList); ok {
		var parts []string
		for _, f := range list.List {
			var names []string
			for _, id := range f.Names {
				names = append(names, id.Name)
			}
			parts = append(parts, strings.Join(names, ", ")+" "+text(f.Type))
		}
		return strings.Join(parts, ", ")
	}
	var b bytes.Buffer
	if err := printer.Fprint(&b, token.NewFileSet(), n); err != nil {
		return err.Error()
	}
	return strings.Join(strings.Fields(b.String()), " ")
}

// judgeReadme sees to it that every step has a section with a hint, and every section of a step a spec.
func (l *Lesson) judgeReadme() error {
	readme, err := os.ReadFile(filepath.Join(l.kata(), "README.md"))
	if err != nil {
		l.breaks(Surface, Broken{Subject: "README.md", Expected: "a README.md beside the stub", Got: "there is none"})
		return nil
	}
	sections := stepSections(string(readme))
	steps := map[int]bool{}
	for _, s := range l.Specs {
		if steps[s.Step] {
			continue
		}
		steps[s.Step] = true
		step := fmt.Sprintf("step %02d", s.Step)
		section, ok := sections[s.Step]
		switch {
		case !ok:
			l.breaks(Surface, Broken{Subject: step, Expected: fmt.Sprintf("a heading \"### Step %02d\" in README.md", s.Step), Got: "there is none"})
		case !hasHint(section):
			l.breaks(Surface, Broken{Subject: step, Expected: "a hint in its README section: <details><summary>Hint</summary> … </details>", Got: "there is none"})
		}
	}
	for _, step := range slices.Sorted(maps.Keys(sections)) {
		if !steps[step] {
			l.breaks(Surface, Broken{
				Subject:  fmt.Sprintf("step %02d", step),
				Expected: fmt.Sprintf("a spec TestStep%02d_… for the README's section", step), Got: "there is none",
			})
		}
	}
	return nil
}
