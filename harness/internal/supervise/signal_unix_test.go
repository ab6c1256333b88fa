//go:build unix

package supervise_test

import (
	"bufio"
	"errors"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// Who interrupts go test must not leave a child behind, and the shell must see what ended the run.
func TestASignalEndsParentAndChild(t *testing.T) {
	program := filepath.Join(t.TempDir(), "shop.test")
	if out, err := exec.Command("go", "test", "-c", "-tags", "synctests", "-o", program, "./testdata/shop").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, s := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM} {
		if signal.Ignored(s) { // as in a shell's background job, which hands that down to whatever it starts
			t.Logf("%v is ignored here", s)
			continue
		}
		cmd := exec.Command(program, "-test.run=^TestSlow$")
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		pid := 0
		for pid == 0 && lines.Scan() {
			if n, ok := strings.CutPrefix(lines.Text(), "pid "); ok {
				pid, _ = strconv.Atoi(n)
			}
		}
		if pid == 0 || pid == cmd.Process.Pid {
			t.Fatalf("the test runs in process %d, its parent is %d", pid, cmd.Process.Pid)
		}
		cmd.Process.Signal(s)
		for lines.Scan() {
			t.Errorf("%v: %s", s, lines.Text())
		}
		var end *exec.ExitError
		if err := cmd.Wait(); !errors.As(err, &end) || end.Sys().(syscall.WaitStatus).Signal() != s {
			t.Errorf("%v: the parent ended with %v", s, err)
		}
		if err := syscall.Kill(pid, 0); !errors.Is(err, syscall.ESRCH) {
			t.Errorf("%v: the child is still there: %v", s, err)
		}
	}
}
