package doctor

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/mod/modfile"
)

func clone(t *testing.T) string {
	root := t.TempDir()
	for name, text := range map[string]string{
		"go.mod":                   "module course\n\ngo 1.26\n",
		"katas/lesson07/a.go":      "package lesson07\n",
		"harness/harness.go":       "package harness\n",
		".vscode/settings.json":    `{"go.buildTags": "synctests"}`,
		"katas/lesson07/a_test.go": "package lesson07\n",
	} {
		file := filepath.Join(root, name)
		os.MkdirAll(filepath.Dir(file), 0o755)
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func find(all []Finding, words string) *Finding {
	for i := range all {
		if strings.Contains(all[i].What, words) {
			return &all[i]
		}
	}
	return nil
}

func TestAnExaminationFindsWhatIsWrongAndSaysWhatMendsIt(t *testing.T) {
	t.Setenv("KAFKA_BROKERS", "")
	for _, c := range []struct {
		name, words string
		state       State
		mend        string
		spoil       func(root string)
	}{
		{"as it should be", "Go is", Fine, "", func(string) {}},
		{"the tag is there", "VS Code sets", Fine, "", func(string) {}},
		{"no tag", "does not set the build tag", Note, "git checkout .vscode/settings.json", func(root string) {
			os.WriteFile(filepath.Join(root, ".vscode/settings.json"), []byte("{}"), 0o644)
		}},
		{"no settings", "no editor's settings", Note, "CONTRIBUTING.md", func(root string) { os.RemoveAll(filepath.Join(root, ".vscode")) }},
		{"an overlay", "-overlay", Bad, "go env -u GOFLAGS", func(string) { t.Setenv("GOFLAGS", "-overlay=x.json") }},
		{"a module that is not there", "cannot be loaded", Bad, "go mod download", func(root string) {
			t.Setenv("GOFLAGS", "-mod=mod")
			t.Setenv("GOPROXY", "off")
			os.WriteFile(filepath.Join(root, "katas/lesson07/a.go"), []byte("package lesson07\n\nimport _ \"example.com/none\"\n"), 0o644)
		}},
		{"no C", "race detector does not work", Note, "install a C compiler", func(string) { t.Setenv("GOFLAGS", ""); t.Setenv("CGO_ENABLED", "0") }},
		{"no clone", "no git clone", Note, "clone the course by git", func(string) {}},
		{"a cluster", "KAFKA_BROKERS is set", Note, "unset KAFKA_BROKERS", func(string) { t.Setenv("KAFKA_BROKERS", "x:1") }},
		{"no module", "go.mod", Bad, "clone of the course", func(root string) { os.Remove(filepath.Join(root, "go.mod")) }},
		{"no go", "no go command", Bad, "https://go.dev/dl", func(string) { t.Setenv("PATH", t.TempDir()) }},
	} {
		root := clone(t)
		c.spoil(root)
		all := Examine(t.Context(), root)
		f := find(all, c.words)
		if f == nil || f.State != c.state || !strings.Contains(f.Mend, c.mend) || (c.mend == "") != (f.Mend == "") {
			t.Errorf("%s: %+v in\n%+v", c.name, f, all)
		}
	}
}

func TestAnOldGoIsBad(t *testing.T) {
	if f := Version("go1.25.3", &modfile.Go{Version: "1.26.0"}); f.State != Bad || !strings.Contains(f.What, "go1.25.3") {
		t.Errorf("%+v", f)
	}
	if f := Version("go1.26.8", &modfile.Go{Version: "1.26.0"}); f.State != Fine {
		t.Errorf("%+v", f)
	}
}

func TestOnlyWhatIsBadSpoilsTheVerdict(t *testing.T) {
	var b strings.Builder
	if ok, err := Print(&b, []Finding{{Fine, "a", ""}, {Note, "b", "do c"}}); !ok || err != nil || b.String() != "ok    a\nnote  b\n      mend: do c\n" {
		t.Errorf("%v %v %q", ok, err, b.String())
	}
	if ok, _ := Print(&b, []Finding{{Bad, "a", ""}}); ok {
		t.Error("bad is not ok")
	}
}
