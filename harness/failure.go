package harness

import (
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"
)

// textWidth keeps failures under 100 columns: the testing package indents them by up to eight.
const textWidth = 91

// failureHints is what a failure text says besides what the story knows.
type failureHints struct {
	Also   []error     // further broken claims, one line each
	Again  string      // the command that runs just this again; "" derives it from the test and package
	Hint   string      // the command that gives a hint; "" derives it from the lesson and step
	Report string      // where the HTML report was written, if it was
	Dir    string      // where the package's source files are, to find what is not written yet; "" does not look
	Notes  [][2]string // further labelled lines, such as {"schedule", "crash of p1 before its 3rd commit"}
}

// failure is the text of a red specification: the promise that was broken, what led to it, why it matters and what to do next.
// It ends with a newline, and no line is wider than textWidth, except for what must be copied whole.
func failure(test, pkg string, err error, events []Event, hints failureHints) string {
	all := append(split(err), hints.Also...)
	first, also := all[0], all[1:]
	var b strings.Builder
	var lines [][2]string
	add := func(label, text string) {
		if text != "" {
			lines = append(lines, [2]string{label, text})
		}
	}
	breach := BreachOf(first)
	what, unwritten := notWritten(first)
	switch {
	case unwritten: // whatever else is broken follows from it
		also = nil
		b.WriteString(wrap(what.sentence, textWidth, ""))
		add("next", next(pkg, hints.Dir, what.name, test))
	case breach != nil:
		b.WriteString(wrap(headline(first), textWidth, ""))
		if rows := timeline(events, breach, textWidth-2); rows != "" {
			b.WriteString("\n" + indent(rows, "  "))
		}
		add("why", breach.Why)
	default:
		b.WriteString(wrap("The story could not be told to its end: "+first.Error(), textWidth, ""))
	}
	for _, e := range also {
		add("also", cut(headline(e), textWidth-len("schedule")-2))
	}
	lines = append(lines, hints.Notes...)
	again, more := hints.commands(test, pkg)
	add("again", again)
	add("more", more)
	add("report", hints.Report)
	b.WriteString("\n")
	labelled(&b, lines)
	return strings.ToValidUTF8(b.String(), "\uFFFD")
}

// commands are those to copy: run just this again, and get a hint.
func (h failureHints) commands(test, pkg string) (again, more string) {
	again, more = h.Again, h.Hint
	if again == "" {
		again = againCommand(test, pkg, textWidth-8)
	}
	if more == "" {
		more = hintCommand(test, pkg)
	}
	return again, more
}

// split takes apart what errors.Join put together. There is always a first one, which may be nil.
func split(err error) []error {
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return []error{err}
	}
	var all []error
	for _, e := range joined.Unwrap() {
		all = append(all, split(e)...)
	}
	if len(all) == 0 || err.Error() != errors.Join(all...).Error() {
		return []error{err} // a sentence of its own
	}
	return all
}

// headline is the breach's word and sentence. What an outer error adds comes after, so that the word stays at the head.
func headline(err error) string {
	b, text := BreachOf(err), err.Error()
	if b == nil {
		return text
	}
	sentence := b.sentence(Word(err))
	if context, ok := strings.CutSuffix(text, sentence); ok {
		if context = strings.TrimRight(context, ": "); context != "" {
			sentence += " (" + context + ")"
		}
	}
	return sentence
}

var stubSentence = regexp.MustCompile(`\b(lesson\d\d: (\S+) is not written yet)`)

// A todo is what a stub's own sentence says.
type todo struct{ sentence, name string }

// notWritten recognises a stub's own sentence, "lesson07: New is not written yet", whatever was wrapped around it: a
// promise that is broken because the code is missing is no news.
func notWritten(err error) (todo, bool) {
	m := stubSentence.FindStringSubmatch(err.Error())
	if m == nil {
		return todo{}, false
	}
	return todo{m[1], m[2]}, true
}

// next says which file to open.
func next(pkg, dir, name, test string) string {
	where := shortPackage(pkg)
	if file, line := whereWritten(dir, name); file != "" {
		where = fmt.Sprintf("%s:%d", path.Join(where, file), line)
	}
	if step := stepOf(test); step != "" {
		return fmt.Sprintf("write %s in %s (README.md, step %s)", name, where, step)
	}
	return fmt.Sprintf("write %s in %s", name, where)
}

// whereWritten finds the stub's sentence in the package's files.
func whereWritten(dir, name string) (file string, line int) {
	if dir == "" {
		return "", 0
	}
	files, _ := filepath.Glob(filepath.Join(dir, "*.go")) // sorted; a bad pattern finds nothing, which is no harm
	for _, f := range files {
		if strings.HasSuffix(f, "_test.go") {
			continue
		}
		text, err := os.ReadFile(f)
		if err != nil {
			continue
		}
		for i, l := range strings.Split(string(text), "\n") {
			if strings.Contains(l, ": "+name+" is not written yet") {
				return filepath.Base(f), i + 1
			}
		}
	}
	return "", 0
}

var (
	stepPattern   = regexp.MustCompile(`^TestStep(\d+)(?:_|$)`)
	lessonPattern = regexp.MustCompile(`(?:^|/)(katas|solutions)/(lesson\d\d)(?:/|$)`)
)

// stepOf is the number of the step that a test belongs to, as a person says it, or "".
func stepOf(test string) string {
	if m := stepPattern.FindStringSubmatch(test); m != nil {
		return strings.TrimLeft(m[1], "0")
	}
	return ""
}

// shortPackage is a package of the course as seen from its root, and any other as it is.
func shortPackage(pkg string) string {
	if m := lessonPattern.FindStringSubmatchIndex(pkg); m != nil {
		return pkg[m[2]:m[5]]
	}
	return pkg
}

// shortestPattern is how much of a test's name must stay for it to mean that test and not any.
const shortestPattern = 30

// againCommand runs just this test. -run takes a pattern, so the beginning of a long name does as well.
func againCommand(test, pkg string, room int) string {
	target := shortPackage(pkg)
	switch {
	case target == "":
		target = "."
	case target != pkg || lessonPattern.MatchString(pkg):
		target = "./" + target + "/..."
	}
	command := "go test " + target + " -run "
	name := []rune(test)
	if fits := room - utf8.RuneCountInString(command); fits > shortestPattern && len(name) > fits {
		for fits > 1 && !unicode.IsUpper(name[fits]) { // up to a word's end
			fits--
		}
		name = name[:fits]
	}
	return command + string(name)
}

// hintCommand names the hint, and does not give it away.
func hintCommand(test, pkg string) string {
	m := lessonPattern.FindStringSubmatch(pkg)
	step := stepOf(test)
	if m == nil || step == "" {
		return ""
	}
	return "go tool kata hint " + m[2] + " " + step
}
