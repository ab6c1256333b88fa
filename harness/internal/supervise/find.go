package supervise

import (
	"bytes"
	"strings"

	"github.com/kafka-katas/kafka-katas/harness/internal/stacks"
)

// crashIn finds the text of a crash that began in the middle of a line, after output without a line's end.
func crashIn(tail []byte) []byte {
	for _, c := range crashes[:2] {
		if i := bytes.Index(tail, []byte(c)); i >= 0 && bytes.Contains(tail[i:], []byte("\ngoroutine ")) {
			return tail[i:]
		}
	}
	return nil
}

// testOn is the test that the crashed goroutine ran or came from, "" if it cannot be seen.
func testOn(crashText []byte) string {
	gs := stacks.Parse(crashText)
	if len(gs) == 0 {
		return ""
	}
	g := gs[0]
	frames := append(append(append([]stacks.Frame(nil), g.Frames...), g.CreatedBy), g.Ancestors...)
	for _, f := range frames {
		if !strings.HasSuffix(f.File, "_test.go") {
			continue
		}
		name := f.Func[strings.LastIndexByte(f.Func, '/')+1:]
		_, name, _ = strings.Cut(name, ".")
		name, _, _ = strings.Cut(name, ".")
		if strings.HasPrefix(name, "Test") {
			return name
		}
	}
	return ""
}
