package judge

import (
	"fmt"
	"strings"
)

// A Law is one of the five.
type Law int

// The laws, by the number that people call them by.
const (
	Stub Law = iota + 1
	Solution
	Mistake
	Spec
	Surface
)

// Laws are all of them, in order.
func Laws() []Law { return []Law{Stub, Solution, Mistake, Spec, Surface} }

var lawTexts = [...][2]string{
	Stub:     {"stub", "every spec, run alone, is red on the stub, with a claim's or the stub's own sentence"},
	Solution: {"solution", "every spec is green on the solution, under -race, shuffled, repeated"},
	Mistake:  {"mistake", "each mistake is red in exactly the way its \"Caught by\" says"},
	Spec:     {"spec", "every spec is a step, speaks of exported names alone, and is named by at least one mistake"},
	Surface:  {"surface", "stub and solution export the same; every step has a README section and a hint"},
}

// String is the law's name: "mistake".
func (l Law) String() string {
	if l < Stub || l > Surface {
		return fmt.Sprintf("Law(%d)", int(l))
	}
	return lawTexts[l][0]
}

// Sentence is the law itself.
func (l Law) Sentence() string { return lawTexts[l][1] }

// Broken is one way in which a lesson breaks a law.
type Broken struct {
	Lesson   string `json:"lesson"`
	Law      Law    `json:"law"`
	Name     string `json:"name"`    // the law's name
	Subject  string `json:"subject"` // the spec, mistake, declaration or step that it is about
	Expected string `json:"expected"`
	Got      string `json:"got"`
	Output   string `json:"output,omitempty"` // what the go command or the spec printed
	Again    string `json:"again"`            // the command that shows it again
}

// String is what a person reads: the law, what was expected, what came instead, and how to see it again.
func (b Broken) String() string {
	return b.heading() + b.body()
}

func (b Broken) heading() string {
	return fmt.Sprintf("%s breaks law %d (%s): %s\n", b.Lesson, b.Law, b.Law, b.Law.Sentence())
}

func (b Broken) body() string {
	var s strings.Builder
	for _, line := range [][2]string{{"about", b.Subject}, {"expected", b.Expected}, {"got", b.Got}, {"again", b.Again}} {
		if line[1] != "" {
			fmt.Fprintf(&s, "    %-9s %s\n", line[0], indent(line[1], "              "))
		}
	}
	if b.Output != "" {
		fmt.Fprintf(&s, "    it printed\n        %s\n", indent(b.Output, "        "))
	}
	return s.String()
}

// indent puts prefix before every line but the first.
func indent(text, prefix string) string {
	return strings.ReplaceAll(strings.TrimRight(text, "\n"), "\n", "\n"+prefix)
}
