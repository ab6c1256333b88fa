package harness

import (
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

var updateFailures = flag.Bool("update.failures", false, "rewrite testdata/failure from what is printed now")

// A failure text is read far more often than it is written: each change of one is seen in review.
func TestFailureReadsAsAgreed(t *testing.T) {
	for _, name := range slices.Sorted(maps.Keys(tales())) {
		t.Run(name, func(t *testing.T) {
			tale := tales()[name]
			got := failure(tale.test, tale.pkg, tale.err, tale.events, tale.hints)
			checkLayout(t, got)
			golden := filepath.Join("testdata", "failure", name+".golden")
			if *updateFailures {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if want := strings.ReplaceAll(string(want), "\r\n", "\n"); got != want {
				t.Errorf("the failure of %s reads\n%s\nand was agreed to read\n%s\nIf it is better now: go test ./harness -run TestFailure -update.failures", name, got, want)
			}
			for range 3 {
				if again := failure(tale.test, tale.pkg, tale.err, tale.events, tale.hints); again != got {
					t.Fatalf("the text is not the same each time:\n%s", again)
				}
			}
		})
	}
}

// checkLayout holds for every text: printed by go test, which indents it by eight, it stays under 100 columns.
func checkLayout(t *testing.T, text string) {
	t.Helper()
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		if n := utf8.RuneCountInString(line); n+8 >= 100 {
			t.Errorf("%d columns wide: %s", n, line)
		}
		if strings.TrimRight(line, " \t") != line {
			t.Errorf("ends in a space: %q", line)
		}
	}
	if !strings.HasSuffix(text, "\n") || strings.HasSuffix(text, "\n\n") || strings.Contains(text, "\n\n\n") {
		t.Errorf("wrong blank lines:\n%s", text)
	}
}

// What is shown of a story that nobody wrote by hand still keeps the layout, at any width.
func TestTimelineKeepsItsWidth(t *testing.T) {
	for name, tale := range tales() {
		for _, width := range []int{40, 60, 80, 99} {
			text := timeline(tale.events, BreachOf(tale.err), width)
			for line := range strings.Lines(text) {
				if n := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); n > width {
					t.Errorf("%s: %d columns, not %d: %s", name, n, width, line)
				}
			}
		}
	}
}

// The rows that a breach refers to are never left out, and exactly one of them decides.
func TestTimelineShowsTheEvidence(t *testing.T) {
	for name, tale := range tales() {
		b := BreachOf(tale.err)
		if b == nil || len(b.Seen) == 0 {
			continue
		}
		text := timeline(tale.events, b, 91)
		if n := strings.Count(text, "<--"); n != 1 {
			t.Errorf("%s: %d rows decide:\n%s", name, n, text)
		}
		if n := strings.Count(text, "\n"); n > rowsAtMost+1 {
			t.Errorf("%s: %d rows:\n%s", name, n, text)
		}
		if !strings.Contains(text, "\n>") {
			t.Errorf("%s: no row is marked as evidence:\n%s", name, text)
		}
	}
}

// A breach that refers to more than a screen holds is folded, not cut off.
func TestTimelineFoldsMuchEvidence(t *testing.T) {
	s := &script{}
	var seen []int
	for i := range int64(300) {
		seen = append(seen, s.handled("p1", "g", "orders", 0, i, ""))
	}
	text := timeline(s.events, &Breach{Seen: seen}, 91)
	if !strings.Contains(text, "handled 0/0-298") || strings.Count(text, "\n") > 4 {
		t.Errorf("300 equal events read\n%s", text)
	}
}

func TestTimelineOfNothing(t *testing.T) {
	if text := timeline(nil, &Breach{Seen: []int{4}}, 91); text != "" {
		t.Errorf("a timeline of nothing reads %q", text)
	}
	if text := timeline(nil, nil, 91); text != "" {
		t.Errorf("a timeline of nothing reads %q", text)
	}
}

func TestAgainRunsThisTest(t *testing.T) {
	for _, tt := range []struct{ test, pkg, want string }{
		{"TestStep01_X", "katas/lesson07", "go test ./katas/lesson07/... -run TestStep01_X"},
		{"TestStep01_X", "github.com/kafka-katas/kafka-katas/katas/lesson07", "go test ./katas/lesson07/... -run TestStep01_X"},
		{"TestX", "example.com/shop", "go test example.com/shop -run TestX"},
		{"TestX", "", "go test . -run TestX"},
		{"TestStep02_AFailedRecordComesAgainBeforeItsFollowersDo", "katas/lesson07", "go test ./katas/lesson07/... -run TestStep02_AFailedRecordComesAgainBeforeIts"},
	} {
		if got := againCommand(tt.test, tt.pkg, 83); got != tt.want {
			t.Errorf("%s in %s: %s, not %s", tt.test, tt.pkg, got, tt.want)
		}
	}
}

// Joined errors are several breaches; an error that wraps two is one sentence.
func TestSplitTakesJoinedErrorsApart(t *testing.T) {
	a, b := errors.New("a"), errors.New("b")
	if all := split(errors.Join(a, errors.Join(b, a))); !slices.Equal(all, []error{a, b, a}) {
		t.Errorf("joined errors come apart as %v", all)
	}
	for _, err := range []error{a, fmt.Errorf("%w, then %w", a, b), nil} {
		if all := split(err); len(all) != 1 || all[0] != err {
			t.Errorf("%v comes apart as %v", err, all)
		}
	}
}
