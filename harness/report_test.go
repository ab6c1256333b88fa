package harness

import (
	"encoding/xml"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

var reportDir = flag.String("update.reports", "", "write the reports of the sample stories into this folder, to look at them")

func (t told) report() reportData { return reportData{t.test, t.pkg, t.err, t.events, t.hints} }

// Whatever a story holds, its report is one well-formed file which asks for nothing from elsewhere.
func TestReportStandsAlone(t *testing.T) {
	outside := regexp.MustCompile(`(?i)\b(src|srcset|action|poster|data|xlink:href)="|href="[^#]|url\([^#]|@import|https?:`)
	for name, tale := range tales() {
		text := reportPage(tale.report())
		if *reportDir != "" {
			if err := writeReport(filepath.Join(*reportDir, name+".html"), tale.report()); err != nil {
				t.Fatal(err)
			}
		}
		if found := outside.FindString(text); found != "" {
			t.Errorf("%s refers to something outside: %s", name, found)
		}
		wellFormed(t, name, text)
		if again := reportPage(tale.report()); again != text {
			t.Errorf("%s is not the same each time", name)
		}
		for _, e := range tale.events {
			if !strings.Contains(text, fmt.Sprintf(`<tr id="e%d"`, e.Seq)) {
				t.Errorf("%s leaves event %d out", name, e.Seq)
			}
		}
	}
}

// wellFormed checks that what is opened is closed. Style and script are not markup.
func wellFormed(t *testing.T, name, text string) {
	t.Helper()
	text = regexp.MustCompile(`(?s)<(style|script)>.*?</(style|script)>`).ReplaceAllString(text, "")
	d := xml.NewDecoder(strings.NewReader(text))
	d.Strict, d.AutoClose, d.Entity = false, []string{"meta", "input"}, xml.HTMLEntity
	ids := map[string]bool{}
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			t.Errorf("%s is not well-formed: %v", name, err)
			return
		}
		if start, ok := token.(xml.StartElement); ok {
			for _, a := range start.Attr {
				switch {
				case a.Name.Local == "style" || strings.HasPrefix(a.Name.Local, "on"):
					t.Errorf("%s: the page's own policy forbids %s=%q", name, a.Name.Local, a.Value)
				case a.Name.Local == "id" && ids[a.Value]:
					t.Errorf("%s: two elements are called %s", name, a.Value)
				case a.Name.Local == "id":
					ids[a.Value] = true
				case strings.Contains(a.Value, "NaN") || strings.Contains(a.Value, "Inf"):
					t.Errorf("%s: %s=%q", name, a.Name.Local, a.Value)
				}
			}
		}
	}
}

// Names, keys and errors are anybody's text, and stay text.
func TestReportEscapesEverything(t *testing.T) {
	const evil = `"><script>alert('x')</script>&` + "\x1b[31m\xff"
	s := &script{}
	s.does(evil, Started)
	s.owns(evil, evil, tps(evil, 0))
	s.produced(evil, 0, 0, evil)
	seq := s.handled(evil, evil, evil, 0, 0, evil)
	for _, k := range []Kind{Disturbed, Noted, Called, Refused, Crashed, Expired} {
		s.time(s.at + ms).add(Event{Process: evil, Kind: k, Group: evil, Text: evil, Err: errors.New(evil)})
	}
	tale := told{test: evil, pkg: evil, events: s.events, err: &Lost{Breach{What: evil, Why: evil, Seen: []int{seq}}}, hints: failureHints{
		Also: []error{errors.New(evil)}, Notes: [][2]string{{evil, evil}}, Again: evil, Hint: evil,
	}}
	text := reportPage(tale.report())
	if n := strings.Count(text, "<script"); n != 1 {
		t.Errorf("%d scripts", n)
	}
	if strings.Contains(text, "\x1b") || !utf8.ValidString(text) {
		t.Error("control characters or broken UTF-8 got through")
	}
	wellFormed(t, "evil", text)
	if printed := failure(tale.test, tale.pkg, tale.err, tale.events, tale.hints); strings.Contains(printed, "\x1b") || !utf8.ValidString(printed) {
		t.Errorf("control characters or broken UTF-8 reach the terminal:\n%q", printed)
	}
}

// Of payloads and long keys a report shows nothing beyond the key's beginning.
func TestReportCutsKeys(t *testing.T) {
	s := &script{}
	s.handled("p1", "g", "orders", 0, 0, strings.Repeat("4111 ", 50))
	text := reportPage(reportData{Test: "TestX", Events: s.events})
	if strings.Contains(text, strings.Repeat("4111 ", 11)) {
		t.Error("a long key is written out")
	}
}

func TestReportOfNothing(t *testing.T) {
	for _, story := range []reportData{{}, {Err: errors.New("no cluster")}, {Events: []Event{{Kind: Noted, Text: "x"}}}} {
		wellFormed(t, "nothing", reportPage(story))
	}
}

// A page with dense groups stays small enough to open at once.
func TestReportGroupsWhatIsDense(t *testing.T) {
	text := reportPage(busy().report())
	if marks := strings.Count(text, `class="mark`); marks > 1600 {
		t.Errorf("%d marks for %d events", marks, len(busy().events))
	}
}

func TestWriteReportMakesItsFolder(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a", "b.html")
	if err := writeReport(path, takeover().report()); err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(path); err != nil || !strings.HasPrefix(string(text), "<!DOCTYPE html>") {
		t.Errorf("%v: %.40s", err, text)
	}
}

// The coordinator's view: a crashed owner stays one until its session expires.
func TestOwnershipLastsUntilTheSessionExpires(t *testing.T) {
	spans := ownSpans(takeover().events)
	if len(spans) != 2 {
		t.Fatalf("%d owners, not 2: %+v", len(spans), spans)
	}
	old, young := spans[0], spans[1]
	if old.process != "teller" || old.gone != 250*ms || old.to != 45250*ms {
		t.Errorf("teller owns from %v to %v, cut off at %v", old.from, old.to, old.gone)
	}
	if young.process != "teller-2" || young.from != 45260*ms || young.to != forever {
		t.Errorf("%s owns from %v to %v", young.process, young.from, young.to)
	}
}

// Time never runs backwards on a chart, and idle time leaves room for what happens.
func TestTimeScaleCompressesIdleTime(t *testing.T) {
	for name, tale := range tales() {
		s := newTimeScale(tale.events, 100, 1300)
		for i := 1; i < len(s.at); i++ {
			if s.at[i] < s.at[i-1] || s.at[i] > 1300.001 {
				t.Errorf("%s: %v lies at %f, %v at %f", name, s.times[i-1], s.at[i-1], s.times[i], s.at[i])
			}
		}
	}
	s := newTimeScale(takeover().events, 100, 1300)
	if len(s.gaps) != 1 || s.gaps[0].lasts != 44990*ms {
		t.Errorf("the gaps of a takeover: %+v", s.gaps)
	}
	if at := s.column(22*time.Second + 755*ms); at <= s.gaps[0].from || at >= s.gaps[0].to {
		t.Errorf("the middle of a gap lies at %f, not in %+v", at, s.gaps[0])
	}
}

func BenchmarkFailure(b *testing.B) {
	tale := busy()
	for b.Loop() {
		failure(tale.test, tale.pkg, tale.err, tale.events, tale.hints)
	}
}

func BenchmarkReport(b *testing.B) {
	tale := busy()
	for b.Loop() {
		reportPage(tale.report())
	}
}
