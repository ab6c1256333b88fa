package watch

import (
	"context"
	"crypto/sha256"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/fsnotify/fsnotify"
)

// Files tells when a folder's Go files have changed.
type Files struct {
	Dir  string
	Poll bool // look at the files again and again instead of waiting to be told

	// For tests; zero values are sensible.
	Quiet time.Duration // a save is over when nothing has happened for this long
	Every time.Duration // between looks, when polling
	Check time.Duration // between looks, when told: whether everything was told

	notify func(dir string) (*notifier, error) // nil for the system's
}

// notifier tells of what happens in a folder.
type notifier struct {
	events <-chan fsnotify.Event
	errors <-chan error
	close  func() error
}

func system(dir string) (*notifier, error) {
	w, err := fsnotify.NewWatcher()
	if err != nil {
		return nil, err
	}
	if err := w.Add(dir); err != nil {
		w.Close()
		return nil, err
	}
	return &notifier{w.Events, w.Errors, w.Close}, nil
}

// A Change is a save, or news of how saves are noticed.
type Change struct {
	Polling string // not "": from now on the files are looked at again and again, for this reason
}

// Watch sends a change for each save until ctx ends. What has no effect on the text of a Go file is none; several writes in
// quick succession are one. Where the system does not tell of changes (a network file system, a Windows disk under
// WSL), it looks by itself, and says so.
func (f Files) Watch(ctx context.Context) <-chan Change {
	out := make(chan Change, 1)
	f.Quiet, f.Every, f.Check = or(f.Quiet, 5*time.Millisecond), or(f.Every, 300*time.Millisecond), or(f.Check, 2*time.Second)
	// From here on nothing is missed: what is saved after this call is a change.
	var told *notifier
	why := ""
	switch {
	case f.Poll:
		why = "as you asked"
	case runtime.GOOS == "linux" && os.Getenv("WSL_DISTRO_NAME") != "" && strings.HasPrefix(f.Dir, "/mnt/"):
		why = "a Windows disk does not tell Linux of changes"
	default:
		if f.notify == nil {
			f.notify = system
		}
		var err error
		if told, err = f.notify(f.Dir); err != nil {
			told, why = nil, err.Error()
		}
	}
	go f.watch(ctx, out, told, why, f.look())
	return out
}

func or(d, otherwise time.Duration) time.Duration {
	if d > 0 {
		return d
	}
	return otherwise
}

func (f Files) watch(ctx context.Context, out chan<- Change, told *notifier, why, seen string) {
	defer close(out)
	send := func(c Change) {
		select {
		case out <- c:
		case <-ctx.Done():
		}
	}
	var events <-chan fsnotify.Event
	var failures <-chan error
	if told != nil {
		defer told.close()
		events, failures = told.events, told.errors
	}
	every := f.Check
	if why != "" {
		send(Change{Polling: why})
		every = f.Every
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	poll := func(why string) {
		send(Change{Polling: why})
		events, failures = nil, nil
		tick.Reset(f.Every)
	}
	quiet := time.NewTimer(0)
	<-quiet.C
	waiting, suspected, pending := false, false, ""
	for {
		select {
		case <-ctx.Done():
			return
		case e, ok := <-events:
			if !ok {
				poll("the system stopped telling of changes")
				continue
			}
			if goFile(filepath.Base(e.Name)) || e.Name == f.Dir {
				waiting = true
				quiet.Reset(f.Quiet)
			}
			if suspected {
				suspected = false
				tick.Reset(f.Check)
			}
		case err := <-failures:
			poll(fmt.Sprint(err))
		case <-quiet.C:
			now := f.look()
			if events == nil && now != pending { // it is still being written
				pending = now
				quiet.Reset(f.Quiet)
				continue
			}
			waiting = false
			if now != seen {
				seen = now
				send(Change{})
			}
		case <-tick.C:
			if waiting {
				continue
			}
			now := f.look()
			if now == seen {
				continue
			}
			if events != nil {
				if !suspected { // it may be told in a moment
					suspected = true
					tick.Reset(f.Every)
					continue
				}
				poll("a change was not told by the system")
			}
			waiting, pending = true, now
			quiet.Reset(f.Quiet)
		}
	}
}

// goFile leaves out what editors put beside a file while they save it.
func goFile(name string) bool {
	return strings.HasSuffix(name, ".go") && !strings.HasPrefix(name, ".") && !strings.HasPrefix(name, "#")
}

// look is a print of the names and texts of the Go files.
func (f Files) look() string {
	entries, err := os.ReadDir(f.Dir)
	if err != nil {
		return ""
	}
	sum := sha256.New()
	for _, e := range entries {
		if goFile(e.Name()) && e.Type()&fs.ModeDir == 0 {
			fmt.Fprintf(sum, "%s\x00", e.Name())
			addFile(sum, filepath.Join(f.Dir, e.Name()))
		}
	}
	return string(sum.Sum(nil))
}

func addFile(sum hash.Hash, name string) {
	if file, err := os.Open(name); err == nil {
		n, _ := io.Copy(sum, file)
		fmt.Fprintf(sum, "\x00%d\x00", n)
		file.Close()
	}
}
