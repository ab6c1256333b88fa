package judge

import (
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

// The table tells same, differs and skipped apart, with reasons.
func TestARealReportIsATable(t *testing.T) {
	report := &RealReport{Cluster: "Kafka v4.3 (3 brokers)", Client: "v1.22.2", Limit: "5m0s", Side: 2, Seconds: 61.4, FakeSeconds: 0.5, Specs: []*RealSpec{
		{Lesson: "lesson07", Spec: "TestStep01_A", Verdict: Same, Fake: "green", Real: "green", Lasts: 45, Seconds: 46.2},
		{Lesson: "lesson07", Spec: "TestStep02_B", Verdict: Differs, Fake: "green", Real: "red: LOST", Why: "LOST: a|b", Seconds: 3},
		{Lesson: "lesson08", Spec: "TestStep01_C", Verdict: Skipped, Fake: "green", Why: "the story lasts 24h0m0s, longer than 5m0s", Lasts: 86400},
	}}
	var out strings.Builder

	report.Markdown(&out)

	require.Equal(t, `## The same specifications on a real cluster

3 specs on Kafka v4.3 (3 brokers): 1 same, 1 differ, 1 skipped; 61s side by side, 0.5s in virtual time. franz-go v1.22.2; stories longer than 5m0s are left out; 2 side by side.

### lesson07

| spec | real against fake | story | seconds | |
|---|---|--:|--:|---|
| 01 A | same | 45.0 | 46.2 |  |
| 02 B | **differs**: red: LOST | 0.0 | 3.0 | LOST: a\|b |

### lesson08

| spec | real against fake | story | seconds | |
|---|---|--:|--:|---|
| 01 C | skipped | 86400.0 |  | the story lasts 24h0m0s, longer than 5m0s |
`, out.String())
}
