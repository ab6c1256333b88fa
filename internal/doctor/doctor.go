// Package doctor looks at the machine that the course is to run on, and says what is wrong with it and which command
// mends it.
package doctor

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"go/version"
	"io"
	"iter"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"runtime"
	"strings"

	"golang.org/x/mod/modfile"
)

// A State is how a finding is to be taken.
type State string

// States.
const (
	Fine State = "ok"   // nothing to do
	Note State = "note" // the course works, and something is missing that is nice to have
	Bad  State = "bad"  // the course does not work like this
)

// A Finding is the result of one look.
type Finding struct {
	State State  `json:"state"`
	What  string `json:"what"`
	Mend  string `json:"mend,omitempty"` // the command, or what to do
}

// Examine looks at everything, side by side, and tells each finding as soon as those before it are told. It changes nothing.
func Examine(ctx context.Context, root string) iter.Seq[Finding] {
	return func(yield func(Finding) bool) {
		e := &exam{ctx: ctx, root: root}
		first := e.goCommand()
		if !yield(first) || first.State == Bad {
			return
		}
		looks := []func() Finding{e.flags, e.modules, e.race, e.editor, e.git, e.place, e.interrupted, e.cluster}
		found := make([]chan Finding, len(looks))
		for i, look := range looks {
			found[i] = make(chan Finding, 1)
			go func() { found[i] <- look() }()
		}
		for _, f := range found {
			if !yield(<-f) {
				return
			}
		}
	}
}

// Print writes the findings as they come and returns whether the course can run.
func Print(w io.Writer, all iter.Seq[Finding]) (ok bool, err error) {
	ok = true
	for f := range all {
		text := fmt.Sprintf("%-5s %s\n", f.State, f.What)
		if f.Mend != "" {
			text += fmt.Sprintf("      mend: %s\n", f.Mend)
		}
		ok = ok && f.State != Bad
		if _, err := io.WriteString(w, text); err != nil {
			return ok, err
		}
	}
	return ok, nil
}

type exam struct {
	ctx  context.Context
	root string
	env  map[string]string
}

func (e *exam) command(name string, args ...string) (string, error) {
	cmd := exec.CommandContext(e.ctx, name, args...)
	cmd.Dir = e.root
	var out, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &stderr
	err := cmd.Run()
	if err != nil {
		return strings.TrimSpace(stderr.String()), err
	}
	return strings.TrimSpace(out.String()), nil
}

func (e *exam) goCommand() Finding {
	if _, err := exec.LookPath("go"); err != nil {
		return Finding{Bad, "there is no go command in PATH", "install Go, https://go.dev/dl, and open a new terminal"}
	}
	text, err := os.ReadFile(filepath.Join(e.root, "go.mod"))
	if err != nil {
		return Finding{Bad, err.Error(), "run this in a clone of the course"}
	}
	mod, err := modfile.ParseLax("go.mod", text, nil)
	if err != nil {
		return Finding{Bad, err.Error(), "git checkout go.mod"}
	}
	out, err := e.command("go", "env", "-json", "GOVERSION", "GOFLAGS", "GOMODCACHE", "GOCACHE", "CGO_ENABLED", "CC", "GOWORK")
	if err == nil {
		err = json.Unmarshal([]byte(out), &e.env)
	}
	if err != nil {
		out, _, _ = strings.Cut(cmp.Or(out, err.Error()), "\n")
		return Finding{Bad, "the go command does not run: " + out, "install Go anew, https://go.dev/dl (an old one that may fetch the right one: go env -u GOTOOLCHAIN)"}
	}
	return Version(e.env["GOVERSION"], mod.Go)
}

// Version compares the Go that there is with what go.mod asks for.
func Version(has string, wants *modfile.Go) Finding {
	if wants != nil && version.Compare(has, "go"+wants.Version) < 0 {
		return Finding{Bad, fmt.Sprintf("Go is %s, and the course needs %s", has, wants.Version), "go env -u GOTOOLCHAIN, which lets go fetch it; or https://go.dev/dl"}
	}
	return Finding{State: Fine, What: fmt.Sprintf("Go is %s on %s/%s", has, runtime.GOOS, runtime.GOARCH)}
}

func (e *exam) flags() Finding {
	switch flags := e.env["GOFLAGS"]; {
	case strings.Contains(flags, "-overlay"):
		return Finding{Bad, "GOFLAGS has -overlay, which breaks gopls and the judge", "go env -u GOFLAGS"}
	case strings.Contains(flags, "-mod=vendor"):
		return Finding{Bad, "GOFLAGS has -mod=vendor, and there is no vendor folder", "go env -u GOFLAGS"}
	}
	if w := e.env["GOWORK"]; w != "" && w != "off" {
		return Finding{Note, "a workspace is in use, " + w + ": it may choose other versions", "GOWORK=off, or move the clone out of it"}
	}
	return Finding{State: Fine, What: "GOFLAGS and GOWORK leave the course alone"}
}

// modules lists what a lesson is built from, which fails for whatever is not in the module cache and cannot be fetched.
func (e *exam) modules() Finding {
	out, err := e.command("go", "list", "-deps", "-test", "-tags=synctests", "./katas/...", "./harness")
	if err != nil {
		lines := strings.Split(out, "\n")
		switch {
		case strings.Contains(out, "parsing go.mod") && len(lines) > 1:
			return Finding{Bad, "go.mod cannot be read: " + lines[1], "git diff go.mod shows what was changed, git checkout go.mod takes it back"}
		case strings.Contains(out, "checksum mismatch"):
			return Finding{Bad, "the module cache is damaged: " + lines[0], "go clean -modcache && go mod download"}
		}
		return Finding{Bad, "the lessons' packages cannot be loaded: " + lines[0], "go mod download (behind a firewall: set GOPROXY first)"}
	}
	if dir := e.env["GOCACHE"]; dir != "" {
		if err := writable(dir); err != nil {
			return Finding{Bad, "the build cache cannot be written: " + err.Error(), "export GOCACHE=$HOME/.cache/go-build, or mend the permissions of " + dir}
		}
	}
	return Finding{State: Fine, What: fmt.Sprintf("the %d packages that lessons are built from are there", len(strings.Fields(out)))}
}

func writable(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, ".kata-*")
	if err != nil {
		return err
	}
	err = errors.Join(f.Close(), os.Remove(f.Name()))
	_ = os.Remove(dir) // unless something is in it: who looks changes nothing
	return err
}

func (e *exam) race() Finding {
	const what = "the race detector does not work here: "
	mend := "install a C compiler (Debian: apt install gcc, macOS: xcode-select --install); all but -race works without"
	if e.env["CGO_ENABLED"] == "0" {
		return Finding{Note, what + "CGO_ENABLED is 0", "go env -u CGO_ENABLED; " + mend}
	}
	cc := strings.Fields(e.env["CC"])
	if len(cc) == 0 {
		return Finding{Note, what + "there is no C compiler", mend}
	}
	if _, err := exec.LookPath(cc[0]); err != nil {
		return Finding{Note, what + "there is no " + cc[0], mend}
	}
	return Finding{State: Fine, What: "the race detector has its C compiler, " + cc[0]}
}

// editor looks for the build tag in the settings of editors that keep them in the clone.
func (e *exam) editor() Finding {
	found := ""
	for _, s := range []struct{ name, file string }{
		{"VS Code", ".vscode/settings.json"}, {"Helix", ".helix/languages.toml"}, {"Zed", ".zed/settings.json"},
		{"Neovim", ".nvim.lua"}, {"GoLand", ".idea/workspace.xml"},
	} {
		text, err := os.ReadFile(filepath.Join(e.root, filepath.FromSlash(s.file)))
		if err != nil {
			continue
		}
		if !bytes.Contains(text, []byte("synctests")) {
			mend := "CONTRIBUTING.md, \"Editors\", has the lines for " + s.name
			if s.name == "VS Code" {
				mend = "git checkout .vscode/settings.json"
			}
			return Finding{Note, fmt.Sprintf("%s does not set the build tag synctests: in its debugger, virtual time can stand still", s.file), mend}
		}
		found = s.name
	}
	if found == "" {
		return Finding{Note, "no editor's settings here set the build tag synctests", "CONTRIBUTING.md, \"Editors\", has the lines for yours"}
	}
	return Finding{State: Fine, What: found + " sets the build tag synctests"}
}

func (e *exam) git() Finding {
	if _, err := exec.LookPath("git"); err != nil {
		return Finding{Note, "there is no git command: kata reset cannot find the stubs", "install git"}
	}
	if out, err := e.command("git", "rev-parse", "--is-shallow-repository"); err != nil {
		return Finding{Note, "this folder is no git clone: kata reset cannot find the stubs", "clone the course by git"}
	} else if out == "true" {
		return Finding{Note, "the clone is shallow; kata reset needs the commit that brought the stubs", "git fetch --unshallow"}
	}
	if _, err := e.command("git", "check-ignore", "-q", ".katas/progress.json"); err != nil {
		return Finding{Note, "git does not ignore .katas/, where progress is kept", "echo /.katas/ >> .gitignore"}
	}
	return Finding{State: Fine, What: "git is there, and ignores .katas/"}
}

func (e *exam) place() Finding {
	if err := writable(filepath.Join(e.root, ".katas")); err != nil {
		return Finding{Note, "progress cannot be kept: " + err.Error(), "mend the permissions of " + filepath.Join(e.root, ".katas")}
	}
	if runtime.GOOS == "linux" && windowsDisk(e.root) {
		return Finding{Note, "the clone is on a Windows disk: building is slow, and kata watch must look at the files again and again", "clone into your Linux home"}
	}
	return Finding{State: Fine, What: "progress is kept in " + filepath.Join(e.root, ".katas")}
}

// interrupted finds a reset that was killed: what it was about to bring lies beside the backup, in stub, until it has succeeded.
func (e *exam) interrupted() Finding {
	left, _ := filepath.Glob(filepath.Join(e.root, ".katas", "backups", "*", "stub"))
	if len(left) == 0 {
		return Finding{State: Fine, What: "no reset was interrupted"}
	}
	dir, err := filepath.Rel(e.root, left[len(left)-1])
	if err != nil {
		dir = left[len(left)-1]
	}
	dir = filepath.ToSlash(dir)
	lesson, _, _ := strings.Cut(path.Base(path.Dir(dir)), "-")
	return Finding{Note, fmt.Sprintf("a reset of %s was interrupted; nothing is lost, all that was there is in %s", lesson, path.Dir(dir)),
		fmt.Sprintf("cp -n %s/*.go katas/%s/; rm -r %s", dir, lesson, dir)}
}

// windowsDisk tells that a folder of a Linux under Windows lies outside of it.
func windowsDisk(root string) bool {
	return os.Getenv("WSL_DISTRO_NAME") != "" && strings.HasPrefix(root, "/mnt/")
}

func (e *exam) cluster() Finding {
	if b := os.Getenv("KAFKA_BROKERS"); b != "" {
		return Finding{Note, "KAFKA_BROKERS is set: stories are told on " + b + ", in real time", "unset KAFKA_BROKERS"}
	}
	return Finding{State: Fine, What: "stories are told on the Kafka in memory"}
}
