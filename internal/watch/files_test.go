package watch

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// patience is how long a test waits for what must come. It is never waited for when all is well.
const patience = 2 * time.Minute

func save(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func mkdir(t *testing.T, dir string) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
}

func want(t *testing.T, changes <-chan Change) Change {
	t.Helper()
	select {
	case c := <-changes:
		return c
	case <-time.After(patience):
		t.Fatal("no change was told")
		return Change{}
	}
}

// Whatever way an editor saves, it is one change, and what has no effect on a Go file is none.
func TestASaveIsOneChange(t *testing.T) {
	for _, poll := range []bool{false, true} {
		dir := t.TempDir()
		file := filepath.Join(dir, "a.go")
		save(t, file, "package a")
		ctx, stop := context.WithCancel(t.Context())
		changes := Files{Dir: dir, Poll: poll, Every: 10 * time.Millisecond}.Watch(ctx)
		if poll {
			if c := want(t, changes); c.Polling != "as you asked" {
				t.Errorf("%+v", c)
			}
		}
		for name, edit := range map[string]func(){
			"written": func() { save(t, file, "package a // written") },
			"replaced by a rename": func() {
				save(t, filepath.Join(dir, ".a.go.swp"), "x")
				save(t, filepath.Join(dir, "a.go~"), "package a // renamed "+time.Now().String())
				os.Rename(filepath.Join(dir, "a.go~"), file)
			},
			"a new file":     func() { save(t, filepath.Join(dir, "b.go"), "package a") },
			"a file is gone": func() { os.Remove(filepath.Join(dir, "b.go")); save(t, filepath.Join(dir, "c.go"), "package a") },
		} {
			time.Sleep(5 * time.Millisecond) // let the watcher see the files as they were
			edit()
			if c := want(t, changes); c.Polling != "" {
				t.Errorf("%s (poll %v): %+v", name, poll, c)
			}
		}
		save(t, file, "package a // the same")
		want(t, changes)
		save(t, file, "package a // the same")
		save(t, filepath.Join(dir, "notes.txt"), "x")
		save(t, filepath.Join(dir, ".#a.go"), "x")
		select {
		case c := <-changes:
			t.Errorf("poll %v: nothing has changed: %+v", poll, c)
		case <-time.After(100 * time.Millisecond):
		}
		stop()
		for range changes {
		}
	}
}

// A file system that tells nothing is found out: the files are looked at, and that is said.
func TestWhatCannotBeWatchedIsLookedAt(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	dir := filepath.Join(t.TempDir(), "later")
	changes := Files{Dir: dir, Every: 10 * time.Millisecond}.Watch(ctx)
	if c := want(t, changes); !strings.Contains(c.Polling, "no such") && c.Polling == "" {
		t.Errorf("%+v", c)
	}
	os.Mkdir(dir, 0o755)
	save(t, filepath.Join(dir, "a.go"), "package a")
	want(t, changes)
}
