//go:build unix

package supervise_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// endings are the signals by which a user or a machine ends a run, but those that are ignored here, as in a shell's background
// job, which hands that down to whatever it starts.
func endings(t *testing.T) (out []syscall.Signal) {
	t.Helper()
	for _, s := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM} {
		if signal.Ignored(s) {
			t.Logf("%v is ignored here", s)
			continue
		}
		out = append(out, s)
	}
	return out
}

// patience is for processes on a machine that has much else to do.
const patience = time.Minute

// numberIn waits for a file with a process's number.
func numberIn(t *testing.T, file string) int {
	t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		text, err := os.ReadFile(file)
		if pid, bad := strconv.Atoi(strings.TrimSpace(string(text))); err == nil && bad == nil && strings.HasSuffix(string(text), "\n") {
			return pid
		}
	}
	t.Fatal("no process has said its number")
	return 0
}

// interrupted runs cmd, with a folder for temporary files, until a process has written its number to SHOP_FILE, sends s to cmd, and returns
// what it has printed. By then neither of the two is there any more, nor anything that they have made.
func interrupted(t *testing.T, cmd *exec.Cmd, s syscall.Signal) string {
	t.Helper()
	tmp, file := t.TempDir(), filepath.Join(t.TempDir(), "pid")
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.Env = append(cmd.Environ(), "TMPDIR="+tmp, "SHOP_FILE="+file)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	pid := numberIn(t, file)
	if pid == cmd.Process.Pid {
		t.Fatalf("what is to be interrupted runs in process %d itself", pid)
	}
	cmd.Process.Signal(s)
	var end *exec.ExitError
	if err := cmd.Wait(); !errors.As(err, &end) || end.Sys().(syscall.WaitStatus).Signal() != s {
		t.Errorf("%v: the parent ended with %v", s, err)
	}
	for late := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		err := syscall.Kill(pid, 0)
		if errors.Is(err, syscall.ESRCH) {
			break
		}
		if time.Now().After(late) {
			t.Errorf("%v: the child is still there: %v", s, err)
			break
		}
	}
	if left, err := os.ReadDir(tmp); err != nil || len(left) > 0 {
		t.Errorf("%v: left behind: %v, %v", s, left, err)
	}
	return out.String()
}

// Who interrupts go test must not leave a child behind, and the shell must see what ended the run.
func TestASignalEndsParentAndChild(t *testing.T) {
	for _, program := range []string{shop(t, "-tags=synctests"), shop(t)} {
		for _, s := range endings(t) {
			cmd := exec.Command(program, "-test.run=^TestSlow$")
			if out := interrupted(t, cmd, s); !strings.HasPrefix(out, "pid ") || strings.Count(out, "\n") != 1 {
				t.Errorf("%v: %q", s, out)
			}
		}
	}
}

// Nor a go command that builds what nobody will run.
func TestASignalEndsABuild(t *testing.T) {
	program, path := shop(t), t.TempDir()
	goCommand := "#!/bin/sh\necho $$ > $SHOP_FILE.new && mv $SHOP_FILE.new $SHOP_FILE\nexec sleep 1000\n"
	if err := os.WriteFile(filepath.Join(path, "go"), []byte(goCommand), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, s := range endings(t) {
		cmd := exec.Command(program, "-test.run=^TestExit$")
		cmd.Env = append(os.Environ(), fmt.Sprintf("PATH=%s%c%s", path, os.PathListSeparator, os.Getenv("PATH")))
		if out := interrupted(t, cmd, s); out != "" {
			t.Errorf("%v: %q", s, out)
		}
	}
}
