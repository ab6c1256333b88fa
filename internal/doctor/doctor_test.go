//go:build unix

package doctor

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
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

// Each look finds what it looks for, one thing broken at a time.
func TestAnExaminationFindsWhatIsWrongAndSaysWhatMendsIt(t *testing.T) {
	write := func(name, text string) func(*testing.T, string) {
		return func(t *testing.T, root string) {
			file := filepath.Join(root, name)
			os.MkdirAll(filepath.Dir(file), 0o755)
			if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	env := func(name, value string) func(*testing.T, string) {
		return func(t *testing.T, _ string) { t.Setenv(name, value) }
	}
	both := func(all ...func(*testing.T, string)) func(*testing.T, string) {
		return func(t *testing.T, root string) {
			for _, f := range all {
				f(t, root)
			}
		}
	}
	// only has nothing in PATH but these programs, each a shell script.
	only := func(programs map[string]string) func(*testing.T, string) {
		return func(t *testing.T, root string) {
			bin := t.TempDir()
			for name, script := range programs {
				if err := os.WriteFile(filepath.Join(bin, name), []byte("#!/bin/sh\n"+script+"\n"), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			t.Setenv("PATH", bin)
		}
	}
	git := func(lines ...string) func(*testing.T, string) {
		return func(t *testing.T, root string) {
			if _, err := exec.LookPath("git"); err != nil {
				t.Skip("there is no git here")
			}
			for _, line := range lines {
				cmd := exec.Command("git", strings.Fields(line)...)
				cmd.Dir = root
				if out, err := cmd.CombinedOutput(); err != nil {
					t.Fatalf("git %s: %v\n%s", line, err, out)
				}
			}
		}
	}
	begin := git("init -q", "-c user.name=a -c user.email=a@b commit -q --allow-empty -m one")
	goAt, _ := exec.LookPath("go")
	realGo := "exec " + goAt + ` "$@"`
	for _, c := range []struct {
		name, words string
		state       State
		mend        string
		spoil       func(t *testing.T, root string)
	}{
		{"as it should be", "Go is", Fine, "", both()},
		{"the tag is there", "VS Code sets", Fine, "", both()},
		{"git is there", "git is there", Fine, "", both(begin, write(".gitignore", "/.katas/\n"))},
		{"no go", "no go command", Bad, "https://go.dev/dl", only(nil)},
		{"a go that does not run", "does not run: cannot execute", Bad, "https://go.dev/dl", only(map[string]string{"go": "echo cannot execute >&2; exit 1"})},
		{"a go that says nothing", "does not run", Bad, "https://go.dev/dl", only(map[string]string{"go": "exit 0"})},
		{"an old go", "Go is go1.25.3, and the course needs 1.26", Bad, "GOTOOLCHAIN", only(map[string]string{"go": `echo '{"GOVERSION": "go1.25.3"}'`})},
		{"no module", "go.mod", Bad, "clone of the course", func(_ *testing.T, root string) { os.Remove(filepath.Join(root, "go.mod")) }},
		{"a broken module", "go.mod:1", Bad, "git checkout go.mod", write("go.mod", "module \"course\n")},
		{"a merge in the module", "go.mod cannot be read: go.mod:3", Bad, "git checkout go.mod", write("go.mod", "module course\n\n<<<<<<< HEAD\n")},
		{"an overlay", "-overlay", Bad, "go env -u GOFLAGS", env("GOFLAGS", "-overlay=x.json")},
		{"vendoring", "-mod=vendor", Bad, "go env -u GOFLAGS", env("GOFLAGS", "-mod=vendor")},
		{"a workspace", "a workspace is in use", Note, "GOWORK=off", both(write("go.work", "go 1.26\n\nuse .\n"), func(t *testing.T, root string) { t.Setenv("GOWORK", filepath.Join(root, "go.work")) })},
		{"a module that is not there", "cannot be loaded", Bad, "go mod download", both(env("GOFLAGS", "-mod=mod"), env("GOPROXY", "off"),
			write("katas/lesson07/a.go", "package lesson07\n\nimport _ \"example.com/none\"\n"))},
		{"a damaged module cache", "the module cache is damaged", Bad, "go clean -modcache",
			only(map[string]string{"go": `[ "$1" = list ] && { echo "verifying x@v1: checksum mismatch" >&2; exit 1; }; ` + realGo})},
		{"a build cache that cannot be written", "the build cache cannot be written", Bad, "GOCACHE", both(write("cache", "a file"), func(t *testing.T, root string) {
			only(map[string]string{"go": `[ "$1" = list ] && exit 0; GOCACHE=` + filepath.Join(root, "cache") + " " + realGo})(t, root)
		})},
		{"no cgo", "CGO_ENABLED is 0", Note, "install a C compiler", env("CGO_ENABLED", "0")},
		{"no C compiler", "there is no no-such-cc", Note, "install a C compiler", both(env("CGO_ENABLED", "1"), env("CC", "no-such-cc -x"))},
		{"no tag", "does not set the build tag", Note, "git checkout .vscode/settings.json", write(".vscode/settings.json", "{}")},
		{"another editor without the tag", ".helix/languages.toml does not set", Note, "CONTRIBUTING.md", write(".helix/languages.toml", "")},
		{"no settings", "no editor's settings", Note, "CONTRIBUTING.md", func(_ *testing.T, root string) { os.RemoveAll(filepath.Join(root, ".vscode")) }},
		{"no git", "there is no git command", Note, "install git", only(map[string]string{"go": realGo})},
		{"no clone", "no git clone", Note, "clone the course by git", both()},
		{"a shallow clone", "the clone is shallow", Note, "git fetch --unshallow", both(begin, func(t *testing.T, root string) {
			head, err := exec.Command("git", "-C", root, "rev-parse", "HEAD").Output()
			if err != nil {
				t.Fatal(err)
			}
			write(".git/shallow", string(head))(t, root)
		})},
		{"nothing ignored", "git does not ignore .katas/", Note, ".gitignore", begin},
		{"no place", "progress cannot be kept", Note, "mend the permissions", write(".katas", "a file")},
		{"an interrupted reset", "a reset of lesson07 was interrupted; nothing is lost", Note,
			"cp -n .katas/backups/lesson07-2026-01-01T100000/stub/*.go katas/lesson07/", write(".katas/backups/lesson07-2026-01-01T100000/stub/a.go", "package lesson07\n")},
		{"a cluster", "KAFKA_BROKERS is set", Note, "unset KAFKA_BROKERS", env("KAFKA_BROKERS", "x:1")},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, name := range []string{"KAFKA_BROKERS", "GOFLAGS", "GIT_DIR"} {
				t.Setenv(name, "")
				os.Unsetenv(name)
			}
			t.Setenv("GIT_CEILING_DIRECTORIES", os.TempDir())
			root := clone(t)
			c.spoil(t, root)
			all := slices.Collect(Examine(t.Context(), root))
			f := find(all, c.words)
			if f == nil || f.State != c.state || !strings.Contains(f.Mend, c.mend) || (c.mend == "") != (f.Mend == "") {
				t.Errorf("%+v in\n%+v", f, all)
			}
		})
	}
}

// Under Windows a clone on a disk of its own is slow, and tells nobody of changes.
func TestAWindowsDiskIsTold(t *testing.T) {
	t.Setenv("WSL_DISTRO_NAME", "Debian")
	if !windowsDisk("/mnt/c/clone") || windowsDisk("/home/me/clone") {
		t.Error("/mnt is Windows")
	}
	t.Setenv("WSL_DISTRO_NAME", "")
	if windowsDisk("/mnt/c/clone") {
		t.Error("an own disk of a Linux")
	}
}

func TestANewEnoughGoIsFine(t *testing.T) {
	if f := Version("go1.26.8", &modfile.Go{Version: "1.26.0"}); f.State != Fine {
		t.Errorf("%+v", f)
	}
}

func TestOnlyWhatIsBadSpoilsTheVerdict(t *testing.T) {
	var b strings.Builder
	if ok, err := Print(&b, slices.Values([]Finding{{Fine, "a", ""}, {Note, "b", "do c"}})); !ok || err != nil || b.String() != "ok    a\nnote  b\n      mend: do c\n" {
		t.Errorf("%v %v %q", ok, err, b.String())
	}
	if ok, _ := Print(&b, slices.Values([]Finding{{Bad, "a", ""}})); ok {
		t.Error("bad is not ok")
	}
}
