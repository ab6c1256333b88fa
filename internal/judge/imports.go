package judge

import (
	"fmt"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"strconv"
	"strings"
)

// An importLaw says what the files under a directory may not import, and why. Each carries its reason, because a
// prohibition without one is worked around.
type importLaw struct {
	dir     string // relative to the root, with slashes; * stands for any name
	but     string // a directory in it for which it does not hold
	tests   bool   // whether it holds for _test.go files too
	forbids func(path string) bool
	reason  string
}

func importLaws(module string) []importLaw {
	under := func(dirs ...string) func(string) bool {
		return func(path string) bool {
			for _, d := range dirs {
				if path == module+"/"+d || strings.HasPrefix(path, module+"/"+d+"/") {
					return true
				}
			}
			return false
		}
	}
	return []importLaw{
		{"harness", "", true, under("katas", "solutions", "internal/judge", "cmd"),
			"the harness must not know the answers: engineers take it home without the course"},
		{"ops", "", true, under("katas", "solutions", "harness", "internal/judge", "cmd"),
			"ops goes to production with the learner's code, so it carries no test code and no answers"},
		{"shop", "", true, under("katas", "solutions", "harness", "internal/judge", "cmd"),
			"the shop's types are shared by all answers, so they know none of them"},
		{"katas", "", true, under("solutions", "internal/judge", "cmd"),
			"a kata that imports an answer gives it away"},
		{"katas", "", false, func(path string) bool { return !forAnswers(module, path) },
			"katas speak plain kgo, so that what is learnt works on Monday; the harness belongs in _test.go"},
		{"solutions", "", true, under("katas", "internal/judge", "cmd"),
			"a solution stands alone: the judge lays the specs onto it"},
		{"solutions", "solutions/*/serve", false, func(path string) bool { return !forAnswers(module, path) },
			"a solution uses what the learner may use, and no more"},
		{"solutions/*/serve", "", true, func(path string) bool {
			return !forAnswers(module, path) && !under("internal/service", "solutions")(path)
		},
			"a service's main joins its solution to internal/service; what else it takes to run one belongs there, once"},
		{"internal/service", "", true, under("katas", "solutions", "harness", "internal/judge", "cmd"),
			"it runs any lesson's service, so it knows none"},
		{"internal/judge", "", false, under("katas", "solutions"),
			"the judge runs the lessons as the learner does, by the go command"},
		{"cmd", "", true, under("katas", "solutions"),
			"a lesson that does not compile must not take the tool away from the learner"},
	}
}

// answerModules are what stubs and solutions may import beside the standard library. Every entry costs the learner
// build time at each edit: add one with the lesson that needs it.
var answerModules = []string{
	"github.com/twmb/franz-go/pkg/kgo",
	"github.com/twmb/franz-go/pkg/kadm",
	"github.com/twmb/franz-go/pkg/kmsg",
	"github.com/twmb/franz-go/pkg/kerr",
	"github.com/sony/gobreaker/v2", // lessons 08 and 11: the circuit breaker
	"golang.org/x/sync",
	"golang.org/x/text/unicode/norm",
	"go.etcd.io/bbolt",
	"golang.org/x/time",
}

func forAnswers(module, path string) bool {
	if first, _, _ := strings.Cut(path, "/"); !strings.Contains(first, ".") {
		return true // the standard library
	}
	for _, m := range append([]string{module + "/ops", module + "/shop"}, answerModules...) {
		if path == m || strings.HasPrefix(path, m+"/") {
			return true
		}
	}
	return false
}

// Imports checks the import laws over the course at root and returns one sentence for each breach.
func Imports(root, module string) ([]string, error) {
	var out []string
	for _, law := range importLaws(module) {
		tops, err := filepath.Glob(filepath.Join(root, filepath.FromSlash(law.dir)))
		if err != nil {
			return nil, err
		}
		but := filepath.Join(root, filepath.FromSlash(law.but))
		check := func(file string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			exempt, err := filepath.Match(but, file)
			switch {
			case err != nil:
				return err
			case d.IsDir() && (d.Name() == "testdata" || exempt && law.but != ""):
				return fs.SkipDir
			case d.IsDir() || !strings.HasSuffix(file, ".go") || isTest(file) && !law.tests:
				return nil
			}
			fset := token.NewFileSet()
			f, err := parser.ParseFile(fset, file, nil, parser.ImportsOnly)
			if err != nil {
				return err
			}
			for _, imp := range f.Imports {
				if path, _ := strconv.Unquote(imp.Path.Value); law.forbids(path) {
					rel, _ := filepath.Rel(root, file)
					out = append(out, fmt.Sprintf("%s:%d imports %s: %s",
						filepath.ToSlash(rel), fset.Position(imp.Pos()).Line, path, law.reason))
				}
			}
			return nil
		}
		for _, top := range tops {
			if err := filepath.WalkDir(top, check); err != nil {
				return nil, err
			}
		}
	}
	return out, nil
}
