package reset

import (
	"bytes"
	"errors"
	"fmt"
	"os/exec"
	"path"
	"slices"
	"strings"
	"sync"

	"github.com/kafka-katas/kafka-katas/internal/lesson"
)

// Stub finds the course's own text of a lesson's files in git's history. The learner may have committed an answer, so
// the newest text is not the one that is looked for. It is the newest one by somebody who writes the course: who has
// changed the lesson's README or specifications. Where the learner is one of them, as in a copy of the course that was
// committed anew, it is the one with the most marks of something that is not written yet; what never had one is given, and
// part of the course, if the solution has such a file too.
func Stub(l *lesson.Lesson) (map[string][]byte, error) {
	g := git(l.Root)
	if _, err := exec.LookPath("git"); err != nil {
		return nil, errors.New("the stub is kept in git's history, and there is no git command here: install git, or copy the files from a fresh download of the course")
	}
	dir := "katas/" + l.Name
	var prefix, log, me []byte
	var noClone, noLog error
	var asked sync.WaitGroup
	asked.Go(func() { prefix, noClone = g(nil, "rev-parse", "--show-prefix") })
	asked.Go(func() { me, _ = g(nil, "config", "user.email") }) // who commits here
	// One look at all of the lesson's history: to ask for each file took a third of a second.
	log, noLog = g(nil, "log", "--raw", "-z", "-c", "--no-abbrev", "--no-renames", "--format=tformat:"+header+"%ae", "--", dir)
	asked.Wait()
	switch {
	case noClone != nil:
		return nil, fmt.Errorf("the stub is kept in git's history, and this folder is no clone: copy the files from a fresh download of the course (%w)", noClone)
	case noLog != nil:
		return nil, noLog
	}
	past := read(string(log), strings.TrimSpace(string(prefix))+dir+"/")
	own := past.writers[strings.TrimSpace(string(me))]
	var wanted []string
	for _, texts := range past.files {
		if !own {
			texts = texts[:min(1, len(texts))]
		}
		wanted = append(wanted, texts...)
	}
	texts, err := blobs(g, wanted)
	if err != nil {
		return nil, err
	}
	solution, _ := l.SolutionFiles()
	stubs := map[string][]byte{}
	for name, versions := range past.files {
		newest := texts[versions[0]]
		if !own {
			stubs[name] = newest
		} else if text := mostMarks(versions, texts); text != nil {
			stubs[name] = text
		} else if slices.Contains(solution, name) {
			stubs[name] = newest
		}
	}
	if len(stubs) == 0 {
		return nil, fmt.Errorf("git's history has no stub of %s: fetch the course's commits (git fetch --unshallow)", l.Name)
	}
	return stubs, nil
}

// mostMarks is the version that has the most of them, the newest of these; nil when none has any.
func mostMarks(versions []string, texts map[string][]byte) (best []byte) {
	most := 0
	for _, v := range versions {
		if n := marks(texts[v]); n > most {
			best, most = texts[v], n
		}
	}
	return best
}

// marks counts what guides in a stub.
func marks(text []byte) int {
	return bytes.Count(text, []byte("// TODO")) + bytes.Count(text, []byte("is not written yet"))
}

// header begins what git log prints of a commit; no path begins so.
const header = "\x01"

// past is what git knows of a lesson.
type past struct {
	writers map[string]bool     // who writes the course, by address
	files   map[string][]string // by name, the objects that the course's writers made, newest first, since it was last taken away
}

type change struct{ author, name, object string }

// read takes in what git log --raw -z prints: for each commit its header, and for each file ":modes objects status", NUL and
// the path; a merge has a mode and an object more for each parent, and a colon.
func read(log, dir string) past {
	p := past{writers: map[string]bool{}, files: map[string][]string{}}
	var changes []change
	author := ""
	fields := strings.Split(log, "\x00")
	for i := 0; i < len(fields); i++ {
		field := strings.TrimLeft(fields[i], "\n")
		if a, ok := strings.CutPrefix(field, header); ok {
			author = a
			continue
		}
		if !strings.HasPrefix(field, ":") || i+1 == len(fields) {
			continue
		}
		words := strings.Fields(strings.TrimLeft(field, ":"))
		i++
		name := path.Base(fields[i])
		if fields[i] != dir+name || len(words) < 3 {
			continue // of a folder inside
		}
		if name == "README.md" || strings.HasSuffix(name, "_test.go") {
			p.writers[author] = true
		} else if strings.HasSuffix(name, ".go") {
			changes = append(changes, change{author, name, words[len(words)-2]})
		}
	}
	gone := map[string]bool{}
	for _, c := range changes {
		switch {
		case !p.writers[c.author] || gone[c.name]:
		case strings.Trim(c.object, "0") == "":
			gone[c.name] = true // what was before it is no part of the course
		default:
			p.files[c.name] = append(p.files[c.name], c.object)
		}
	}
	return p
}

// blobs are the texts of objects.
func blobs(g command, objects []string) (map[string][]byte, error) {
	slices.Sort(objects)
	objects = slices.Compact(objects)
	out, err := g([]byte(strings.Join(objects, "\n")+"\n"), "cat-file", "--batch=%(objectsize)")
	if err != nil {
		return nil, err
	}
	texts := map[string][]byte{}
	for _, object := range objects {
		line, rest, _ := bytes.Cut(out, []byte("\n"))
		size := 0
		if _, err := fmt.Sscan(string(line), &size); err != nil || size >= len(rest) {
			return nil, fmt.Errorf("git has lost a text of the stub (%s): git fsck says what is wrong with this clone", object)
		}
		texts[object], out = rest[:size:size], rest[size+1:]
	}
	return texts, nil
}

type command func(stdin []byte, args ...string) ([]byte, error)

func git(dir string) command {
	return func(stdin []byte, args ...string) ([]byte, error) {
		cmd := exec.Command("git", append([]string{"-c", "core.quotePath=false"}, args...)...)
		cmd.Dir = dir
		cmd.Stdin = bytes.NewReader(stdin)
		out, err := cmd.Output()
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			return out, fmt.Errorf("git %s: %s", args[0], strings.TrimSpace(string(exit.Stderr)))
		}
		return out, err
	}
}
