package harness

import (
	"bufio"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/kafka-katas/kafka-katas/harness/internal/supervise"
)

var all = flag.Bool("all", false, "kata: run every step although an earlier one is red (also KATA_ALL=1)")

// Main is what a lesson's TestMain calls, and all that it does:
//
//	func TestMain(m *testing.M) { harness.Main(m) }
//
// It runs the tests in a supervised process of their own, so that a program that exits, panics in a goroutine or eats
// all memory gets a verdict and the later tests still run. Where the build tag synctests is missing and a story needs it, as
// kgo may in virtual time, or the program breaks, the same tests are built with it and run from the beginning. Main does
// not return.
func Main(m *testing.M) {
	flag.Parse()
	mainCalled.set()
	if os.Getenv("KAFKA_BROKERS") != "" {
		runMark()
	}
	if os.Getenv("GOGC") == "" && flag.Lookup("test.bench").Value.String() == "" {
		debug.SetGCPercent(400) // a story lives for milliseconds on little memory: collecting it was a quarter of the run
	}
	os.Exit(supervise.Main(m.Run, supervise.Finally(removeLeftovers)))
}

// flagOnce remembers that TestMain called Main.
type flagOnce struct {
	mu  sync.Mutex
	was bool
}

var mainCalled flagOnce

func (f *flagOnce) set() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.was = true
}

func (f *flagOnce) check(t *testing.T) {
	t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.was {
		t.Fatal("this package needs `func TestMain(m *testing.M) { harness.Main(m) }`: without it a hang or a panic has no verdict")
	}
}

// firstRed skips steps behind the first red one, so that a newcomer reads one failure at a time.
var firstRed redSteps

type redSteps struct {
	mu   sync.Mutex
	step int // the lowest red step, 0 for none
	name string
}

var stepName = regexp.MustCompile(`^TestStep(\d+)_`)

func stepNumber(test string) int {
	if m := stepName.FindStringSubmatch(test); m != nil {
		n, _ := strconv.Atoi(m[1])
		return n
	}
	return 0
}

func (r *redSteps) note(test string) {
	n := stepNumber(test)
	r.mu.Lock()
	defer r.mu.Unlock()
	if n > 0 && (r.step == 0 || n < r.step) {
		r.step, r.name = n, test
	}
}

func (r *redSteps) skip(t *testing.T) {
	t.Helper()
	for _, name := range supervise.Failed() { // in an earlier process of this run
		r.note(name)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.step == 0 || stepNumber(t.Name()) < r.step || *all || os.Getenv("KATA_ALL") == "1" {
		return
	}
	if stepNumber(t.Name()) == r.step && t.Name() == r.name {
		return // -count: the same test again
	}
	t.Skipf("later: %s is red first (-all or KATA_ALL=1 runs every step)", r.name)
}

// packagePath is the import path of the package in dir, found by the module's go.mod.
func packagePath(dir string) string {
	for root := dir; ; root = filepath.Dir(root) {
		f, err := os.Open(filepath.Join(root, "go.mod"))
		if err != nil {
			if root == filepath.Dir(root) {
				return filepath.Base(dir)
			}
			continue
		}
		defer f.Close()
		for lines := bufio.NewScanner(f); lines.Scan(); {
			if module, ok := strings.CutPrefix(lines.Text(), "module "); ok {
				rel, _ := filepath.Rel(root, dir)
				return strings.TrimSuffix(strings.TrimSpace(module)+"/"+filepath.ToSlash(rel), "/.")
			}
		}
		return filepath.Base(dir)
	}
}
