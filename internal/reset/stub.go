package reset

import (
	"bytes"
	"errors"
	"fmt"
	"os/exec"
	"path"
	"slices"
	"strings"

	"github.com/kafka-katas/kafka-katas/internal/lesson"
)

// Stub finds the course's own text of a lesson's files in git's history. The learner may have committed an answer, so
// the newest text is not the one that is looked for. It is the newest one by somebody who writes the course: who has
// changed the lesson's README or specifications. Where the learner is one of them, as in a copy of the course that was
// committed anew, it is the one with the most marks of something that is not written yet.
func Stub(l *lesson.Lesson) (map[string][]byte, error) {
	g := git(l.Root)
	if _, err := exec.LookPath("git"); err != nil {
		return nil, errors.New("the stub is kept in git's history, and there is no git command here: install git, or copy the files from a fresh download of the course")
	}
	dir := "katas/" + l.Name
	prefix, err := g("rev-parse", "--show-prefix")
	if err != nil {
		return nil, fmt.Errorf("the stub is kept in git's history, and this folder is no clone: copy the files from a fresh download of the course (%w)", err)
	}
	top := strings.TrimSpace(string(prefix))
	writers, err := authors(g, dir+"/README.md", dir+"/*_test.go")
	if err != nil {
		return nil, err
	}
	// The identity that commits here.
	me, _ := g("config", "user.email")
	own := slices.Contains(writers, strings.TrimSpace(string(me)))
	names, err := g("log", "--format=", "--name-only", "--diff-filter=A", "--no-renames", "--", dir+"/*.go")
	if err != nil {
		return nil, err
	}
	out := map[string][]byte{}
	seen := map[string]bool{}
	for line := range strings.Lines(string(names)) {
		name := path.Base(strings.TrimSpace(line))
		if strings.TrimSpace(line) != top+dir+"/"+name || strings.HasSuffix(name, "_test.go") || seen[name] {
			continue
		}
		seen[name] = true
		text, err := newestStub(g, top, dir+"/"+name, writers, own)
		if err != nil {
			return nil, err
		}
		if text != nil {
			out[name] = text
		}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("git's history has no stub of %s: fetch the course's commits (git fetch --unshallow)", l.Name)
	}
	return out, nil
}

type command func(args ...string) ([]byte, error)

func git(dir string) command {
	return func(args ...string) ([]byte, error) {
		cmd := exec.Command("git", append([]string{"-c", "core.quotePath=false"}, args...)...)
		cmd.Dir = dir
		out, err := cmd.Output()
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			return out, fmt.Errorf("git %s: %s", args[0], strings.TrimSpace(string(exit.Stderr)))
		}
		return out, err
	}
}

func authors(g command, paths ...string) ([]string, error) {
	out, err := g(append([]string{"log", "--format=%ae", "--"}, paths...)...)
	return strings.Fields(string(out)), err
}

// newestStub is nil for a file that was never part of the course, or is not any more.
func newestStub(g command, top, file string, writers []string, own bool) ([]byte, error) {
	out, err := g("log", "--format=%H %ae", "--", file)
	if err != nil {
		return nil, err
	}
	var best []byte
	most := 0
	for line := range strings.Lines(string(out)) {
		commit, author, _ := strings.Cut(strings.TrimSpace(line), " ")
		if !slices.Contains(writers, author) {
			continue
		}
		text, err := g("show", commit+":"+top+file)
		if err != nil {
			return best, nil // this commit took it away: what was before it is no part of the course
		}
		if !own {
			return text, nil
		}
		if n := marks(text); n > most {
			best, most = text, n
		}
	}
	return best, nil
}

// marks counts what guides in a stub.
func marks(text []byte) int {
	return bytes.Count(text, []byte("// TODO")) + bytes.Count(text, []byte("is not written yet"))
}
