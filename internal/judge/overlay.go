package judge

import (
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// An overlay is the go command's view of files that are not there: path to the file that stands in for it.
type overlay struct {
	dir     string // where stand-ins with contents of their own are kept
	replace map[string]string
}

func newOverlay(dir string) *overlay { return &overlay{dir: dir, replace: map[string]string{}} }

// layAll lays the files of from (and of its folders that are no packages) under to, as far as keep wants them.
func (o *overlay) layAll(from, to string, keep func(rel string) bool) error {
	return filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		if d.IsDir() {
			if rel != "." && (d.Name() == "mistakes" || holdsGo(path)) {
				return fs.SkipDir
			}
			return nil
		}
		if keep(rel) {
			o.replace[filepath.Join(to, rel)] = path
		}
		return nil
	})
}

func holdsGo(dir string) bool {
	names, _ := filepath.Glob(filepath.Join(dir, "*.go"))
	return len(names) > 0
}

// laySpec lays a lesson's specifications, and the data that they embed, onto the answer in dir.
func (o *overlay) laySpec(l *Lesson, dir string) error {
	return o.layAll(l.kata(), dir, func(rel string) bool {
		return isTest(rel) || strings.HasPrefix(rel, "testdata"+string(filepath.Separator))
	})
}

// layMistake makes a package that exists in the overlay alone: the solution as the mistake has it, and the spec.
func (o *overlay) layMistake(l *Lesson, w *Wrong) error {
	dir := filepath.Join(l.solution(), "mistakes", w.Name)
	changed, err := w.apply(l.solution())
	if err != nil {
		return err
	}
	// The solution's own tests stay behind: only the specification judges a mistake.
	if err := o.layAll(l.solution(), dir, func(rel string) bool { return !isTest(rel) }); err != nil {
		return err
	}
	for name, text := range changed {
		if text == nil {
			delete(o.replace, filepath.Join(dir, name))
			continue
		}
		file := filepath.Join(o.dir, l.Name, w.Name, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(file, text, 0o644); err != nil {
			return err
		}
		o.replace[filepath.Join(dir, name)] = file
	}
	return o.laySpec(l, dir)
}

// write returns the file to give to -overlay.
func (o *overlay) write(name string) (string, error) {
	text, err := json.MarshalIndent(map[string]any{"Replace": o.replace}, "", "\t")
	if err != nil {
		return "", err
	}
	file := filepath.Join(o.dir, name)
	return file, os.WriteFile(file, text, 0o644)
}
