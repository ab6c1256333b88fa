package judge

import (
	"context"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/mod/modfile"
)

// Tag is the build tag under which virtual time works with the client (CONTRIBUTING.md says why).
const Tag = "synctests"

// Options say how to judge. The zero value judges every law, three times round.
type Options struct {
	Laws    []Law         // none means all
	Mistake string        // judge this mistake alone, by law 3
	Repeat  int           // runs of each spec on the solution; 0 means 3
	NoRace  bool          // for a machine without a C compiler
	Shuffle string        // the seed of an earlier run; "" takes a new one
	Timeout time.Duration // of each go command's test binaries; 0 means 10 minutes
	Explore time.Duration // how long each exploration takes new seeds on the solution; 0 for its fixed ones
	Keep    bool          // leave the overlay in place and say where
	Log     io.Writer     // one line for each law as it is judged; nil for none
}

func (o Options) wants(l Law) bool {
	return len(o.Laws) == 0 && o.Mistake == "" || slices.Contains(o.Laws, l) || o.Mistake != "" && l == Mistake
}

// session is one judgement under way.
type session struct {
	*Course
	Options
	ctx    context.Context
	module string
	work   string // temporary files
	runs   int
	report *Report
}

// Judge judges the course. An error means that it could not; what it found is in the report.
func (c *Course) Judge(ctx context.Context, o Options) (*Report, error) {
	if o.Repeat == 0 {
		o.Repeat = 3
	}
	if o.Timeout == 0 {
		o.Timeout = 10 * time.Minute
	}
	if o.Log == nil {
		o.Log = io.Discard
	}
	mod, err := os.ReadFile(filepath.Join(c.Root, "go.mod"))
	if err != nil {
		return nil, err
	}
	work, err := os.MkdirTemp("", "kata-check-")
	if err != nil {
		return nil, err
	}
	if o.Keep {
		fmt.Fprintf(o.Log, "kept   %s\n", work)
	} else {
		defer os.RemoveAll(work)
	}
	s := &session{Course: c, Options: o, ctx: ctx, module: modfile.ModulePath(mod), work: work, report: newReport(c, o.Mistake)}
	if o.Mistake != "" && !s.hasMistake() {
		return nil, fmt.Errorf("no such mistake as %q; there is: %s", o.Mistake, orNone(s.mistakeNames()))
	}
	steps := map[Law]func() error{
		Stub: s.judgeStubs, Solution: s.judgeSolutions, Mistake: s.judgeMistakes,
		Spec: c.judgeSpecs, Surface: c.judgeSurfaces,
	}
	for _, law := range Laws() {
		if !o.wants(law) || len(c.Lessons) == 0 {
			continue
		}
		start := time.Now()
		if err := steps[law](); err != nil {
			return nil, fmt.Errorf("law %d (%s): %w", law, law, err)
		}
		fmt.Fprintf(o.Log, "law %d  %-9s %s  %5.1fs\n", law, law, s.tally(law), time.Since(start).Seconds())
	}
	s.report.close(s)
	return s.report, nil
}

// tally says in a word how a law stands.
func (s *session) tally(law Law) string {
	n := 0
	for _, l := range s.Lessons {
		for _, b := range l.broken {
			if b.Law == law {
				n++
			}
		}
	}
	if n == 0 {
		return "holds       "
	}
	return fmt.Sprintf("broken %4dx", n)
}

func (s *session) hasMistake() bool { return slices.Contains(s.mistakeNames(), s.Options.Mistake) }

func (s *session) mistakeNames() []string {
	var out []string
	for _, l := range s.Lessons {
		for _, w := range l.Mistakes {
			out = append(out, w.Name)
		}
	}
	return out
}

// importPath of a pattern such as ./katas/lesson07.
func (s *session) importPath(pattern string) string {
	return s.module + strings.TrimPrefix(pattern, ".")
}

// test runs one go test over all patterns and shows the command when the overlay is kept.
func (s *session) test(flags, patterns []string) (*testRun, error) {
	args := slices.Concat([]string{"-tags", Tag}, flags, patterns)
	var env []string
	if s.Explore > 0 {
		env = []string{"KATA_EXPLORE=" + s.Explore.String()}
		args = slices.Insert(args, 0, "-timeout", "0") // each exploration keeps its own time
	} else {
		args = slices.Insert(args, 0, "-timeout", s.Timeout.String())
	}
	if s.Keep {
		fmt.Fprintf(s.Log, "       KATA_ALL=1 go test %s\n", strings.Join(args, " "))
	}
	r, err := goTest(s.ctx, s.Root, env, args...)
	if err == nil {
		s.runs += r.runs()
	}
	return r, err
}

// judgeSolutions is law 2.
func (s *session) judgeSolutions() error {
	o := newOverlay(s.work)
	var patterns []string
	for _, l := range s.answered() {
		if err := o.laySpec(l, l.solution()); err != nil {
			return err
		}
		patterns = append(patterns, l.solutionPattern())
	}
	if len(patterns) == 0 {
		return nil
	}
	file, err := o.write("solutions.json")
	if err != nil {
		return err
	}
	shuffle := cmpOr(s.Shuffle, strconv.FormatInt(time.Now().UnixNano(), 10))
	flags := []string{"-overlay", file, "-shuffle", shuffle, "-count", strconv.Itoa(s.Repeat)}
	again := fmt.Sprintf(" --law 2 --shuffle %s --repeat %d", shuffle, s.Repeat)
	if s.NoRace {
		again += " --race=false"
	} else {
		flags = append(flags, "-race")
	}
	r, err := s.test(flags, patterns)
	if err != nil {
		return err
	}
	if !s.NoRace {
		if err := s.raceAgain(r, flags); err != nil {
			return err
		}
	}
	for _, l := range s.answered() {
		l.judgeSolution(r.of(s.importPath(l.solutionPattern())), s.Repeat, "go tool kata check "+l.Name+again)
	}
	return nil
}

// raceAgain repeats, a few times if need be, what the race detector ended by a fault of its own: it is a program as well, and
// its failed checks say nothing of the one that it watches. A data race is not among them. Which programs it happens to
// follows no rule that is known: lesson 12's in one run of ten.
func (s *session) raceAgain(r *testRun, flags []string) error {
	noted := map[string]bool{}
	for range 5 {
		var patterns []string
		for _, l := range s.answered() {
			if r.of(s.importPath(l.solutionPattern())).detectorFailed() {
				patterns = append(patterns, l.solutionPattern())
				if !noted[l.Name] {
					noted[l.Name] = true
					s.report.Notes = append(s.report.Notes, l.Name+": the race detector failed a check of its own, so law 2 was judged on another run")
				}
			}
		}
		if len(patterns) == 0 {
			return nil
		}
		another, err := s.test(flags, patterns)
		if err != nil {
			return err
		}
		maps.Copy(r.packages, another.packages)
	}
	return nil
}

// detectorFailed says whether the race detector ended the program by itself, in its own words or in the
// harness's, which tells that from the program's own faults.
func (p *packageRun) detectorFailed() bool {
	says := func(output string) bool {
		return strings.Contains(output, "ThreadSanitizer: CHECK failed") || strings.Contains(output, "BROKEN: the race detector failed a check of its own")
	}
	if says(p.output) {
		return true
	}
	for _, all := range p.tests {
		for _, o := range all {
			if says(o.output) {
				return true
			}
		}
	}
	return false
}

func (l *Lesson) judgeSolution(p *packageRun, repeat int, again string) {
	breaks := func(subject, got, output string) {
		l.breaks(Solution, Broken{
			Subject: subject, Expected: fmt.Sprintf("green %d times", repeat), Got: got, Output: excerpt(output, 40), Again: again,
		})
	}
	if p.build != "" {
		breaks("the solution", "the spec does not build on it", p.build)
		return
	}
	found := len(l.broken)
	judged := map[string]bool{}
	for _, s := range l.Specs {
		judged[s.Name] = true
		ran := 0
		for _, o := range p.tests[s.Name] {
			if o.result != "pass" {
				breaks(s.Name, how(o.result, o.word, o.output), o.output)
				break
			}
			ran++
		}
		if n := len(p.tests[s.Name]); ran == n && n < repeat {
			breaks(s.Name, fmt.Sprintf("it ran %d times", n), p.output)
		}
	}
	for name, all := range p.tests {
		for _, o := range all {
			if o.result != "pass" && o.result != "skip" && !judged[name] && !strings.Contains(name, "/") {
				breaks(name, how(o.result, o.word, o.output), o.output)
				break
			}
		}
	}
	if p.failed && len(l.broken) == found {
		breaks("the solution", "every test is green and yet the test program failed", p.output)
	}
}

// how says in words how a run ended.
func how(result, word, output string) string {
	switch {
	case result == "pass":
		return "green"
	case result == "skip":
		return "skipped"
	case strings.Contains(output, "panic: test timed out"):
		return "a time-out"
	case strings.Contains(output, "DATA RACE"):
		return "a data race"
	case word != "":
		return "red: " + word
	case strings.Contains(output, "panic:"):
		return "a panic"
	case result == "":
		return "it did not run to its end"
	}
	return "red without a verdict"
}
