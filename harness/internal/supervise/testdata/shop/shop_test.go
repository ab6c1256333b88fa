package shop

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kafka-katas/kafka-katas/harness/internal/stacks"
	"github.com/kafka-katas/kafka-katas/harness/internal/supervise"
	"github.com/kafka-katas/kafka-katas/harness/internal/supervise/testdata/lock"
)

func TestMain(m *testing.M) { os.Exit(supervise.Main(m.Run)) }

// story runs one test in a bubble, the way that the harness does.
func story(t *testing.T, run func()) {
	supervise.Begin(t.Name())
	t.Cleanup(func() { supervise.End(t.Name(), t.Failed()) })
	limit, err := time.ParseDuration(os.Getenv("SHOP_LIMIT"))
	if err != nil {
		limit = 10 * time.Second
	}
	stop := supervise.Watch(limit, supervise.Learner(), func(d stacks.Diagnosis) {
		supervise.GiveUp(t.Name(), "BROKEN", supervise.Text(d))
		panic("not supervised: " + d.Sentence)
	})
	defer stop()
	synctest.Test(t, func(*testing.T) { run() })
}

func TestAFirst(t *testing.T) { story(t, func() { Hello() }) }

func TestExit(t *testing.T)      { story(t, Exit) }
func TestFatal(t *testing.T)     { story(t, Fatal) }
func TestExitZero(t *testing.T)  { story(t, ExitZero) }
func TestGoroutine(t *testing.T) { story(t, PanicInGoroutine) }
func TestPanic(t *testing.T)     { story(t, Panic) }
func TestRecurse(t *testing.T)   { story(t, func() { Recurse(0) }) }
func TestHoard(t *testing.T)     { story(t, Hoard) }
func TestSpawn(t *testing.T)     { story(t, Spawn) }
func TestSpin(t *testing.T)      { story(t, Spin) }
func TestRead(t *testing.T)      { story(t, Read) }
func TestMutex(t *testing.T)     { story(t, HoldMutex) }
func TestDial(t *testing.T)      { story(t, Dial) }
func TestOutside(t *testing.T)   { story(t, WaitOutside) }

func TestMap(t *testing.T)  { story(t, WriteMap) }
func TestRace(t *testing.T) { story(t, Race) }

func TestDetector(t *testing.T) {
	times, err := strconv.Atoi(os.Getenv("SHOP_FAULTS"))
	if err != nil {
		t.Skip("SHOP_FAULTS is not set")
	}
	story(t, func() { FailDetector(os.Getenv("SHOP_FILE"), times) })
}
func TestHalfALine(t *testing.T) {
	story(t, func() {
		fmt.Fprint(os.Stderr, "no end of line")
		Panic()
	})
}

func TestPlainExit(t *testing.T)  { Exit() }
func TestPlainPanic(t *testing.T) { Panic() }

func TestSub(t *testing.T) {
	t.Run("one", func(t *testing.T) { story(t, func() { Hello() }) })
	t.Run("two", func(t *testing.T) { story(t, Exit) })
}

func BenchmarkHello(b *testing.B) {
	if supervise.Supervised() {
		b.Fatal("a benchmark is disturbed")
	}
	for b.Loop() {
		Hello()
	}
}

func TestAlone(t *testing.T) {
	if supervise.Supervised() {
		t.Fatal("not alone")
	}
}

func TestLock(t *testing.T) {
	supervise.Scratch(t.TempDir())
	story(t, func() {
		fmt.Println("locked")
		KeepLocked()
	})
}

// untagged is what takes long only without the tag.
func untagged(t *testing.T) {
	d, err := time.ParseDuration(os.Getenv("SHOP_WHILE"))
	if err != nil {
		t.Fatal(err)
	}
	if !lock.Tagged {
		time.Sleep(d)
	}
}

func TestAWhile(t *testing.T) { untagged(t) }

func TestPrints(t *testing.T) {
	line := strings.Repeat("x", 1<<20)
	for range 80 {
		fmt.Println(line)
	}
	untagged(t)
}

func TestSlow(t *testing.T) {
	fmt.Println("pid", os.Getpid())
	if file := os.Getenv("SHOP_FILE"); file != "" {
		if err := os.WriteFile(file, fmt.Appendln(nil, os.Getpid()), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	select {}
}

func TestWrong(t *testing.T) { story(t, func() { t.Error("one is not two") }) }

func TestZLast(t *testing.T) {
	story(t, func() { Hello() })
	if failed := supervise.Failed(); len(failed) > 0 {
		fmt.Println("before:", strings.Join(failed, " "))
	}
}

func TestCollector(t *testing.T) {
	t.Logf("GOGC=%q GOMEMLIMIT=%q", os.Getenv("GOGC"), os.Getenv("GOMEMLIMIT"))
}
