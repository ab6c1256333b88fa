package judge

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func sample() *Report {
	first, second := "TestStep01_OrderIsKept", "TestStep02_AClashIsSettledByTheCoordinatorAlone"
	l := LessonReport{Name: "lesson07", Specs: []string{first, second}}
	for i := range 14 {
		m := MistakeReport{Name: fmt.Sprintf("mistake_%d", i+1), Title: "Does something wrong.", Ran: true}
		switch i {
		case 0:
			m.Named, m.Red = map[string]string{first: "LOST"}, map[string]string{first: "LOST", second: "STUCK"}
		case 11:
			m.Named = map[string]string{second: "LOST"}
		case 12:
			m.Named, m.Red = map[string]string{second: "LOST"}, map[string]string{second: "STUCK"}
		}
		l.Mistakes = append(l.Mistakes, m)
	}
	return &Report{Lessons: []LessonReport{l}, Counts: Counts{Lessons: 1, Specs: 2, Mistakes: 14, Runs: 34, Broken: 1}}
}

func TestATableKeepsToItsWidth(t *testing.T) {
	var out bytes.Buffer
	sample().Print(&out, 60)
	for line := range strings.Lines(out.String()) {
		require.LessOrEqual(t, len([]rune(strings.TrimSuffix(line, "\n"))), 60, line)
	}
	tables, _, _ := strings.Cut(out.String(), "\n\n  1  mistake_1 ")
	require.Equal(t, `
lesson07                        1  2  3  4  5  6  7  8  9 10
01 OrderIsKept                  ●  ·  ·  ·  ·  ·  ·  ·  ·  ·
02 AClashIsSettledByTheCoordi…  ○  ·  ·  ·  ·  ·  ·  ·  ·  ·

lesson07                       11 12 13 14
01 OrderIsKept                  ·  ·  ·  ·
02 AClashIsSettledByTheCoordi…  ·  x  x  ·`, tables)
	require.True(t, strings.HasSuffix(out.String(), "\n1 lesson, 2 specs, 14 mistakes, 34 runs: laws broken 1 time\n"))
}

func TestAMarkdownTableLeavesGreenBlank(t *testing.T) {
	r := sample()
	r.Lessons[0].Mistakes = r.Lessons[0].Mistakes[:2]
	var out bytes.Buffer
	r.Markdown(&out)
	require.Contains(t, out.String(), `
### lesson07

| | 1 | 2 |
|---|:-:|:-:|
| 01 OrderIsKept | ● |  |
| 02 AClashIsSettledByTheCoordinatorAlone | ○ |  |

1. `+"`mistake_1`"+`: Does something wrong.
`)
}

// Two judges in one tree: the first to leave does not take the other's directory away.
func TestADirectoryIsHeldUntilTheLastLeaves(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "mistakes", "one")
	first, err := hold(dir)
	require.NoError(t, err)
	second, err := hold(dir)
	require.NoError(t, err)
	first()
	require.DirExists(t, dir)
	second()
	require.NoDirExists(t, dir)
	_, err = os.Stat(filepath.Dir(dir))
	require.NoError(t, err)
}
