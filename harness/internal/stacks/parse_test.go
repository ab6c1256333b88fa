package stacks_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/kafka-katas/kafka-katas/harness/internal/stacks"
)

func TestParseReadsEveryFormOfADump(t *testing.T) {
	dump, err := os.ReadFile(filepath.Join("testdata", "forms.txt"))
	if err != nil {
		t.Fatal(err)
	}
	want := []stacks.Goroutine{
		{ID: 7, State: "sync.Mutex.Lock", Minutes: 2, Bubble: 1, Creator: 1,
			Frames: []stacks.Frame{
				{Func: "sync.(*Mutex).Lock", Args: "...", File: "/usr/local/go/src/sync/mutex.go", Line: 46},
				{Func: "example.org/shop.(*Consumer[...]).Stats", Args: "0x3f0?, {0x1, 0x2}", File: "/home/ann/my shop/stats.go", Line: 51},
			},
			CreatedBy: stacks.Frame{Func: "example.org/shop.Run", File: "/home/ann/my shop/run.go", Line: 9}},
		{ID: 8, State: "chan receive", Durable: true, Locked: true, Bubble: 12,
			Frames: []stacks.Frame{{Func: "main.main", File: `C:\shop\main.go`, Line: 3}}},
		{ID: 9, State: "running",
			CreatedBy: stacks.Frame{Func: "main.main.func1", File: "main.go", Line: 4}, Creator: 1},
		{ID: 10, State: "select", Durable: true, Bubble: 1, Creator: 9,
			Frames:    []stacks.Frame{{Func: "lib.loop", Args: "0x1", File: "lib.go", Line: 5}},
			CreatedBy: stacks.Frame{Func: "lib.New", File: "lib.go", Line: 2},
			Ancestors: []stacks.Frame{
				{Func: "lib.New", Args: "...", File: "lib.go", Line: 3},
				{Func: "main.start", Args: "...", File: "main.go", Line: 8},
				{Func: "main.main", Args: "...", File: "main.go", Line: 20},
			}},
		{ID: 11, State: "IO wait", Frames: []stacks.Frame{{Func: "deep.f", Args: "0x1", File: "deep.go", Line: 1}, {Func: "deep.g", File: "deep.go", Line: 2}}},
	}
	if diff := cmp.Diff(want, stacks.Parse(dump)); diff != "" {
		t.Error(diff)
	}
}

func TestParsePassesOverWhatIsNoDump(t *testing.T) {
	for _, text := range []string{"", "goroutine", "goroutine x [y]:", "goroutine 1 [running", "panic: goroutine 1 [running]:\n", "\tfile.go:1", "created by x"} {
		for _, g := range stacks.Parse([]byte(text)) {
			if g.ID == 0 {
				t.Errorf("%q: %+v", text, g)
			}
		}
	}
}

func FuzzParse(f *testing.F) {
	dump, err := os.ReadFile(filepath.Join("testdata", "forms.txt"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(dump)
	f.Fuzz(func(t *testing.T, dump []byte) {
		gs := stacks.Parse(dump)
		all := func(string) bool { return true }
		stacks.Stall(gs, gs, all)
		stacks.Leaks(gs, all)
		stacks.Growth(stacks.Memory, "", gs, all)
	})
}

func TestFramesAreNamedForAReader(t *testing.T) {
	for _, c := range []struct{ function, plain, qualified string }{
		{"example.org/shop/orders.(*Consumer).handle", "Consumer.handle", "orders.Consumer.handle"},
		{"example.org/shop/orders.Consumer.handle", "Consumer.handle", "orders.Consumer.handle"},
		{"example.org/shop/orders.(*Consumer).handle.func1.2", "a function in Consumer.handle", "a function in orders.Consumer.handle"},
		{"example.org/shop/orders.Run.gowrap1", "a function in Run", "a function in orders.Run"},
		{"example.org/shop/orders.Run.func1-range1", "a function in Run", "a function in orders.Run"},
		{"example.org/shop/orders.arrange", "arrange", "orders.arrange"},
		{"example.org/shop/orders.(*Queue[...]).Push", "Queue.Push", "orders.Queue.Push"},
		{"github.com/twmb/franz-go/pkg/kgo.(*Client).PollFetches", "Client.PollFetches", "kgo.Client.PollFetches"},
		{"main.main", "main", "main.main"},
	} {
		f := stacks.Frame{Func: c.function}
		if got := f.Name(false); got != c.plain {
			t.Errorf("%s: got %q, want %q", c.function, got, c.plain)
		}
		if got := f.Name(true); got != c.qualified {
			t.Errorf("%s, qualified: got %q, want %q", c.function, got, c.qualified)
		}
	}
}

func TestWithinTellsTheLearnersFiles(t *testing.T) {
	mine := stacks.Within("/home/ann/kafka-katas/katas/lesson07", "katas/lesson07")
	for file, want := range map[string]bool{
		"/home/ann/kafka-katas/katas/lesson07/consume.go":                  true,
		"/home/ann/kafka-katas/katas/lesson07/internal/window.go":          true,
		"github.com/kafka-katas/kafka-katas/katas/lesson07/consume.go":     true,
		"/home/ann/kafka-katas/katas/lesson07/group_test.go":               false,
		"/home/ann/kafka-katas/harness/run.go":                             false,
		"/home/ann/kafka-katas/katas/lesson071/consume.go":                 false,
		"/root/go/pkg/mod/github.com/twmb/franz-go@v1.22.2/pkg/kgo/txn.go": false,
		"": false,
	} {
		if got := mine(file); got != want {
			t.Errorf("%s: got %v", file, got)
		}
	}
}
