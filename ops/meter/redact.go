package meter

import (
	"iter"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/twmb/franz-go/pkg/kgo"
)

const maxMessage = 200 // characters of an error's text that are kept

var quoted = regexp.MustCompile("\"(?:[^\"\\\\]|\\\\.)*\"|`[^`]*`")

// Redact takes what may come from the record out of an error's text: whatever is quoted, and every word that is part of
// its key, its value or the value of a header, or has a word of theirs inside it. Words are letters or digits alone: the
// key 77 is found in "order77". That takes innocent words too. Where the record is says enough to look it up.
//
// Nothing that was derived from the content is recognised: base64, hashes, bytes printed as numbers.
func Redact(message string, r *kgo.Record) string {
	var inside strings.Builder
	inside.Write(r.Key)
	inside.WriteByte(0)
	inside.Write(r.Value)
	for _, h := range r.Headers {
		inside.WriteByte(0)
		inside.Write(h.Value)
	}
	content := strings.ToLower(inside.String())
	message = quoted.ReplaceAllString(message, "…")
	lower := strings.ToLower(message)
	var shown []string // the words of the content that the message has somewhere
	for word, isWord := range words(content) {
		if isWord && utf8.RuneCountInString(word) >= leastWord && strings.Contains(lower, word) {
			shown = append(shown, word)
		}
	}
	var out strings.Builder
	for text, isWord := range words(message) {
		if isWord {
			w := strings.ToLower(text)
			has := func(word string) bool { return strings.Contains(w, word) }
			if strings.Contains(content, w) || slices.ContainsFunc(shown, has) {
				text = "…"
			}
		}
		out.WriteString(text)
	}
	if text := []rune(out.String()); len(text) > maxMessage {
		return string(text[:maxMessage]) + "…"
	}
	return out.String()
}

const leastWord = 3 // characters of a word of the content that is looked for inside others: "a" would be in most

// words cuts s into words and what is between them, and says which is which. A word is letters alone or digits alone.
func words(s string) iter.Seq2[string, bool] {
	kind := func(r rune) int {
		switch {
		case unicode.IsLetter(r):
			return 1
		case unicode.IsDigit(r):
			return 2
		}
		return 0
	}
	return func(yield func(string, bool) bool) {
		begin, is := 0, 0
		for i, r := range s {
			k := kind(r)
			if i > begin && k != is {
				if !yield(s[begin:i], is != 0) {
					return
				}
				begin = i
			}
			is = k
		}
		if begin < len(s) {
			yield(s[begin:], is != 0)
		}
	}
}
