package judge

import (
	"fmt"
	"path/filepath"
)

// judgeMistakes is law 3: one go command for all mistakes of all lessons.
func (s *session) judgeMistakes() error {
	o := newOverlay(s.work)
	var patterns []string
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
			patterns = append(patterns, l.mistakePattern(w))
		}
	}
	if len(patterns) == 0 {
		return nil
	}
	file, err := o.write("mistakes.json")
	if err != nil {
		return err
	}
	// A mistake is meant to be wrong; it is for the specs to say how, not for vet.
	r, err := s.test([]string{"-vet=off", "-overlay", file}, patterns)
	if err != nil {
		return err
	}
	for _, m := range all {
		p := r.of(s.importPath(m.lesson.mistakePattern(m.wrong)))
		m.lesson.judgeMistake(m.wrong, p)
		s.report.record(m.lesson, m.wrong, p)
	}
	return nil
}

func (l *Lesson) judgeMistake(w *Wrong, p *packageRun) {
	if p.build != "" {
		l.breaksMistake(w, "a mistake that compiles", "it does not", excerpt(p.build, 40))
		return
	}
	for _, catch := range w.Catches {
		o := p.last(catch.Spec)
		if o.result == "fail" && o.word == catch.Word || !l.caughtBy[catch.Spec] {
			continue // or it has been said already that there is no such spec or word
		}
		output := o.output
		switch o.result {
		case "":
			output += p.output
		case "pass":
			output = ""
		}
		l.breaksMistake(w, fmt.Sprintf("%s fails with %s", catch.Spec, catch.Word), how(o.result, o.word, output), excerpt(output, 25))
	}
}
