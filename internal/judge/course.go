package judge

import (
	"errors"
	"fmt"
	"go/scanner"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// A Course is a module with katas/lessonNN and solutions/lessonNN.
type Course struct {
	Root    string // absolute
	Lessons []*Lesson
	Notes   []string // what is there and is not judged, and why
}

// A Lesson is one kata with its answer.
type Lesson struct {
	Name     string // "lesson07"
	Specs    []Specification
	Mistakes []*Wrong

	root     string
	broken   []Broken // found while reading
	caughtBy map[string]bool
}

func (l *Lesson) kata() string     { return filepath.Join(l.root, "katas", l.Name) }
func (l *Lesson) solution() string { return filepath.Join(l.root, "solutions", l.Name) }

// Package patterns are relative to the root, with slashes, as the go command wants them.
func (l *Lesson) kataPattern() string     { return "./katas/" + l.Name }
func (l *Lesson) solutionPattern() string { return "./solutions/" + l.Name }
func (l *Lesson) mistakePattern(w *Wrong) string {
	return l.solutionPattern() + "/mistakes/" + w.Name
}

func (l *Lesson) breaks(law Law, b Broken) {
	b.Lesson, b.Law, b.Name = l.Name, law, law.String()
	if b.Again == "" {
		b.Again = fmt.Sprintf("go tool kata check %s --law %d", l.Name, law)
	}
	l.broken = append(l.broken, b)
}

// spec finds a specification by name.
func (l *Lesson) spec(name string) *Specification {
	i := slices.IndexFunc(l.Specs, func(s Specification) bool { return s.Name == name })
	if i < 0 {
		return nil
	}
	return &l.Specs[i]
}

// FindRoot is the nearest directory at or above dir that holds a go.mod.
func FindRoot(dir string) (string, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	for at := dir; ; at = filepath.Dir(at) {
		if _, err := os.Stat(filepath.Join(at, "go.mod")); err == nil {
			return at, nil
		}
		if at == filepath.Dir(at) {
			return "", fmt.Errorf("%s is not inside a Go module: run this in a clone of the course", dir)
		}
	}
}

var (
	lessonName  = regexp.MustCompile(`^lesson\d\d$`)
	errNoLesson = errors.New("no such lesson")
)

// Open reads the course at root: the lessons asked for, or all of them. A lesson is named "lesson07", "07" or "7".
func Open(root string, asked ...string) (*Course, error) {
	root, err := filepath.Abs(root)
	if err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(filepath.Join(root, "katas"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	c := &Course{Root: root}
	var there []string
	for _, e := range entries {
		if e.IsDir() && lessonName.MatchString(e.Name()) {
			there = append(there, e.Name())
		}
	}
	names, err := pick(there, asked)
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		l := &Lesson{Name: name, root: root}
		var syntax scanner.ErrorList
		switch err := l.readSpecs(); {
		case errors.As(err, &syntax):
			l.breaks(Spec, Broken{Subject: name, Expected: "a spec that is Go", Got: strings.ReplaceAll(err.Error(), l.kata()+string(filepath.Separator), "")})
			c.Lessons = append(c.Lessons, l)
			continue
		case err != nil:
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		if len(l.Specs) == 0 {
			c.Notes = append(c.Notes, name+" has no specification yet and is not judged")
			continue
		}
		if _, err := os.Stat(l.solution()); err != nil {
			l.breaks(Solution, Broken{Subject: name, Expected: "an answer in solutions/" + name, Got: "no such directory"})
			c.Lessons = append(c.Lessons, l)
			continue
		}
		if err := l.readMistakes(); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		c.Lessons = append(c.Lessons, l)
	}
	return c, nil
}

func pick(there, asked []string) ([]string, error) {
	if len(asked) == 0 {
		return there, nil
	}
	var out []string
	for _, a := range asked {
		name := "lesson" + fmt.Sprintf("%02s", strings.TrimPrefix(a, "lesson"))
		if !slices.Contains(there, name) {
			return nil, fmt.Errorf("%w as %q; there is: %s", errNoLesson, a, orNone(there))
		}
		if !slices.Contains(out, name) {
			out = append(out, name)
		}
	}
	return out, nil
}

func orNone(list []string) string {
	if len(list) == 0 {
		return "none"
	}
	return strings.Join(list, ", ")
}

// answered are the lessons that have a solution.
func (c *Course) answered() []*Lesson {
	var out []*Lesson
	for _, l := range c.Lessons {
		if l.caughtBy != nil {
			out = append(out, l)
		}
	}
	return out
}
