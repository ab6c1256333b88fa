package judge

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"

	"github.com/kafka-katas/kafka-katas/internal/toolchain"
)

// event is one line of go test -json.
type event struct {
	Action, Package, Test, Key, Value, Output, ImportPath, FailedBuild string
}

// outcome is how one run of one test ended.
type outcome struct {
	result  string // pass, fail, skip; "" when the program ended before the test did
	word    string // the first verdict: what a reader of the failure sees first
	output  string
	lasts   time.Duration // the stories, in their own time
	cluster string        // the real one that they were told on
}

// packageRun is what a go test of one package had to say.
type packageRun struct {
	tests  map[string][]*outcome
	failed bool
	output string // of the package itself, outside any test
	build  string // the compiler's words; "" when it was built
}

// last is how the latest run of a test ended; a test that did not run has no result.
func (p *packageRun) last(test string) outcome {
	if p != nil && len(p.tests[test]) > 0 {
		return *p.tests[test][len(p.tests[test])-1]
	}
	return outcome{}
}

// testRun is what one go command had to say, by package.
type testRun struct {
	packages map[string]*packageRun
	builds   map[string]string
	stray    strings.Builder   // lines that are no events
	ended    func(*packageRun) // hears of each package that has ended; nil for nobody
}

func newTestRun() *testRun {
	return &testRun{packages: map[string]*packageRun{}, builds: map[string]string{}}
}

func (r *testRun) of(pkg string) *packageRun {
	p := r.packages[pkg]
	if p == nil {
		p = &packageRun{tests: map[string][]*outcome{}}
		r.packages[pkg] = p
	}
	return p
}

// read takes in the lines of go test -json or test2json.
func (r *testRun) read(in io.Reader) error {
	lines := bufio.NewReader(in)
	for {
		line, err := lines.ReadBytes('\n')
		var e event
		if len(line) > 0 {
			if json.Unmarshal(line, &e) == nil && e.Action != "" {
				r.add(e)
			} else {
				r.stray.Write(line)
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func (r *testRun) add(e event) {
	if strings.HasPrefix(e.Action, "build-") {
		r.builds[e.ImportPath] += e.Output
		return
	}
	p := r.of(e.Package)
	if e.Test == "" {
		switch e.Action {
		case "output":
			p.output += e.Output
		case "fail":
			p.failed = true
			if e.FailedBuild != "" {
				p.build = cmpOr(r.builds[e.FailedBuild], "it does not build")
			}
		}
		if r.ended != nil && (e.Action == "pass" || e.Action == "fail" || e.Action == "skip") {
			r.ended(p)
		}
		return
	}
	if e.Action == "run" {
		p.tests[e.Test] = append(p.tests[e.Test], &outcome{})
		return
	}
	if len(p.tests[e.Test]) == 0 {
		return
	}
	o := p.tests[e.Test][len(p.tests[e.Test])-1]
	switch e.Action {
	case "output":
		o.output += e.Output
	case "attr":
		switch {
		case e.Key == "verdict" && o.word == "":
			o.word = e.Value
		case e.Key == "lasts":
			d, _ := time.ParseDuration(e.Value)
			o.lasts += d // a spec may tell several stories
		case e.Key == "cluster":
			o.cluster = e.Value
		}
	case "pass", "fail", "skip":
		o.result = e.Action
	}
}

// runs counts the finished runs of tests.
func (r *testRun) runs() int {
	n := 0
	for _, p := range r.packages {
		for name, all := range p.tests {
			for _, o := range all {
				if o.result != "" && !strings.Contains(name, "/") {
					n++
				}
			}
		}
	}
	return n
}

// environment is what every run gets: first red first is for learners, and the judge judges on the in-memory Kafka.
func environment() []string {
	env := slices.DeleteFunc(toolchain.Tests(os.Environ()), func(v string) bool {
		return strings.HasPrefix(v, "KAFKA_BROKERS=") || strings.HasPrefix(v, "KATA_")
	})
	return append(env, "KATA_ALL=1")
}

// goTest runs go test -json in root. Red tests are no error; a go command that could not do its work is.
func goTest(ctx context.Context, root string, env []string, args ...string) (*testRun, error) {
	return newTestRun().goTest(ctx, root, env, args...)
}

func (r *testRun) goTest(ctx context.Context, root string, env []string, args ...string) (*testRun, error) {
	cmd := exec.CommandContext(ctx, "go", append([]string{"test", "-json"}, args...)...)
	cmd.Dir, cmd.Env = root, toolchain.Env(append(environment(), env...))
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	if err := r.read(out); err != nil {
		return nil, err
	}
	err = cmd.Wait()
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if err != nil && len(r.packages) == 0 {
		return nil, fmt.Errorf("go test could not run: %w\n%s%s", err, stderr.String(), r.stray.String())
	}
	return r, nil
}

// excerpt is the part of a run's output that says what went wrong: no framing, and not more than a screen.
func excerpt(output string, most int) string {
	var keep []string
	for line := range strings.Lines(output) {
		line = strings.TrimRight(line, "\r\n")
		if t := strings.TrimSpace(line); t == "" && len(keep) == 0 || strings.HasPrefix(t, "=== ") || t == "FAIL" || t == "PASS" {
			continue
		}
		keep = append(keep, line)
	}
	if len(keep) > most {
		keep = append(keep[:most:most], fmt.Sprintf("... and %d lines more", len(keep)-most))
	}
	return strings.TrimRight(strings.Join(keep, "\n"), "\n")
}

func cmpOr(a, b string) string {
	if strings.TrimSpace(a) != "" {
		return a
	}
	return b
}
