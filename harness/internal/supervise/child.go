package supervise

import (
	"bufio"
	"encoding/json"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"syscall"
	"time"
)

// statusEnv names the file in which a child keeps its parent informed. It marks a process as a child.
const statusEnv = "KATA_SUPERVISED"

// A note is one line of the status file.
type note struct {
	Do      string // "start", "end", "broken", "give up", "scratch", "done"
	Test    string `json:",omitempty"`
	At      time.Time
	Failed  bool   `json:",omitempty"`
	Verdict string `json:",omitempty"`
	Text    string `json:",omitempty"`
}

var child struct {
	sync.Mutex
	status  *os.File // nil in a process that nobody supervises
	running []string
	failed  []string
}

// beChild takes up the work of a child. The variable goes, so that what the tests start is not taken for one.
func beChild(status string) error {
	os.Unsetenv(statusEnv)
	for _, n := range readNotes(status) {
		if n.Do == "end" && n.Failed || n.Do == "broken" {
			child.failed = append(child.failed, n.Test)
		}
	}
	f, err := os.OpenFile(status, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	child.status = f
	// A recursion without end is as sure at 64 MB as at the usual 1 GB, and seconds earlier.
	debug.SetMaxStack(64 << 20)
	parent := os.Getppid()
	go func() {
		for range time.Tick(time.Second) {
			if orphaned(parent) {
				syscall.Exit(1)
			}
		}
	}()
	return nil
}

// Supervised tells that this process is the child of a supervising one.
func Supervised() bool { return child.status != nil }

// Begin says that a test starts. If the process ends before End, that test is the one that broke.
func Begin(test string) {
	child.Lock()
	defer child.Unlock()
	child.running = append(child.running, test)
	tell(note{Do: "start", Test: test})
}

// End says that a test has its verdict and need not run in another child.
func End(test string, failed bool) {
	child.Lock()
	defer child.Unlock()
	for i, name := range child.running {
		if name == test {
			child.running = append(child.running[:i:i], child.running[i+1:]...)
			break
		}
	}
	tell(note{Do: "end", Test: test, Failed: failed})
}

// Failed are the tests that failed, or broke their process, in earlier children of this run. What depends on earlier
// tests of the run, such as skipping the steps after a red one, must ask here too.
func Failed() []string {
	child.Lock()
	defer child.Unlock()
	return append([]string(nil), child.failed...)
}

// GiveUp ends a child at once with a verdict on a test; the parent reports it with the text, which may have many
// lines, and runs the tests that are left in a fresh process. It is for a story that cannot be ended from within: its
// goroutines would go on taking time and memory from later tests. In a process that is not supervised it returns.
func GiveUp(test, verdict, text string) {
	child.Lock()
	defer child.Unlock()
	if child.status == nil {
		return
	}
	tell(note{Do: "give up", Test: test, Verdict: verdict, Text: text})
	syscall.Exit(1) // not os.Exit: nothing that was registered to run at exit may keep it
}

// Scratch says that a test works in this folder, one of those that T.TempDir gave it. When the process ends before it has
// removed it, its parent does.
func Scratch(dir string) {
	child.Lock()
	defer child.Unlock()
	tell(note{Do: "scratch", Text: dir})
}

// giveUpAll is GiveUp for all tests that run.
func giveUpAll(verdict, text string) {
	child.Lock()
	running := append([]string(nil), child.running...)
	child.Unlock()
	if len(running) == 0 {
		running = []string{""}
	}
	GiveUp(strings.Join(running, " "), verdict, text)
}

// tell appends to the status file, each note in one write. The lock is held.
func tell(n note) {
	if child.status == nil {
		return
	}
	n.At = time.Now()
	line, err := json.Marshal(n)
	if err == nil {
		_, err = child.status.Write(append(line, '\n'))
	}
	runtime.KeepAlive(err) // the parent misses the note, and says less: there is no better place to complain
}

// readNotes reads what has been written so far; a half line at the end is left out.
func readNotes(status string) []note {
	f, err := os.Open(status)
	if err != nil {
		return nil
	}
	defer f.Close()
	var out []note
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 64<<20)
	for lines.Scan() {
		var n note
		if json.Unmarshal(lines.Bytes(), &n) == nil {
			out = append(out, n)
		}
	}
	return out
}
