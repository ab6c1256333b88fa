package lesson07

import (
	"cmp"
	"context"
	"errors"
	"net"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/kafka-katas/kafka-katas/ops"
)

// failure is what failed attempts are grouped by.
type failure struct {
	class string
	topicPartition
}

// failures groups failed attempts, bounded in every direction.
type failures struct {
	groups                map[failure]*ops.ErrorGroup
	maxGroups, maxSamples int
}

func (f *failures) add(err error, r *kgo.Record, now time.Time) {
	key := failure{classOf(err), topicPartition{r.Topic, r.Partition}}
	g := f.groups[key]
	if g == nil && len(f.groups) >= f.maxGroups {
		key = failure{"other", topicPartition{"", -1}}
		g = f.groups[key]
	}
	if g == nil {
		g = &ops.ErrorGroup{Class: key.class, Topic: key.topic, Partition: key.partition, First: now}
		f.groups[key] = g
	}
	g.Count++
	g.Last = now
	if len(g.Samples) == f.maxSamples {
		g.Samples = slices.Delete(g.Samples, 0, 1)
	}
	g.Samples = append(g.Samples, ops.ErrorSample{At: now, Offset: r.Offset, Message: redact(err.Error(), r)})
}

func (f *failures) snapshot() []ops.ErrorGroup {
	var out []ops.ErrorGroup
	for _, g := range f.groups {
		group := *g
		group.Samples = slices.Clone(g.Samples)
		out = append(out, group)
	}
	slices.SortFunc(out, func(a, b ops.ErrorGroup) int {
		return cmp.Or(cmp.Compare(a.Class, b.Class), cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.Partition, b.Partition))
	})
	return out
}

// classOf sorts an error into one of few: by meaning where it is known, else by type. Never by text, which has as many
// values as there are records.
func classOf(err error) string {
	var (
		panicked *panicError
		kafka    *kerr.Error
		timeout  net.Error
	)
	switch {
	case errors.As(err, &panicked):
		return "panic"
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return "timeout"
	case errors.Is(err, context.Canceled):
		return "cancelled"
	case errors.As(err, &kafka):
		return strings.ToLower(kafka.Message)
	}
	for ; err != nil; err = errors.Unwrap(err) {
		t := reflect.TypeOf(err)
		for t.Kind() == reflect.Pointer {
			t = t.Elem()
		}
		if t.Name() != "" && t.PkgPath() != "errors" && t.PkgPath() != "fmt" {
			return t.String()
		}
	}
	return "error"
}

const maxMessage = 200 // characters of an error's text that are kept

var quoted = regexp.MustCompile("\"(?:[^\"\\\\]|\\\\.)*\"|`[^`]*`")

// redact takes what may come from the record out of an error's text: whatever is quoted, and every word that its key,
// value or headers hold. That takes innocent words too. Where the record is says enough to look it up.
func redact(message string, r *kgo.Record) string {
	var inside strings.Builder
	for _, b := range [][]byte{r.Key, r.Value} {
		inside.Write(b)
		inside.WriteByte(0)
	}
	for _, h := range r.Headers {
		inside.Write(h.Value)
		inside.WriteByte(0)
	}
	content := inside.String()
	message = quoted.ReplaceAllString(message, "…")
	var out strings.Builder
	isWord := func(r rune) bool { return unicode.IsLetter(r) || unicode.IsDigit(r) }
	for len(message) > 0 {
		end := strings.IndexFunc(message, func(r rune) bool { return !isWord(r) })
		switch {
		case end < 0:
			end = len(message)
		case end == 0:
			end = strings.IndexFunc(message, isWord)
			if end < 0 {
				end = len(message)
			}
			out.WriteString(message[:end])
			message = message[end:]
			continue
		}
		if w := message[:end]; strings.Contains(content, w) {
			out.WriteString("…")
		} else {
			out.WriteString(w)
		}
		message = message[end:]
	}
	if text := []rune(out.String()); len(text) > maxMessage {
		return string(text[:maxMessage]) + "…"
	}
	return out.String()
}
