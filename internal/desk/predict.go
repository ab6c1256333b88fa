package desk

import (
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/kafka-katas/kafka-katas/internal/history"
)

// Words are the delivery words that a prediction may name.
var Words = []string{
	"LOST", "DUPLICATED", "REORDERED", "OVERLAPPED", "STUCK", "COMMITTED TOO EARLY", "REWOUND", "WRONGLY DEAD-LETTERED",
	"MISTIMED", "UNBALANCED", "MISREPORTED", "MISROUTED", "LEAKED", "WASTEFUL", "BROKEN",
}

// ParsePrediction reads "green", "red", "red lost" or "red duplicated 2".
func ParsePrediction(args []string) (*history.Prediction, error) {
	p := &history.Prediction{Colour: strings.ToLower(args[0])}
	if p.Colour != verdictGreen && p.Colour != verdictRed {
		return nil, fmt.Errorf("%q is no prediction: begin with red or green", args[0])
	}
	rest := args[1:]
	if len(rest) > 0 {
		if n, err := strconv.Atoi(rest[len(rest)-1]); err == nil {
			if n < 1 {
				return nil, fmt.Errorf("%d records: at least 1", n)
			}
			p.Count, rest = n, rest[:len(rest)-1]
		}
	}
	word := strings.ToUpper(strings.Join(rest, " "))
	for _, w := range Words {
		if word == w {
			p.Word = w
		}
	}
	if word != p.Word {
		return nil, fmt.Errorf("%q is no delivery word; there are %s", strings.Join(rest, " "), strings.ToLower(strings.Join(Words, ", ")))
	}
	if p.Colour == verdictGreen && (p.Word != "" || p.Count > 0) {
		return nil, fmt.Errorf("green is green: a word and a number belong to red")
	}
	return p, nil
}

const verdictGreen, verdictRed = history.Green, history.Red

// Predict keeps what the next run is said to show. Without args it says what was foretold.
func (d *Desk) Predict(w io.Writer, args []string, forget bool) error {
	out := &printer{w: w}
	switch {
	case forget:
		if err := d.Book.Expect(nil); err != nil {
			return err
		}
		out.f("Nothing is foretold.\n")
	case len(args) == 0:
		if p := d.Book.Expected(); p != nil {
			out.f("The next run: %s\n", p)
		} else {
			out.f("Nothing is foretold. What will the next run show? kata predict red lost 2\n")
		}
	default:
		p, err := ParsePrediction(args)
		if err != nil {
			return err
		}
		if err := d.Book.Expect(p); err != nil {
			return err
		}
		out.f("The next run: %s. It will be compared.\n", p)
	}
	return out.err
}
