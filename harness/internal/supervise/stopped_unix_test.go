//go:build unix

package supervise

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"github.com/kafka-katas/kafka-katas/harness/internal/stacks"
)

// Ctrl-Z and, later, fg: a story is not given up for the time in between.
func TestWatch_CountsNoTimeWhileTheProcessIsStopped(t *testing.T) {
	const variable = "SUPERVISE_TEST_STOPPED"
	if os.Getenv(variable) != "" {
		moveAlong()
		return
	}
	cmd := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$")
	cmd.Env = append(os.Environ(), variable+"=1")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Process.Kill()
	lines := bufio.NewScanner(out)
	expect := func(want string) {
		if !lines.Scan() || lines.Text() != want {
			t.Fatalf("the program says %q, want %q (%v)", lines.Text(), want, lines.Err())
		}
	}
	expect("begun")
	for _, s := range []syscall.Signal{syscall.SIGSTOP, syscall.SIGCONT} {
		if err := cmd.Process.Signal(s); err != nil {
			t.Fatal(err)
		}
		if s == syscall.SIGSTOP {
			time.Sleep((patience + 1) * stoppedLimit)
		}
	}
	expect("told to its end")
}

const stoppedLimit = 600 * time.Millisecond

// moveAlong is a story that is watched over and moves on for a second and a half of its own time.
func moveAlong() {
	called := make(chan stacks.Diagnosis, 1)
	defer Watch(stoppedLimit, func(string) bool { return true }, func(d stacks.Diagnosis) { called <- d })()
	fmt.Println("begun")
	for range 1000 {
		select {
		case d := <-called:
			fmt.Printf("given up: %v\n", d)
			return
		case <-time.After(1500 * time.Microsecond):
		}
	}
	fmt.Println("told to its end")
}
