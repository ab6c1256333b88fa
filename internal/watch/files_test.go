package watch

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fsnotify/fsnotify"

	"github.com/kafka-katas/kafka-katas/internal/verdict"
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
	t.Run("told", func(t *testing.T) { // in real time: a save in two steps may be held up in between
		oneChange(t, Files{Dir: t.TempDir(), Quiet: 200 * time.Millisecond})
	})
	t.Run("polling", func(t *testing.T) {
		dir := t.TempDir()
		synctest.Test(t, func(t *testing.T) {
			oneChange(t, Files{Dir: dir, Poll: true, Every: 10 * time.Millisecond})
		})
	})
}

func oneChange(t *testing.T, files Files) {
	dir := files.Dir
	file := filepath.Join(dir, "a.go")
	save(t, file, "package a")
	ctx, stop := context.WithCancel(t.Context())
	changes := files.Watch(ctx)
	if files.Poll {
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
			t.Errorf("%s: %+v", name, c)
		}
	}
	save(t, file, "package a // the same")
	want(t, changes)
	save(t, file, "package a // the same")
	save(t, filepath.Join(dir, "notes.txt"), "x")
	save(t, filepath.Join(dir, ".#a.go"), "x")
	select {
	case c := <-changes:
		t.Errorf("nothing has changed: %+v", c)
	case <-time.After(2 * max(files.Quiet, 50*time.Millisecond)):
	}
	stop()
	for range changes {
	}
}

// An editor that writes in pieces, and formats what it has written, saves once: a change is told when it has been quiet for as
// long as it should.
func TestPiecesOfASaveAreOneChange(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "a.go")
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithCancel(t.Context())
		events := make(chan fsnotify.Event)
		changes := Files{Dir: dir, Quiet: 30 * time.Millisecond, notify: func(string) (*notifier, error) {
			return &notifier{events, nil, func() error { return nil }}, nil
		}}.Watch(ctx)
		told := func() (n int) {
			synctest.Wait()
			for {
				select {
				case <-changes:
					n++
				default:
					return n
				}
			}
		}
		for i := range 10 {
			save(t, file, "package a"+strings.Repeat("\n", i))
			events <- fsnotify.Event{Name: file, Op: fsnotify.Write}
			time.Sleep(29 * time.Millisecond)
			if n := told(); n != 0 {
				t.Errorf("%d changes while it is written", n)
			}
		}
		time.Sleep(time.Millisecond)
		if n := told(); n != 1 {
			t.Errorf("%d changes for one save", n)
		}
		events <- fsnotify.Event{Name: filepath.Join(dir, ".a.go.swp"), Op: fsnotify.Write}
		events <- fsnotify.Event{Name: file, Op: fsnotify.Chmod}
		time.Sleep(time.Second)
		if n := told(); n != 0 {
			t.Errorf("%d changes although the text is the same", n)
		}
		stop()
		synctest.Wait()
	})
}

// Whatever way the system fails to tell of saves, the files are looked at, no save is missed, and that is said with its reason.
func TestWhatIsNotToldIsLookedAt(t *testing.T) {
	var many = errors.New("too many open files: raise fs.inotify.max_user_instances")
	for name, c := range map[string]struct {
		says   string
		notify func(string) (*notifier, error)
		before string // says it before anything is saved; otherwise when it is found out
	}{
		"there is no notifier": {says: many.Error(), before: "yes", notify: func(string) (*notifier, error) { return nil, many }},
		"it fails later": {says: "queue or buffer overflow", before: "yes", notify: func(string) (*notifier, error) {
			failures := make(chan error, 1)
			failures <- fsnotify.ErrEventOverflow
			return &notifier{make(chan fsnotify.Event), failures, func() error { return nil }}, nil
		}},
		"it ends": {says: "the system stopped telling", before: "yes", notify: func(string) (*notifier, error) {
			events := make(chan fsnotify.Event)
			close(events)
			return &notifier{events, nil, func() error { return nil }}, nil
		}},
		"it tells nothing, as on a network disk": {says: "a change was not told by the system", notify: func(string) (*notifier, error) {
			return &notifier{make(chan fsnotify.Event), make(chan error), func() error { return nil }}, nil
		}},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, stop := context.WithCancel(t.Context())
			defer stop()
			dir := t.TempDir()
			file := filepath.Join(dir, "a.go")
			save(t, file, "package a")
			changes := Files{Dir: dir, Every: 10 * time.Millisecond, Check: 20 * time.Millisecond, notify: c.notify}.Watch(ctx)
			if c.before == "" {
				save(t, file, "package a // first")
			}
			if got := want(t, changes); !strings.Contains(got.Polling, c.says) {
				t.Errorf("%+v", got)
			}
			if c.before == "" {
				if got := want(t, changes); got.Polling != "" {
					t.Errorf("the save that gave it away is a save: %+v", got)
				}
			}
			save(t, file, "package a // second")
			if got := want(t, changes); got.Polling != "" {
				t.Errorf("%+v", got)
			}
		})
	}
}

// The same with a session's eyes: it is announced, and goes on.
func TestASessionSaysThatItLooksAtTheFiles(t *testing.T) {
	s := aSession(t, func(context.Context, verdict.Request) (*verdict.Verdict, error) { return redAt(1), nil })
	s.Files = Files{Every: 5 * time.Millisecond, notify: func(string) (*notifier, error) { return nil, errors.New("no inotify here") }}
	out := &paper{}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- Lines(ctx, s, nil, out) }()
	out.shows(t, "looking at the files again and again: no inotify here")
	out.shows(t, "lesson07 step 1 is red")
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// A Windows disk under WSL is not even asked.
func TestAWindowsDiskIsLookedAt(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("WSL is Linux")
	}
	t.Setenv("WSL_DISTRO_NAME", "Debian")
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	if got := want(t, Files{Dir: "/mnt/c/clone"}.Watch(ctx)); !strings.Contains(got.Polling, "a Windows disk") {
		t.Errorf("%+v", got)
	}
}

// A folder that is not there yet, or not any more, is looked for.
func TestAFolderThatIsNotThereIsLookedFor(t *testing.T) {
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
