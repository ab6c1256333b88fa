// Package reset gives a lesson its stub back without losing anything of what was there.
//
// Whatever it does, it first copies the whole lesson into a folder of its own and reads the copy back. Then a file is
// replaced by two renames: the one that is there goes into the backup too, as it is at that moment, and the stub takes its
// place. So what an editor saves between the copy and the rename is kept as well, and there is no moment at which ending
// the tool, by kill -9 or by pulling the plug, loses work: at worst a stub is missing, and calling reset again brings it.
// git's index, commits and stashes are read and never written.
package reset

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/kafka-katas/kafka-katas/internal/lesson"
)

// Done is what a reset did.
type Done struct {
	Backup   string   // the folder; "" when there was nothing to do
	Restored []string // names of files that have the stub's text again
	Set      []string // names of the learner's own files that lie in the backup alone now
}

// A Plan is what a reset would do.
type Plan struct {
	Stub  map[string][]byte // the course's files, by name
	Write []string          // those that are not as they should be
	Set   []string          // the learner's own files, which the stub may not go together with
}

// Prepare finds the course's own text of the files (all that are no tests, if none are named) and compares.
func Prepare(l *lesson.Lesson, files ...string) (*Plan, error) {
	stub, err := Stub(l)
	if err != nil {
		return nil, err
	}
	p := &Plan{Stub: stub}
	mine, err := l.Files()
	if err != nil {
		return nil, err
	}
	for _, f := range files {
		if stub[f] == nil && !slices.Contains(mine, f) {
			return nil, fmt.Errorf("%s has no file %q; there is %s", l.Name, f, strings.Join(mine, ", "))
		}
	}
	wanted := func(name string) bool { return len(files) == 0 || slices.Contains(files, name) }
	for name, text := range stub {
		now, err := os.ReadFile(filepath.Join(l.Dir(), name))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		if wanted(name) && (err != nil || !bytes.Equal(now, text)) {
			p.Write = append(p.Write, name)
		}
	}
	for _, name := range mine {
		if stub[name] == nil && wanted(name) {
			p.Set = append(p.Set, name)
		}
	}
	slices.Sort(p.Write)
	return p, nil
}

// crash is called between all steps; tests end the process there.
var crash = func(string) {}

// Do carries the plan out. The backup goes into a new folder under backups.
func Do(l *lesson.Lesson, p *Plan, backups string, now time.Time) (*Done, error) {
	if len(p.Write)+len(p.Set) == 0 {
		return &Done{}, nil
	}
	dir, err := backup(l, backups, now)
	if err != nil {
		return nil, fmt.Errorf("nothing was changed, because the backup failed: %w", err)
	}
	d := &Done{Backup: dir, Restored: p.Write, Set: p.Set}
	replaced := filepath.Join(dir, "replaced")
	fresh := filepath.Join(dir, "stub")
	for _, dir := range []string{replaced, fresh} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			return nil, fmt.Errorf("nothing was changed: %w", err)
		}
	}
	for _, name := range p.Write { // all that can fail for want of space comes first
		if err := write(filepath.Join(fresh, name), p.Stub[name], 0o644); err != nil {
			return nil, fmt.Errorf("nothing was changed: %w", err)
		}
		crash("fresh")
	}
	for _, name := range slices.Concat(p.Set, p.Write) {
		at := filepath.Join(l.Dir(), name)
		err := os.Rename(at, filepath.Join(replaced, name))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return d, stopped(dir, err)
		}
		crash("away")
		if !slices.Contains(p.Write, name) {
			continue
		}
		// Link, unlike Rename, refuses to overwrite what an editor has written there just now.
		if err := put(filepath.Join(fresh, name), at); err != nil {
			return d, stopped(dir, err)
		}
		crash("put")
	}
	os.RemoveAll(fresh)
	return d, nil
}

func stopped(dir string, err error) error {
	return fmt.Errorf("%w; nothing is lost, everything that was there is in %s. Close the editor and reset again", err, dir)
}

// put moves a file to a place where there must be none.
func put(from, to string) error {
	err := os.Link(from, to)
	switch {
	case err == nil:
		return os.Remove(from)
	case errors.Is(err, fs.ErrExist):
		return fmt.Errorf("%s was written while it was reset", to)
	}
	if _, err := os.Lstat(to); err == nil { // a file system without links
		return fmt.Errorf("%s was written while it was reset", to)
	}
	return os.Rename(from, to)
}

// backup copies the lesson's folder, all of it, into a new folder, and reads it back.
func backup(l *lesson.Lesson, backups string, now time.Time) (string, error) {
	if err := os.MkdirAll(backups, 0o755); err != nil {
		return "", err
	}
	base := filepath.Join(backups, l.Name+"-"+now.Format("2006-01-02T150405"))
	dir, n := base, 1
	for {
		err := os.Mkdir(dir, 0o755)
		if err == nil {
			break
		}
		if !errors.Is(err, fs.ErrExist) {
			return "", err
		}
		n++
		dir = fmt.Sprintf("%s-%d", base, n)
	}
	to := filepath.Join(dir, l.Name)
	var mu sync.Mutex
	var copies sync.WaitGroup
	var failed error
	slots := make(chan struct{}, 16)
	err := filepath.WalkDir(l.Dir(), func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(l.Dir(), path)
		if err != nil {
			return err
		}
		if e.IsDir() {
			return os.MkdirAll(filepath.Join(to, rel), 0o755)
		}
		if e.Type()&fs.ModeSymlink == 0 && !e.Type().IsRegular() {
			return nil // a pipe or a socket holds no work
		}
		crash("copy")
		slots <- struct{}{}
		copies.Go(func() { // side by side: a disk confirms many files in the time of one
			defer func() { <-slots }()
			if err := copyFile(path, filepath.Join(to, rel)); err != nil {
				mu.Lock()
				failed = errors.Join(failed, err)
				mu.Unlock()
			}
		})
		return nil
	})
	copies.Wait()
	return dir, errors.Join(err, failed)
}

func copyFile(from, to string) error {
	text, err := os.ReadFile(from) // through a symbolic link too: its text is what counts
	if err != nil {
		return err
	}
	info, err := os.Stat(from)
	if err != nil {
		return err
	}
	if err := write(to, text, info.Mode().Perm()); err != nil {
		return err
	}
	back, err := os.ReadFile(to)
	if err == nil && !bytes.Equal(back, text) {
		err = fmt.Errorf("%s does not read back as it was written", to)
	}
	return err
}

func write(name string, text []byte, mode fs.FileMode) error {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, mode|0o200)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}
