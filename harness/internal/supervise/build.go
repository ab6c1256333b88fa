package supervise

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"strings"
	"testing"

	"github.com/kafka-katas/kafka-katas/internal/toolchain"
)

const withTag = "pass -tags synctests yourself, as `go tool kata` does"

// A build makes the package under test with the tag synctests, otherwise as this binary was built.
type build struct {
	dir     string
	pkg     string
	program string
	cmd     *exec.Cmd
	out     *os.File
	err     error
	ended   chan struct{} // nil before it begins
	built   chan struct{} // closed if there is a program
}

// newBuild works in dir, which it makes.
func newBuild(dir string) *build {
	return &build{dir: dir, program: filepath.Join(dir, "program", filepath.Base(os.Args[0])), built: make(chan struct{})}
}

// begin starts the go command, the first time.
func (b *build) begin() {
	if b.ended != nil {
		return
	}
	b.ended = make(chan struct{})
	if b.err = b.start(); b.err != nil {
		close(b.ended)
		return
	}
	go func() {
		defer close(b.ended)
		defer b.out.Close()
		if err := b.cmd.Wait(); err != nil {
			said, _ := os.ReadFile(b.out.Name())
			b.err = fmt.Errorf("%sharness: the package cannot be built with the tag synctests, which its tests need", said)
		} else if _, err := os.Stat(b.program); err != nil {
			b.err = fmt.Errorf("harness: %s has no tests on disk, so they cannot be built again with the tag synctests. If they were laid over with -overlay, %s", b.pkg, withTag)
		} else {
			close(b.built)
		}
	}()
}

func (b *build) start() error {
	goCommand, err := exec.LookPath("go")
	if err != nil {
		return fmt.Errorf("harness: the tests need the build tag synctests, and there is no go command here to build them with it; %s", withTag)
	}
	if b.pkg = packagePath(); b.pkg == "" {
		b.pkg = "."
	}
	if err := os.MkdirAll(filepath.Dir(b.program), 0o700); err != nil {
		return fmt.Errorf("harness: %w", err)
	}
	if b.out, err = os.Create(filepath.Join(b.dir, "said")); err != nil {
		return fmt.Errorf("harness: %w", err)
	}
	b.cmd = exec.Command(goCommand, append(append([]string{"test", "-c", "-o", b.program}, buildFlags()...), b.pkg)...)
	b.cmd.Env = append(toolchain.Env(os.Environ()), "GOTMPDIR="+b.dir) // go test -c leaves its own there when it is ended
	b.cmd.Stdout, b.cmd.Stderr = b.out, b.out
	group(b.cmd)
	if err := b.cmd.Start(); err != nil {
		b.out.Close()
		return fmt.Errorf("harness: the go command cannot be started: %w", err)
	}
	return nil
}

// wait returns the new test binary, or what to print instead, or the signal that came first.
func (b *build) wait(signals <-chan os.Signal) (program string, sig os.Signal, err error) {
	b.begin()
	select {
	case <-b.ended:
		return b.program, nil, b.err
	case sig := <-signals:
		b.cancel()
		return "", sig, nil
	}
}

// cancel ends the go command, if it runs, with all that it has started.
func (b *build) cancel() {
	if b.ended == nil {
		return
	}
	select {
	case <-b.ended:
	default:
		endGroup(b.cmd)
		<-b.ended
	}
}

// buildFlags repeat how this binary was built, as far as it knows. The environment's GOFLAGS are inherited.
func buildFlags() []string {
	tags, gcflags, ldflags := toolchain.Tags("synctests"), toolchain.GCFlags(), toolchain.LDFlags
	var out []string
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			switch s.Key {
			case "-tags":
				tags = s.Value + "," + tags
			case "-ldflags":
				ldflags = s.Value + " " + ldflags
			case "-gcflags":
				gcflags = []string{s.Key + "=" + s.Value}
			case "-asmflags", "-asan", "-msan":
				out = append(out, s.Key+"="+s.Value)
			case "-trimpath":
				out = append(out, "-trimpath")
			}
		}
	}
	out = append(append(out, gcflags...), "-tags="+strings.Trim(tags, ","), "-ldflags="+ldflags)
	if raced {
		out = append(out, "-race")
	}
	if mode := testing.CoverMode(); mode != "" {
		out = append(out, "-cover", "-covermode="+mode)
	}
	return out
}
