//go:build unix

// Package ptytest drives a program in a pseudo-terminal, and sees what a person would see there.
package ptytest

import (
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"
	"github.com/hinshun/vt10x"
)

// patience is how long a test waits for what must come. It is never waited for when all is well.
const patience = 3 * time.Minute

// Screen is a pseudo-terminal and what is on it.
type Screen struct {
	TTY *os.File // for the program

	t    *testing.T
	ptmx *os.File
	vt   vt10x.Terminal
	mu   sync.Mutex
	raw  strings.Builder
}

// New opens a screen of a size.
func New(t *testing.T, width, height int) *Screen {
	t.Helper()
	ptmx, tty, err := pty.Open()
	if err != nil {
		t.Skip("no pseudo-terminal here: ", err)
	}
	if err := pty.Setsize(ptmx, &pty.Winsize{Rows: uint16(height), Cols: uint16(width)}); err != nil {
		t.Fatal(err)
	}
	s := &Screen{TTY: tty, t: t, ptmx: ptmx, vt: vt10x.New(vt10x.WithSize(width, height))}
	read := make(chan struct{})
	go func() {
		defer close(read)
		b := make([]byte, 4096)
		for {
			n, err := ptmx.Read(b)
			if err != nil {
				return
			}
			s.mu.Lock()
			s.raw.Write(b[:n])
			s.vt.Write(b[:n])
			s.mu.Unlock()
		}
	}()
	t.Cleanup(func() {
		tty.Close()
		ptmx.Close()
		<-read
	})
	return s
}

// Start starts a program on the screen, which is its controlling terminal, in dir with this environment added.
func (s *Screen) Start(dir string, env []string, program string, args ...string) *exec.Cmd {
	s.t.Helper()
	cmd := exec.Command(program, args...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), env...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = s.TTY, s.TTY, s.TTY
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { cmd.Process.Kill() })
	return cmd
}

// Text is what is on the screen now.
func (s *Screen) Text() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.vt.String()
}

// Raw is everything that the program has written.
func (s *Screen) Raw() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.raw.String()
}

// Shows waits until a pattern is on the screen, and returns what is on it then.
func (s *Screen) Shows(pattern string) string {
	s.t.Helper()
	re := regexp.MustCompile(pattern)
	for limit := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		text := s.Text()
		if re.MatchString(text) {
			return text
		}
		if time.Now().After(limit) {
			s.t.Fatalf("the screen does not show %q:\n%s", pattern, text)
		}
	}
}

// command is what a program tells the terminal itself, such as its title: it may end in a bell that does not ring.
var command = regexp.MustCompile(`\x1b\][^\a\x1b]*(\a|\x1b\\)`)

// Rings waits until the bell has rung.
func (s *Screen) Rings() {
	s.t.Helper()
	for limit := time.Now().Add(patience); !strings.Contains(command.ReplaceAllString(s.Raw(), ""), "\a"); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(limit) {
			s.t.Fatal("the bell has not rung")
		}
	}
}

// Press types keys.
func (s *Screen) Press(keys string) {
	s.t.Helper()
	if _, err := s.ptmx.WriteString(keys); err != nil {
		s.t.Fatal(err)
	}
}
