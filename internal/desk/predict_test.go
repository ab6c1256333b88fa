package desk

import (
	"strings"
	"testing"
	"time"

	"github.com/kafka-katas/kafka-katas/internal/history"
	"github.com/kafka-katas/kafka-katas/internal/verdict"
)

func TestAPredictionIsReadInPlainWords(t *testing.T) {
	for said, want := range map[string]string{
		"green": "green", "red": "red", "red lost": "red, LOST", "RED Duplicated 2": "red, DUPLICATED, 2 records",
		"red 3": "red, 3 records", "red committed too early": "red, COMMITTED TOO EARLY",
	} {
		if p, err := ParsePrediction(strings.Fields(said)); err != nil || p.String() != want {
			t.Errorf("%s: %v, %v", said, p, err)
		}
	}
	for said, want := range map[string]string{
		"blue": "begin with red or green", "red purple": "no delivery word", "green lost": "belong to red", "red lost 0": "at least 1",
	} {
		if _, err := ParsePrediction(strings.Fields(said)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", said, err)
		}
	}
}

// A prediction is compared with the next run that judged something, once.
func TestAPredictionIsComparedOnceAndKeptForTheRetrospective(t *testing.T) {
	d := New(t.TempDir())
	if err := d.Predict(&strings.Builder{}, []string{"red", "lost", "2"}, false); err != nil {
		t.Fatal(err)
	}
	p, _, err := d.Note("test", &verdict.Verdict{Lesson: "lesson07", Colour: verdict.NotBuilt})
	if p != nil || err != nil {
		t.Errorf("a typing mistake is no answer: %v, %v", p, err)
	}
	p, _, _ = d.Note("test", &verdict.Verdict{Lesson: "lesson07", Colour: verdict.Red, Word: "STUCK", FirstRed: "TestStep01_ItEnds", Green: []int{1}})
	if p == nil || *p.Right || !strings.Contains(Foretold(p), "You predicted red, LOST, 2 records. What did you not know?") {
		t.Errorf("%+v", p)
	}
	if p, _, _ = d.Note("test", &verdict.Verdict{Lesson: "lesson07", Colour: verdict.Green}); p != nil {
		t.Error("it was compared twice")
	}
	d.Book.Add(history.Run{Kind: "turn", Driver: "Ada", Navigator: "Bob"})
	d.Book.Add(history.Run{Kind: "hint", Lesson: "lesson07", Step: 1})
	var b strings.Builder
	if err := d.Retro(&b, time.Now().Add(-time.Hour)); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"| lesson07 | 3 | 1 | 1 | 1 |", "- STUCK: 1 times", "lesson07 step 01", "0 right, 1 wrong",
		"said red, LOST, 2 records; it was red, STUCK (it ends)", "Ada drives, Bob navigates", "## Questions",
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("%q is missing in\n%s", want, b.String())
		}
	}
	if err := d.Retro(&b, time.Now().Add(time.Hour)); err == nil {
		t.Error("nothing was run in the future")
	}
}
