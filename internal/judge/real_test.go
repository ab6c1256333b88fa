package judge

import (
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// What go test prints becomes a verdict on the comparison, its reason and the story's length.
func TestARealRunIsRead(t *testing.T) {
	r := newTestRun()
	require.NoError(t, r.read(strings.NewReader(`
{"Action":"run","Package":"p","Test":"TestStep01_A"}
{"Action":"attr","Package":"p","Test":"TestStep01_A","Key":"lasts","Value":"1m2.5s"}
{"Action":"attr","Package":"p","Test":"TestStep01_A","Key":"verdict","Value":"LOST"}
{"Action":"output","Package":"p","Test":"TestStep01_A","Output":"    step01_test.go:5: \n"}
{"Action":"output","Package":"p","Test":"TestStep01_A","Output":"        LOST: orders/0 offset 0 was never\n        handled\n        \n"}
{"Action":"output","Package":"p","Test":"TestStep01_A","Output":"        again  go test\n"}
{"Action":"fail","Package":"p","Test":"TestStep01_A"}
{"Action":"run","Package":"p","Test":"TestStep02_B"}
{"Action":"output","Package":"p","Test":"TestStep02_B","Output":"    step02_test.go:5: not told on a real cluster: it stops a broker\n"}
{"Action":"skip","Package":"p","Test":"TestStep02_B"}
`)))
	a, b := r.of("p").last("TestStep01_A"), r.of("p").last("TestStep02_B")

	require.Equal(t, 62500*time.Millisecond, a.lasts)
	require.Equal(t, "LOST: orders/0 offset 0 was never handled", firstSentence(a.output))
	require.Equal(t, "not told on a real cluster: it stops a broker", skipReason(b.output))
}

// onReal opens the course of real.txtar and tells it somewhere.
func onReal(t *testing.T, root string, o RealOptions) *RealReport {
	t.Helper()
	somebody, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer somebody.Close()
	o.Brokers = somebody.Addr().String()
	c, err := Open(root)
	require.NoError(t, err)
	r, err := c.OnReal(t.Context(), o)
	require.NoError(t, err)
	return r
}

// Each spec and each mistake has its verdict with the reason, and the table is kept over runs: what was told stays, by
// whatever run, until it is told again.
func TestTheSolutionsAndMistakesOnAClusterAreATable(t *testing.T) {
	root := t.TempDir()
	write(t, root, parse(t, "testdata/real.txtar").Files)
	t.Setenv("BUSY", filepath.Join(root, "seen"))
	table := TableAt(filepath.Join(root, "solutions", "REAL.md"))
	var log strings.Builder

	short := onReal(t, root, RealOptions{Limit: time.Second, Log: &log})
	require.Equal(t, "the story lasts 2s, longer than 1s", short.Specs[1].Why)
	require.NoError(t, table.Add(root, short))
	specs := onReal(t, root, RealOptions{Keep: func(_ string, step int) bool { return step > 1 }, Log: &log})
	require.False(t, specs.Holds())
	require.NoError(t, table.Add(root, specs))
	wrong := onReal(t, root, RealOptions{Wrong: true, Log: &log})
	require.False(t, wrong.Holds(), "half of those told is not enough")
	require.NoError(t, table.Add(root, wrong))

	require.Contains(t, log.String(), "lesson01 TestStep02_OnTheClusterItIsLost  differs, red: LOST\n")
	require.Contains(t, log.String(), "lesson01/caught  red: LOST\n")
	text, err := os.ReadFile(table.Markdown)
	require.NoError(t, err)
	seconds := regexp.MustCompile(`\d+\.\ds|\d+s|ratio \d+|\| \d\.\d \| ( \||LOST|told)|go1[^ ]*\.`)
	got := seconds.ReplaceAllStringFunc(string(text), func(s string) string { return regexp.MustCompile(`[\d.]+`).ReplaceAllString(s, "N") })
	require.Equal(t, `<!-- Written by `+"`go tool kata check --brokers ... --table`"+`. -->

## The same specifications on a real cluster

6 specs on Kafka v4.3 (brokers: 3): 3 same, 1 differ, 2 skipped; one run told 3 in Ns side by side, and all in Ns in virtual time (ratio N).

4 mistakes on Kafka v4.3 (brokers: 3): 1 caught in the same word, 1 not, 2 skipped; one run told 2 in Ns side by side; 50% of those told are caught.

franz-go , kfake , goN Stories longer than 5mNs are left out; up to 16 side by side; from 3 runs.

Only the fake can do what these need:

- lesson01 03 ItNeedsTheFake: it stops a broker

### lesson01

| spec | real against fake | story | seconds | |
|---|---|--:|--:|---|
| 01 TheSameOnBoth | same | 1.0 | N |  |
| 02 OnTheClusterItIsLost | **differs**: red: LOST | 2.0 | N | LOST: it was not 42 **Found:** the fake is wrong. |
| 03 ItNeedsTheFake | skipped | N |  | not told on a real cluster: it stops a broker |
| 04 ItIsLong | skipped | 3600.0 |  | the story lasts 1h0mNs, longer than 5mNs |
| 05 OnlyTheFakeSees | same | 5.0 | N |  |
| 06 ABusyMachineIsNoDifference | same | 6.0 | N | told twice; at first LOST: it was not 42 |

### Mistakes of lesson01

| mistake | real against fake | should be | spec | seconds | |
|---|---|---|---|--:|---|
| caught | same | LOST | 01 TheSameOnBoth | N |  |
| gets_away | **differs**: green | LOST | 05 OnlyTheFakeSees | N |  |
| long | skipped |  |  |  | the story that catches it lasts 1h0mNs, longer than 5mNs |
| stale | skipped |  |  |  | its diff does not apply: answer.go: conflict: fragment line does not match src line |
`, got)

	// The rest is what was not the same.
	same, err := table.Same()
	require.NoError(t, err)
	rest := onReal(t, root, RealOptions{Told: same, Within: time.Millisecond})
	require.Len(t, rest.Specs, 3)
	rest = onReal(t, root, RealOptions{Told: same, Within: time.Millisecond, Wrong: true})
	require.Len(t, rest.Mistakes, 3)

	// Other versions begin a new table.
	other := *short
	other.Cluster = "Kafka v5.0 (brokers: 3)"
	require.NoError(t, table.Add(root, &other))
	text, err = os.ReadFile(table.Markdown)
	require.NoError(t, err)
	require.NotContains(t, string(text), "v4.3")
	require.NotContains(t, string(text), "Mistakes of")
}

// What there is no time for is not begun, and says so.
func TestARunOnAClusterKeepsItsTime(t *testing.T) {
	root := t.TempDir()
	write(t, root, parse(t, "testdata/real.txtar").Files)

	r := onReal(t, root, RealOptions{Within: time.Millisecond})

	require.Equal(t, len(r.Specs), r.Count(Skipped))
	require.Equal(t, notTold, r.Specs[0].Why)
	require.EqualError(t, TableAt(filepath.Join(root, "t.md")).Add(root, r), "no story was told on the cluster, so the table stays as it was")
}
