package harness

import (
	"errors"
	"flag"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// judged is one claim on one journal, and the word that it must say; "" if it holds.
type judged struct {
	name   string
	script string
	word   string
	says   string
}

// judge tells the journals of a table to one claim.
func judge(t *testing.T, claim func(d *draft) Claim, table []judged) {
	t.Helper()
	for _, c := range table {
		t.Run(c.name, func(t *testing.T) {
			d := newDraft(t, paper{}, 2).write(c.script)
			err := claim(d)(d.World)
			require.Equal(t, c.word, Word(err), "%v", err)
			if c.word == "" {
				require.NoError(t, err)
				return
			}
			require.Contains(t, err.Error(), c.says)
			for _, seq := range BreachOf(err).Seen {
				require.Less(t, seq, d.journal.len())
			}
		})
	}
}

const (
	two        = "0s - produced 0/0\n 0s - produced 0/1\n"
	begun0     = "1s a began 0/0\n"
	handled0   = begun0 + "2s a handled 0/0\n"
	handledTwo = handled0 + "3s a began 0/1\n 4s a handled 0/1\n"
)

func TestHandledKnowsWhatIsLost(t *testing.T) {
	judge(t, func(d *draft) Claim { return d.bank.Handled(d.orders) }, []judged{
		{"nothing was produced", "", "", ""},
		{"all was handled", two + handledTwo, "", ""},
		{"one is missing", two + handled0, "LOST", "orders/0 offset 1 (key k-1) was never handled by group bank"},
		{"several are missing", two + begun0, "LOST", "nor were 1 other records"},
		{"an attempt that failed is no handling", two + handled0 + "3s a began 0/1\n 4s a failed 0/1", "LOST", "offset 1"},
		{"the other group's work does not count", two + handled0 + "3s b began 0/1 in:audit\n 4s b handled 0/1 in:audit", "LOST", "offset 1"},
		{"twice is no loss", two + handledTwo + "5s b began 0/1\n 6s b handled 0/1", "", ""},
		{"an offset without a record, such as a transaction's marker", "0s - produced 0/0\n 0s - produced 0/2\n" + handled0 + "3s a began 0/2\n 4s a handled 0/2", "", ""},
	})
	judge(t, func(d *draft) Claim { d.bank.BeginAtEnd(d.orders); return d.bank.Handled(d.orders) }, []judged{
		{"what was there before the group is none of its business", two, "", ""},
	})
}

func TestHandledOnceKnowsWhatIsDuplicated(t *testing.T) {
	judge(t, func(d *draft) Claim { return d.bank.HandledOnce(d.orders) }, []judged{
		{"once each", two + handledTwo, "", ""},
		{"twice", two + handledTwo + "5s b began 0/1\n 6s b handled 0/1", "DUPLICATED", "orders/0 offset 1 (key k-1) was handled 2 times: at 4.00s by a, at 6.00s by b"},
		{"a retry after a failure", two + begun0 + "2s a failed 0/0\n 3s a began 0/0\n 4s a handled 0/0", "", ""},
		{"a crash in the middle", two + begun0 + "2s a crashed\n 3s b began 0/0\n 4s b handled 0/0", "", ""},
		{"two groups", two + handled0 + "3s b began 0/0 in:audit\n 4s b handled 0/0 in:audit", "", ""},
	})
}

func TestRedeliveredOnlyUncommittedKnowsAReasonForARepetition(t *testing.T) {
	judge(t, func(d *draft) Claim { return d.bank.RedeliveredOnlyUncommitted(d.orders) }, []judged{
		{"the uncommitted tail after a crash", two + handledTwo + "5s a committed 0 1\n 6s a crashed\n 7s b began 0/1\n 8s b handled 0/1", "", ""},
		{"what was committed", two + handledTwo + "5s a committed 0 2\n 6s a crashed\n 7s b began 0/1", "DUPLICATED", "at 4.00s by a, at 7.00s by b"},
		{"committed before it was handled at all", two + "1s a committed 0 2\n 6s a crashed\n 7s b began 0/1\n 8s b handled 0/1", "", ""},
		{"after a commit that went back", two + handledTwo + "5s a committed 0 2\n 6s c committed 0 0\n 7s b began 0/1", "", ""},
		{"the other partition's commit", two + handledTwo + "5s a committed 1 2\n 7s b began 0/1", "", ""},
	})
}

func TestInOrderKnowsWhatIsReordered(t *testing.T) {
	judge(t, func(d *draft) Claim { return d.bank.InOrder(d.orders) }, []judged{
		{"one after the other", two + handledTwo, "", ""},
		{"the second first", two + "1s a began 0/1", "REORDERED", "when offset 0 had not been begun"},
		{"two at once", two + begun0 + "1s a began 0/1", "REORDERED", "when offset 0 was still in work"},
		{"past a failure", two + begun0 + "2s a failed 0/0\n 3s a began 0/1", "REORDERED", "when offset 0 had failed"},
		{"a retry", two + begun0 + "2s a failed 0/0\n 3s a began 0/0\n 4s a handled 0/0\n 5s a began 0/1", "", ""},
		{"a redelivery after a crash", two + handledTwo + "5s a crashed\n 6s b began 0/0\n 7s b handled 0/0\n 8s b began 0/1", "", ""},
		{"a takeover in the middle", two + begun0 + "2s a crashed\n 3s b began 0/0\n 4s b handled 0/0\n 5s b began 0/1", "", ""},
		{"two partitions at once", two + "0s - produced 1/0\n" + begun0 + "1s a began 1/0", "", ""},
		{"an offset without a record", "0s - produced 0/0\n 0s - produced 0/2\n" + handled0 + "3s a began 0/2", "", ""},
		{"an offset without a record does not hide one with", "0s - produced 0/0\n 0s - produced 0/2\n 0s - produced 0/3\n" + handled0 + "3s a began 0/3", "REORDERED", "when offset 2 had not been begun"},
	})
}

func TestCommitSafeKnowsACommitThatComesTooEarly(t *testing.T) {
	judge(t, func(d *draft) Claim { return d.bank.CommitSafe(d.orders) }, []judged{
		{"after the work", two + handledTwo + "5s a committed 0 2", "", ""},
		{"before the work", two + "1s a committed 0 1\n 2s a began 0/0\n 3s a handled 0/0", "COMMITTED TOO EARLY", "a committed orders/0 up to offset 1 at 1.00s when offset 0 had not been handled"},
		{"while in work", two + begun0 + "1s a committed 0 1\n 2s a handled 0/0", "COMMITTED TOO EARLY", "offset 0 had not been handled"},
		{"past a failure", two + begun0 + "2s a failed 0/0\n 3s a began 0/1\n 4s a handled 0/1\n 5s a committed 0 2", "COMMITTED TOO EARLY", "offset 0"},
		{"sent before, arrived after", two + begun0 + "2s a handled 0/0\n 3s a committed 0 1 @3", "COMMITTED TOO EARLY", "offset 0"},
		{"sent just after", two + begun0 + "2s a handled 0/0\n 3s a committed 0 1 @4", "", ""},
		{"handled by another one", two + handledTwo + "5s a crashed\n 6s b committed 0 2", "", ""},
		{"handled by another group", two + "1s a began 0/0 in:audit\n 2s a handled 0/0 in:audit\n 3s a committed 0 1", "COMMITTED TOO EARLY", "offset 0"},
		{"back again", two + handledTwo + "5s a committed 0 2\n 6s b committed 0 1", "REWOUND", "went back from 2 (by a at 5.00s) to 1 (by b at 6.00s)"},
		{"the same again", two + handledTwo + "5s a committed 0 2\n 6s b committed 0 2", "", ""},
		{"put back by an operator", two + handledTwo + "5s a committed 0 2\n 6s - committed 0 0\n 7s b began 0/0\n 8s b handled 0/0\n 9s b committed 0 1", "", ""},
		{"too far, after an operator", two + handled0 + "5s a committed 0 1\n 6s - committed 0 0\n 9s b committed 0 2", "COMMITTED TOO EARLY", "offset 1"},
		{"past an offset without a record", "0s - produced 0/0\n 0s - produced 0/2\n" + handled0 + "3s a began 0/2\n 4s a handled 0/2\n 5s a committed 0 3", "", ""},
		{"past the end", two + handledTwo + "5s a committed 0 7", "COMMITTED TOO EARLY", "offset 2 had not been handled"},
		{"the start, before any work", two + "1s a committed 0 0", "", ""},
	})
}

func TestDrainedAndCommittedAtReadTheLastCommit(t *testing.T) {
	judge(t, func(d *draft) Claim { return d.bank.Drained(d.orders) }, []judged{
		{"nothing to do", "", "", ""},
		{"nothing committed", two, "STUCK", "group bank has committed nothing of orders/0, which holds 2 records"},
		{"half", two + "1s a committed 0 1", "STUCK", "up to offset 1 of 2"},
		{"all", two + "1s a committed 0 2", "", ""},
		{"all of one partition", two + "0s - produced 1/0\n 1s a committed 0 2", "STUCK", "orders/1"},
		{"undone", two + "1s a committed 0 2\n 2s b committed 0 1", "STUCK", "up to offset 1 of 2"},
	})
	judge(t, func(d *draft) Claim { return d.bank.CommittedAt(d.orders, 0, 1) }, []judged{
		{"exactly", two + "1s a committed 0 1", "", ""},
		{"nothing", two, "DUPLICATED", "has committed nothing of orders/0; it should be offset 1"},
		{"less", two + "1s a committed 0 0", "DUPLICATED", "up to offset 0; it should be 1"},
		{"more", two + "1s a committed 0 2", "COMMITTED TOO EARLY", "up to offset 2; it should be 1"},
	})
}

func TestOneAtATimeKnowsWhatOverlaps(t *testing.T) {
	judge(t, func(d *draft) Claim { return d.bank.OneAtATime(d.orders) }, []judged{
		{"one after the other", handledTwo, "", ""},
		{"two at one member", begun0 + "2s a began 0/1", "OVERLAPPED", "when it still had offset 0 of it in work, since 1.00s"},
		{"two at two members", begun0 + "2s b began 0/0", "OVERLAPPED", "by b when a still had offset 0"},
		{"after a crash", begun0 + "2s a crashed\n 3s b began 0/0", "", ""},
		{"after a failure", begun0 + "2s a failed 0/0\n 3s b began 0/0", "", ""},
		{"two partitions", begun0 + "2s a began 1/7", "", ""},
		{"one key in two partitions", begun0 + "2s b began 1/7 k-0", "OVERLAPPED", "key k-0"},
		{"two groups", begun0 + "2s b began 0/0 in:audit", "", ""},
		{"no key is no key", "1s a began 0/0 \"\"\n 2s b handled 0/0 \"\"", "", ""},
	})
}

func TestBalancedKnowsWhoOwnsWhat(t *testing.T) {
	judge(t, func(d *draft) Claim {
		return d.bank.Balanced([]*Process{d.process("a", true), d.process("b", true)}, d.orders)
	}, []judged{
		{"one each", "1s a owns 0\n 1s b owns 1", "", ""},
		{"nobody", "", "UNBALANCED", "orders/0 has no owner"},
		{"both the same", "1s a owns 0 1\n 2s b owns 1", "UNBALANCED", "orders/1 is owned by a and b at once"},
		{"one has all", "1s a owns 0 1\n 2s b owns", "UNBALANCED", "a owns 2, b owns 0"},
		{"given up and taken", "1s a owns 0 1\n 2s a gave-up 1\n 3s b owns 1", "", ""},
		{"a stranger", "1s a owns 0\n 1s x owns 1", "UNBALANCED", "orders/1 is owned by x, which should own nothing now"},
		{"after a crash", "1s x owns 0 1\n 2s x crashed\n 3s a owns 0\n 3s b owns 1", "", ""},
		{"after leaving", "1s x owns 0 1\n 2s x left\n 3s a owns 0\n 3s b owns 1", "", ""},
		{"after leaving another group", "1s a owns 0\n 1s b owns 1\n 2s a left in:audit\n 2s b fenced in:audit\n 2s b session-expired in:audit", "", ""},
		{"put out by the coordinator", "0s a joined\n 1s a owns 0 1\n 2s a refused\n 3s b owns 0 1", "UNBALANCED", "the group gave a up, as it heard at 2.00s"},
	})
	judge(t, func(d *draft) Claim { return d.bank.Owns(d.process("a", true), 1, d.orders) }, []judged{
		{"one", "1s a owns 1", "", ""},
		{"none", "1s b owns 1", "UNBALANCED", "a owns 0 partitions; it should be 1"},
		{"both", "1s a owns 0 1", "UNBALANCED", "a owns 2 partitions"},
	})
	judge(t, func(d *draft) Claim { return d.bank.MovedOnly(d.process("a", true), 2*time.Second, 1) }, []judged{
		{"none", "1s a owns 0 1", "", ""},
		{"one", "3s a gave-up 1", "", ""},
		{"two", "3s a gave-up 1\n 4s a gave-up 0", "UNBALANCED", "a gave up 2 partitions since 2.00s; only 1 had to move"},
		{"two, by an assignment without them", "1s a owns 0 1 2\n 3s a owns 0", "UNBALANCED", "a gave up 2 partitions since 2.00s; only 1 had to move"},
		{"one each way", "1s a owns 0 1 2\n 3s a owns 0 1\n 4s a gave-up 1\n 5s a owns 0", "UNBALANCED", "a gave up 2 partitions"},
		{"after a leave", "1s a owns 0 1 2\n 2s a left\n 3s a owns 0", "", ""},
		{"before", "1s a gave-up 0 1", "", ""},
		{"another one", "3s b gave-up 0 1", "", ""},
	})
	judge(t, func(d *draft) Claim { return d.bank.Member(d.process("a", true)) }, []judged{
		{"never", "", "STUCK", "a is not a member of group bank"},
		{"yes", "1s a joined", "", ""},
		{"of another group", "1s a joined in:audit", "STUCK", "a is not a member"},
		{"of two groups", "1s a joined\n 2s a joined in:audit", "", ""},
		{"left", "1s a joined\n 2s a left", "STUCK", "a is not a member"},
		{"left another group", "1s a joined\n 2s a left in:audit", "", ""},
		{"put out", "1s a joined\n 2s a refused", "STUCK", "a is not a member"},
		{"put out and back", "1s a joined\n 2s a refused\n 3s a joined", "", ""},
	})
}

func TestBusyCountsWorkInHand(t *testing.T) {
	judge(t, func(d *draft) Claim { return d.process("a", true).Busy(1) }, []judged{
		{"one", begun0, "", ""},
		{"none", handled0, "STUCK", "a has 0 records in work at "},
		{"two", begun0 + "2s a began 0/1", "OVERLAPPED", "a has 2 records in work"},
		{"another one's", begun0 + "2s b began 0/1", "", ""},
		{"a crash ends it", begun0 + "2s a crashed\n 3s a began 0/1", "", ""},
	})
	d := newDraft(t, paper{}, 2).write(begun0 + "2s a began 0/1\n 3s a failed 0/0")
	now, most := d.process("a", true).InWork()
	require.Equal(t, [2]int{1, 2}, [2]int{now, most})
}

func TestEffectsHappenOnce(t *testing.T) {
	judge(t, func(d *draft) Claim { return d.Effects("sms").Once("k-1", "k-2") }, []judged{
		{"each once", "1s a affected sms k-1\n 2s a affected sms k-2", "", ""},
		{"one is missing", "1s a affected sms k-1", "LOST", "sms for k-2 has not happened"},
		{"one again", "1s a affected sms k-1\n 2s a affected sms k-2\n 3s b affected sms k-1", "DUPLICATED", "sms for k-1 happened again: at 1.00s by a, at 3.00s by b"},
		{"one that nobody asked for", "1s a affected sms k-1\n 2s a affected sms k-2\n 3s a affected sms k-9", "MISROUTED", "k-9"},
		{"other effects", "1s a affected sms k-1\n 2s a affected sms k-2\n 3s a affected mail k-1", "", ""},
	})
}

func TestClaimsOnTimeAreExact(t *testing.T) {
	attempts := func(d *draft) func() []Event { return d.Attempts("k-0") }
	script := "1s a began 0/0\n 2s a failed 0/0\n 3s a began 0/0"
	for _, c := range []struct {
		name  string
		b     backend
		claim func(d *draft) Claim
		word  string
	}{
		{"on time", paper{}, func(d *draft) Claim { return Times("attempts", attempts(d), time.Second, 3*time.Second) }, ""},
		{"a nanosecond late", paper{}, func(d *draft) Claim { return Times("attempts", attempts(d), time.Second, 3*time.Second-1) }, "MISTIMED"},
		{"a nanosecond early", paper{}, func(d *draft) Claim { return Times("attempts", attempts(d), time.Second, 3*time.Second+1) }, "MISTIMED"},
		{"one too many", paper{}, func(d *draft) Claim { return Times("attempts", attempts(d), time.Second) }, "DUPLICATED"},
		{"one too few", paper{}, func(d *draft) Claim { return Times("attempts", attempts(d), time.Second, 3*time.Second, 9*time.Second) }, "STUCK"},
		{"late by what is allowed", paper{}, func(d *draft) Claim { return Due("attempts", time.Second, attempts(d), time.Second, 2*time.Second) }, ""},
		{"late by more", paper{}, func(d *draft) Claim { return Due("attempts", time.Second-1, attempts(d), time.Second, 2*time.Second) }, "MISTIMED"},
		{"real time has slack", paper{late: time.Second}, func(d *draft) Claim { return Times("attempts", attempts(d), time.Second, 2*time.Second) }, ""},
		{"but not to be early", paper{late: time.Second}, func(d *draft) Claim { return Times("attempts", attempts(d), time.Second, 3*time.Second+1) }, "MISTIMED"},
		{"happened", paper{}, func(*draft) Claim { return Happened("a failure", Of(Failed), Keyed("k-0")) }, ""},
		{"did not happen", paper{}, func(*draft) Claim { return Happened("a failure", Of(Failed), Keyed("k-1")) }, "STUCK"},
		{"took exactly", paper{}, func(*draft) Claim { return Took("the stop", 5, 5) }, ""},
		{"took longer", paper{}, func(*draft) Claim { return Took("the stop", 6, 5) }, "MISTIMED"},
		{"took less", paper{late: time.Second}, func(*draft) Claim { return Took("the stop", 4, 5) }, "MISTIMED"},
		{"at most", paper{}, func(*draft) Claim { return AtMost("the stop", 5, 5) }, ""},
		{"more than that", paper{}, func(*draft) Claim { return AtMost("the stop", 6, 5) }, "MISTIMED"},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := newDraft(t, c.b, 1).write(script)
			err := c.claim(d)(d.World)
			require.Equal(t, c.word, Word(err), "%v", err)
		})
	}
}

func TestClaimsOnWhatAProgramReports(t *testing.T) {
	d := newDraft(t, paper{}, 1).write(begun0 + "2s a handled 0/0")
	a, gone := d.process("a", true), d.process("b", false)
	errFatal, errOther := errors.New("the disk is full"), errors.New("other")
	gone.err = fmt.Errorf("b: %w", errFatal)
	a.requests[OffsetCommit] = 3
	holds := func(*World) error { return nil }
	broken := func(*World) error { return &Lost{says("", "x")} }
	for _, c := range []struct {
		name  string
		claim Claim
		word  string
	}{
		{"conserved", Conserved("orders", func() Flow { return Flow{In: 5, OK: 1, Filtered: 1, Parked: 1, Dead: 1, Held: 1} }), ""},
		{"one has gone", Conserved("orders", func() Flow { return Flow{In: 5, OK: 4} }), "LOST"},
		{"one too many", Conserved("orders", func() Flow { return Flow{In: 5, OK: 5, Dead: 1} }), "DUPLICATED"},
		{"rate within", a.Rate(OffsetCommit, 3, 0), ""},
		{"rate allowed", a.Rate(OffsetCommit, 0.5, 3), ""},
		{"rate above", a.Rate(OffsetCommit, 0.5, 2), "WASTEFUL"},
		{"rate of nothing", a.Rate(Produce, 0, 0), ""},
		{"reported", Reported(func() error { return nil }), ""},
		{"misreported", Reported(func() error { return errOther }), "MISREPORTED"},
		{"reported in a word of its own", Reported(func() error { return broken(nil) }), "LOST"},
		{"ends as it should", gone.Ends(errFatal), ""},
		{"ends otherwise", gone.Ends(errOther), "BROKEN"},
		{"still runs", a.Ends(errFatal), "STUCK"},
		{"gone", Gone("b"), ""},
		{"never was", Gone("c"), ""},
		{"not gone", Gone("a"), "STUCK"},
		{"any of none", Any(), ""},
		{"any", Any(broken, holds), ""},
		{"any of the broken", Any(broken, Gone("a")), "LOST"},
		{"all of none", All(), ""},
		{"all", All(holds, holds), ""},
		{"not all", All(holds, Gone("a"), broken), "STUCK"},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := c.claim(d.World)
			require.Equal(t, c.word, Word(err), "%v", err)
			require.Equal(t, c.word == "", err == nil)
		})
	}
}

// A journal can be as odd as a program makes it: a claim judges it or not, but it never panics, and what it shows exists.
func TestClaimsNeverPanicOnOddJournals(t *testing.T) {
	for name, value := range map[string]string{"rapid.seed": "20260922", "rapid.nofailfile": "true"} { // a verdict never changes by itself
		require.NoError(t, flag.Set(name, value))
	}
	rapid.Check(t, func(rt *rapid.T) {
		d := newDraft(t, paper{}, 2)
		var lines []string
		for range rapid.IntRange(0, 25).Draw(rt, "events") {
			lines = append(lines, fmt.Sprintf("%ds %s %s", rapid.IntRange(0, 9).Draw(rt, "at"), rapid.SampledFrom([]string{"a", "b", "-"}).Draw(rt, "who"), oddEvent(rt)))
		}
		d.write(strings.Join(lines, "\n"))
		a, b := d.process("a", true), d.process("b", false)
		for name, claim := range map[string]Claim{
			"Handled": d.bank.Handled(d.orders), "HandledOnce": d.bank.HandledOnce(d.orders), "InOrder": d.bank.InOrder(d.orders),
			"RedeliveredOnlyUncommitted": d.bank.RedeliveredOnlyUncommitted(d.orders), "CommitSafe": d.bank.CommitSafe(d.orders),
			"Drained": d.bank.Drained(d.orders), "CommittedAt": d.bank.CommittedAt(d.orders, 1, 2), "OneAtATime": d.bank.OneAtATime(d.orders),
			"Balanced": d.bank.Balanced([]*Process{a, b}, d.orders), "Owns": d.bank.Owns(a, 1, d.orders), "MovedOnly": d.bank.MovedOnly(a, time.Second, 1),
			"Member": d.bank.Member(a), "Busy": a.Busy(1), "Ends": b.Ends(nil), "Rate": a.Rate(OffsetCommit, 1, 0), "Gone": Gone("a"),
			"Once": d.Effects("sms").Once("k-0"), "Times": Times("attempts", d.Attempts("k-1"), time.Second),
		} {
			err := claim(d.World)
			if err != nil && Word(err) == "" {
				rt.Fatalf("%s speaks no delivery word: %v", name, err)
			}
			if err == nil {
				continue
			}
			for _, seq := range BreachOf(err).Seen {
				if seq < 0 || seq >= d.journal.len() {
					rt.Fatalf("%s shows event %d of %d", name, seq, d.journal.len())
				}
			}
			if text := failure("TestX", "example.org/x", err, d.journal.Events(), failureHints{}); !strings.Contains(text, Word(err)) {
				rt.Fatalf("%s: %s", name, text)
			}
		}
	})
}

func oddEvent(rt *rapid.T) string {
	partition, offset := rapid.IntRange(0, 2).Draw(rt, "partition"), rapid.IntRange(0, 4).Draw(rt, "offset")
	kind := rapid.SampledFrom([]string{
		"produced", "began", "handled", "failed", "committed", "owns", "gave-up", "joined", "left", "crashed", "stopped",
		"session-expired", "fenced", "refused", "affected", "isolated", "healed", "started", "note",
	}).Draw(rt, "kind")
	switch kind {
	case "produced", "began", "handled", "failed":
		return fmt.Sprintf("%s %d/%d", kind, partition, offset)
	case "committed":
		return fmt.Sprintf("%s %d %d @%d", kind, partition, offset, rapid.IntRange(0, 30).Draw(rt, "sent"))
	case "owns", "gave-up":
		return fmt.Sprintf("%s %d", kind, partition)
	case "affected":
		return fmt.Sprintf("affected sms k-%d", offset)
	}
	return kind
}
