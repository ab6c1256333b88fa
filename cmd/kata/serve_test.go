package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kafka-katas/kafka-katas/internal/judge"
)

// child is kata serve as a child process.
type child struct {
	t       *testing.T
	cmd     *exec.Cmd
	url     string
	brokers []string
	said    lines
	ended   chan error
}

// lines collects what a process says.
type lines struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

var announced = regexp.MustCompile(`(?s)kafka .*?: (127\S+)\n.* http +(http://(\S+))\n`)

// serveLesson starts kata serve and waits until it says where it is.
func serveLesson(t *testing.T, environ []string, args ...string) *child {
	t.Helper()
	if testing.Short() {
		t.Skip("builds a lesson's service and runs it")
	}
	root, err := judge.FindRoot(".")
	require.NoError(t, err)
	exe, err := os.Executable()
	require.NoError(t, err)
	c := &child{t: t, ended: make(chan error, 1)}
	c.cmd = &exec.Cmd{Path: exe, Args: append([]string{"kata", "serve", "--http", "127.0.0.1:0"}, args...), Dir: root,
		Env: append(os.Environ(), append(environ, "KAFKA_BROKERS=")...)}
	c.cmd.Stderr = &c.said
	out, err := c.cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, c.cmd.Start())
	up := make(chan struct{})
	go func() {
		var once sync.Once
		for s := bufio.NewScanner(out); s.Scan(); {
			_, _ = c.said.Write(append(s.Bytes(), '\n'))
			if strings.HasPrefix(s.Text(), "Ctrl-C") {
				once.Do(func() { close(up) })
			}
		}
		c.ended <- c.cmd.Wait()
	}()
	t.Cleanup(func() {
		_ = c.cmd.Process.Kill()
		if t.Failed() {
			t.Log(c.said.String())
		}
	})
	select {
	case <-up:
	case err := <-c.ended:
		require.FailNow(t, "it ended", "%v", err)
	case <-time.After(5 * time.Minute): // a cold build cache
		require.FailNow(t, "it did not start")
	}
	m := announced.FindStringSubmatch(c.said.String())
	require.NotNil(t, m, c.said.String())
	c.brokers, c.url = strings.Split(m[1], ","), m[2]
	return c
}

// until asks again until it is so.
func (c *child) until(what string, so func() bool) {
	c.t.Helper()
	deadline := time.Now().Add(time.Minute)
	for !so() {
		if time.Now().After(deadline) {
			require.FailNow(c.t, "never: "+what)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func (c *child) ask(method, path string) (int, string) {
	c.t.Helper()
	req, err := http.NewRequestWithContext(c.t.Context(), method, c.url+path, nil)
	require.NoError(c.t, err)
	resp, err := http.DefaultClient.Do(req)
	require.NoError(c.t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	require.NoError(c.t, err)
	return resp.StatusCode, string(body)
}

func (c *child) ready() {
	c.t.Helper()
	c.until("ready", func() bool { code, _ := c.ask("GET", "/readyz"); return code == 200 })
}

type shown struct {
	Paused bool `json:"paused"`
	Totals struct {
		Received  int `json:"received"`
		Processed int `json:"processed"`
		Failed    int `json:"failed"`
		InFlight  int `json:"in_flight"`
	} `json:"totals"`
	Partitions []struct {
		Lag int `json:"lag"`
	} `json:"partitions"`
}

func (c *child) stats() (s shown) {
	c.t.Helper()
	_, body := c.ask("GET", "/stats")
	require.NoError(c.t, json.Unmarshal([]byte(body), &s))
	return s
}

func (s shown) lag() (n int) {
	for _, p := range s.Partitions {
		n += max(0, p.Lag)
	}
	return n
}

func (c *child) exits(code int) {
	c.t.Helper()
	select {
	case <-c.ended:
		require.Equal(c.t, code, c.cmd.ProcessState.ExitCode())
	case <-time.After(time.Minute):
		require.FailNow(c.t, "it did not stop")
	}
}

// gone waits until nobody holds what the service held.
func (c *child) gone() {
	c.t.Helper()
	for _, addr := range append(c.brokers, strings.TrimPrefix(c.url, "http://")) {
		c.until(addr+" is free", func() bool {
			l, err := net.Listen("tcp", addr)
			if err == nil {
				_ = l.Close()
			}
			return err == nil
		})
	}
}

func TestServeShowsALessonAtWork(t *testing.T) {
	c := serveLesson(t, []string{"LESSON07_RETRY_AFTER=10ms"}, "07", "--rate", "200", "--bad", "0.2")
	c.ready()
	c.until("records are processed and bad ones counted", func() bool {
		s := c.stats()
		return s.Totals.Processed >= 20 && s.Totals.Failed >= 5
	})
	code, body := c.ask("GET", "/healthz")
	require.Equal(t, 200, code, body)
	_, body = c.ask("GET", "/metrics")
	require.Contains(t, body, "\n# TYPE ")

	code, body = c.ask("POST", "/pause")
	require.Equal(t, 200, code, body)
	c.until("paused, and what was in hand is done", func() bool { s := c.stats(); return s.Paused && s.Totals.InFlight == 0 && s.lag() > 20 })
	before := c.stats()
	c.until("the traffic goes on", func() bool { return c.stats().lag() > before.lag()+20 })
	require.Equal(t, before.Totals, c.stats().Totals)
	code, body = c.ask("POST", "/resume")
	require.Equal(t, 200, code, body)
	c.until("it goes on", func() bool { return c.stats().Totals.Processed > before.Totals.Processed })
	code, body = c.ask("POST", "/reset")
	require.Equal(t, 200, code, body)

	if runtime.GOOS == "windows" {
		t.Skip("a process cannot be asked to stop here, but from its own terminal")
	}
	require.NoError(t, c.cmd.Process.Signal(os.Interrupt))
	c.exits(0)
	require.Contains(t, c.said.String(), "\nstopped: ")
	c.gone()
}

func TestEveryLessonThatCanBeServedRuns(t *testing.T) {
	root, err := judge.FindRoot(".")
	require.NoError(t, err)
	lessons, err := services(root)
	require.NoError(t, err)
	require.Contains(t, lessons, "lesson07")
	for _, lesson := range lessons {
		t.Run(lesson, func(t *testing.T) {
			c := serveLesson(t, nil, lesson, "--rate", "50", "--bad", "0.2")
			c.ready()
			c.until("records are processed", func() bool { return c.stats().Totals.Processed >= 20 })

			if runtime.GOOS != "windows" { // there a process cannot be asked to stop, but from its own terminal
				require.NoError(t, c.cmd.Process.Signal(syscall.SIGTERM)) // as an orchestrator does; the test above presses Ctrl-C
				c.exits(0)
				c.gone()
			}
		})
	}
}

func TestAKilledToolLeavesNoServiceBehind(t *testing.T) {
	c := serveLesson(t, nil, "07", "--rate", "0")

	require.NoError(t, c.cmd.Process.Kill())

	c.gone()
}

func TestTakenPortsAndBadConfigurationsAreSaid(t *testing.T) {
	if testing.Short() {
		t.Skip("builds a lesson's service")
	}
	root, err := judge.FindRoot(".")
	require.NoError(t, err)
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer taken.Close()
	bad := t.TempDir() + "/bad.yaml"
	require.NoError(t, os.WriteFile(bad, []byte("group: validation\nconcurency: 4\n"), 0o600))
	for _, x := range []struct {
		args    []string
		environ string
		code    int
		says    []string
	}{
		{[]string{"--http", taken.Addr().String()}, "", exitUsage, []string{taken.Addr().String() + " is not to be had", "--http 127.0.0.1:0 takes any that is free"}},
		{[]string{"--http", "0.0.0.0:8007"}, "", exitUsage, []string{"must be this machine's own"}},
		{[]string{"--rate=-1", "--bad=2"}, "", exitUsage, []string{"--rate is -1", "--bad is 2"}},
		{[]string{"--http", "127.0.0.1:0", "--config", bad}, "", exitUsage, []string{bad + ":2: unknown key concurency; did you mean concurrency?"}},
		{[]string{"--http", "127.0.0.1:0"}, "LESSON07_CONCURRENCY=0", exitUsage, []string{"concurrency is 0: must be at least 1"}},
		{[]string{"--http", "127.0.0.1:0"}, "KAFKA_BROKERS=127.0.0.1:1", exitUsage, []string{"no broker of KAFKA_BROKERS=127.0.0.1:1 answers", "there is a Kafka inside"}},
	} {
		exe, err := os.Executable()
		require.NoError(t, err)
		cmd := &exec.Cmd{Path: exe, Args: append([]string{"kata", "serve", "07"}, x.args...), Dir: root, Env: append(os.Environ(), "KAFKA_BROKERS=", x.environ)}
		said, _ := cmd.CombinedOutput()
		require.Equal(t, x.code, cmd.ProcessState.ExitCode(), "%s", said)
		for _, s := range x.says {
			require.Contains(t, string(said), s)
		}
	}
}

// An untouched stub says so. A learner's own state of a lesson is his: nothing is claimed of it.
func TestAStubIsNotReadyToBeServed(t *testing.T) {
	if testing.Short() {
		t.Skip("builds the lessons' services")
	}
	root, err := judge.FindRoot(".")
	require.NoError(t, err)
	exe, err := os.Executable()
	require.NoError(t, err)
	lessons, err := services(root)
	require.NoError(t, err)
	for _, lesson := range lessons {
		t.Run(lesson, func(t *testing.T) {
			stub, err := os.ReadFile(filepath.Join(root, "katas", lesson, "config.go"))
			require.NoError(t, err)
			if !strings.Contains(string(stub), "Validate is not written yet") {
				t.Skip(lesson + " is being written here")
			}
			cmd := &exec.Cmd{Path: exe, Args: []string{"kata", "serve", lesson, "--mine", "--http", "127.0.0.1:0"}, Dir: root, Env: append(os.Environ(), "KAFKA_BROKERS=")}

			said, _ := cmd.CombinedOutput()

			require.Equal(t, exitBroken, cmd.ProcessState.ExitCode(), "%s", said)
			require.Contains(t, string(said), "katas/"+lesson+" is not ready to be served")
		})
	}
}

// A service that does not stop is a learner's every day.
func TestTheSecondCtrlCKills(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("a process cannot be asked to stop here, but from its own terminal")
	}
	root := t.TempDir()
	for name, text := range map[string]string{
		"go.mod":                     "module example.test/course\n\ngo 1.25\n",
		"katas/lesson01/consumer.go": "package lesson01\n",
		"solutions/lesson01/serve/main.go": `package main

import (
	"fmt"
	"io"
	"os"
	"os/signal"
	"time"
)

func main() {
	signal.Ignore(os.Interrupt)
	fmt.Println("up")
	_, _ = io.ReadAll(os.Stdin)
	fmt.Println("asked")
	time.Sleep(time.Hour)
}
`,
	} {
		name = filepath.Join(root, filepath.FromSlash(name))
		require.NoError(t, os.MkdirAll(filepath.Dir(name), 0o755))
		require.NoError(t, os.WriteFile(name, []byte(text), 0o644))
	}
	exe, err := os.Executable()
	require.NoError(t, err)
	cmd := &exec.Cmd{Path: exe, Args: []string{"kata", "serve", "01"}, Dir: root, Env: append(os.Environ(), "GOFLAGS=-buildvcs=false"), Stderr: os.Stderr}
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	c := &child{t: t, cmd: cmd, ended: make(chan error, 1)}
	said := bufio.NewReader(out)
	says := func(want string) {
		line, err := said.ReadString('\n')
		require.NoError(t, err)
		require.Equal(t, want+"\n", line)
	}
	says("up")

	require.NoError(t, cmd.Process.Signal(os.Interrupt))
	says("asked")
	go func() { c.ended <- cmd.Wait() }()
	c.until("killed", func() bool { return cmd.Process.Signal(os.Interrupt) != nil })

	c.exits(exitBroken)
}
