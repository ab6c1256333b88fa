package judge

import (
	"fmt"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/kafka-katas/kafka-katas/internal/toolchain"
)

// judgeMistakes is law 3: one go command for the mistakes of all lessons that an exploration is said to catch, and one
// for the others, where explorations are left out: they would take most of the time and prove nothing.
func (s *session) judgeMistakes() error {
	o := newOverlay(s.work)
	var plain, explored []string
	type laid struct {
		lesson *Lesson
		wrong  *Wrong
	}
	var all []laid
	for _, l := range s.answered() {
		for _, w := range l.Mistakes {
			if !w.ready || s.Options.Mistake != "" && w.Name != s.Options.Mistake {
				continue
			}
			if err := o.layMistake(l, w); err != nil {
				l.breaksMistake(w, "a diff that applies to the solution as it is now", err.Error(), "")
				continue
			}
			release, err := hold(filepath.Join(l.solution(), "mistakes", w.Name))
			if err != nil {
				return err
			}
			defer release()
			all = append(all, laid{l, w})
			if s.Options.Mistake != "" || l.explores(w) {
				explored = append(explored, l.mistakePattern(w))
			} else {
				plain = append(plain, l.mistakePattern(w))
			}
		}
	}
	if len(all) == 0 {
		return nil
	}
	file, err := o.write("mistakes.json")
	if err != nil {
		return err
	}
	r := newTestRun()
	for _, phase := range []struct {
		flags, patterns []string
	}{{s.withoutExplorations(), plain}, {nil, explored}} {
		if len(phase.patterns) == 0 {
			continue
		}
		part, err := s.test(slices.Concat(quick, []string{"-overlay", file}, phase.flags), phase.patterns)
		if err != nil {
			return err
		}
		maps.Copy(r.packages, part.packages)
	}
	for _, m := range all {
		s.report.record(m.lesson, m.wrong, r.of(s.importPath(m.lesson.mistakePattern(m.wrong))))
	}
	// A mistake that is a race is not red in every order of goroutines. It gets further looks, until it is caught, and a
	// note says how often it was: such a one wants a spec that catches it each time.
	later := newTestRun()
	for range furtherLooks {
		var again, specs []string
		for _, m := range all {
			pattern := m.lesson.mistakePattern(m.wrong)
			p := later.of(s.importPath(pattern))
			missed := slices.DeleteFunc(m.lesson.missed(m.wrong, r.of(s.importPath(pattern))), func(c Catch) bool { return p.times(c) > 0 })
			if len(missed) == 0 {
				continue
			}
			again = append(again, pattern)
			for _, catch := range missed {
				specs = append(specs, regexp.QuoteMeta(catch.Spec))
			}
		}
		if len(again) == 0 {
			break
		}
		look, err := s.test(slices.Concat(quick, []string{"-overlay", file, fmt.Sprintf("-count=%d", runsOfALook), "-run", "^(" + strings.Join(specs, "|") + ")$"}), again)
		if err != nil {
			return err
		}
		for _, pattern := range again {
			p := later.of(s.importPath(pattern))
			for spec, outcomes := range look.of(s.importPath(pattern)).tests {
				p.tests[spec] = append(p.tests[spec], outcomes...)
			}
		}
	}
	for _, m := range all {
		pattern := s.importPath(m.lesson.mistakePattern(m.wrong))
		s.report.Notes = append(s.report.Notes, m.lesson.judgeMistake(m.wrong, r.of(pattern), later.of(pattern))...)
	}
	return nil
}

// explores says whether one of the specs that are said to catch w is an exploration.
func (l *Lesson) explores(w *Wrong) bool {
	return slices.ContainsFunc(w.Catches, func(c Catch) bool {
		s := l.spec(c.Spec)
		return s != nil && s.Explores
	})
}

// withoutExplorations are the flags that leave every lesson's explorations out.
func (s *session) withoutExplorations() []string {
	var names []string
	for _, l := range s.answered() {
		for _, spec := range l.Specs {
			if spec.Explores {
				names = append(names, regexp.QuoteMeta(spec.Name))
			}
		}
	}
	if len(names) == 0 {
		return nil
	}
	return []string{"-skip", "^(" + strings.Join(names, "|") + ")$"}
}

// quick is how mistakes are built. They are meant to be wrong; it is for the specs to say how, not for vet. Each is a
// package of its own, so that nearly all of the time goes into compiling, half of that into inlining, and into linking, half
// of that into what only a debugger reads.
var quick = append(toolchain.GCFlags(), "-vet=off", "-ldflags="+toolchain.LDFlags)

// A mistake that got away is looked at again so many times, each look being so many runs.
const (
	furtherLooks = 5
	runsOfALook  = 5
)

// missed are the catches that a run did not show.
func (l *Lesson) missed(w *Wrong, p *packageRun) (out []Catch) {
	if p.build != "" {
		return nil
	}
	for _, catch := range w.Catches {
		if l.caughtBy[catch.Spec] && p.times(catch) == 0 { // otherwise it has been said already that there is no such spec or word
			out = append(out, catch)
		}
	}
	return out
}

// times is how often the spec failed with the word.
func (p *packageRun) times(catch Catch) (n int) {
	for _, o := range p.tests[catch.Spec] {
		if o.result == "fail" && o.word == catch.Word {
			n++
		}
	}
	return n
}

func (l *Lesson) judgeMistake(w *Wrong, p, later *packageRun) (notes []string) {
	if p.build != "" {
		l.breaksMistake(w, "a mistake that compiles", "it does not", excerpt(p.build, 40))
		return nil
	}
	for _, catch := range l.missed(w, p) {
		if n := later.times(catch); n > 0 {
			notes = append(notes, fmt.Sprintf("%s: mistake %s is not red each time: %s failed with %s in %d of %d runs",
				l.Name, w.Name, catch.Spec, catch.Word, n, 1+len(later.tests[catch.Spec])))
			continue
		}
		o := p.last(catch.Spec)
		output := o.output
		switch o.result {
		case "":
			output += p.output
		case "pass":
			output = ""
		}
		l.breaksMistake(w, fmt.Sprintf("%s fails with %s", catch.Spec, catch.Word), how(o.result, o.word, output), excerpt(output, 25))
	}
	return notes
}
