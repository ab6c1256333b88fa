package desk

import (
	"io"
	"path/filepath"
	"strings"
	"time"

	"github.com/kafka-katas/kafka-katas/internal/history"
	"github.com/kafka-katas/kafka-katas/internal/lesson"
	"github.com/kafka-katas/kafka-katas/internal/reset"
)

// Latest is the lesson of the latest run, green or not; without a run it is the one to begin with.
func (d *Desk) Latest() (*lesson.Lesson, error) {
	if p := d.Book.Progress(); p.Current != "" {
		if l, err := lesson.Find(d.Root, p.Current); err == nil {
			return l, nil
		}
	}
	return d.Lesson("")
}

// Reset gives a lesson, or some files of it, the stub back and says where the backup is.
func (d *Desk) Reset(w io.Writer, asked string, files []string, dry bool) error {
	l, err := lesson.Find(d.Root, asked)
	if err != nil {
		return err
	}
	for i := range files {
		files[i] = filepath.Base(files[i])
	}
	plan, err := reset.Prepare(l, files...)
	if err != nil {
		return err
	}
	out := &printer{w: w}
	if len(plan.Write)+len(plan.Set) == 0 {
		out.f("%s is the stub already: nothing to do.\n", l.Name)
		return out.err
	}
	if dry {
		out.f("would restore: %s\n", strings.Join(plan.Write, ", "))
		if len(plan.Set) > 0 {
			out.f("would set aside, as your own: %s\n", strings.Join(plan.Set, ", "))
		}
		return out.err
	}
	done, err := reset.Do(l, plan, filepath.Join(d.Book.Dir(), "backups"), time.Now())
	if err != nil {
		return err
	}
	rel, relErr := filepath.Rel(d.Root, done.Backup)
	if relErr != nil {
		rel = done.Backup
	}
	if _, err := d.Book.Add(history.Run{Kind: "reset", By: "reset", Lesson: l.Name, Note: rel}); err != nil {
		out.f("(progress could not be noted: %v)\n", err)
	}
	if len(done.Restored) > 0 {
		out.f("restored   %s\n", strings.Join(done.Restored, ", "))
	}
	if len(done.Set) > 0 {
		out.f("set aside  %s\n", strings.Join(done.Set, ", "))
	}
	back := filepath.ToSlash(filepath.Join(rel, l.Name))
	out.f("backup     %s\n\nEverything that was there is in the backup. To have it again, from %s:\n  cp %s/*.go katas/%s/\n", back, d.Root, back, l.Name)
	return out.err
}
