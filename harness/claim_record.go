package harness

import (
	"bytes"
	"fmt"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// Holds claims that these records, and no others, are what a careful reader finds in the topic: each once, those of one
// key in this order. See [Topic.Records] for who a careful reader is.
//
// A record is the one that is wanted if it has the same key and value, where null is not empty; the same timestamp, if
// the wanted one has any; and, of every header name that the wanted one mentions, the same headers in the same order.
// Headers under other names are the program's own business, and so are partitions and offsets.
//
//go:noinline
func (t *Topic) Holds(want ...*kgo.Record) Claim {
	return func(w *World) error {
		err := t.holds(want)
		for over := w.Now() + w.backend.slack(); err != nil && w.Now() < over; err = t.holds(want) {
			time.Sleep(recheck) // a real cluster shows what a transaction wrote a moment after it has ended
		}
		return err
	}
}

func (t *Topic) holds(want []*kgo.Record) error {
	got := t.Records()
	var keys []string
	for _, r := range slices.Concat(want, got) {
		if !slices.Contains(keys, string(r.Key)) {
			keys = append(keys, string(r.Key))
		}
	}
	for _, key := range keys {
		ofKey := func(r *kgo.Record) bool { return string(r.Key) != key }
		if err := t.holdsOf(slices.DeleteFunc(slices.Clone(want), ofKey), slices.DeleteFunc(slices.Clone(got), ofKey)); err != nil {
			return err
		}
	}
	return nil
}

// holdsOf compares the records of one key.
func (t *Topic) holdsOf(want, got []*kgo.Record) error {
	count := func(in []*kgo.Record, wanted *kgo.Record) (at []*kgo.Record) {
		for _, r := range in {
			if difference(wanted, r) == "" {
				at = append(at, r)
			}
		}
		return at
	}
	stranger := slices.IndexFunc(got, func(r *kgo.Record) bool {
		return !slices.ContainsFunc(want, func(wanted *kgo.Record) bool { return difference(wanted, r) == "" })
	})
	for _, wanted := range want {
		there, asked := count(got, wanted), count(want, wanted)
		switch {
		case len(there) > len(asked):
			return &Duplicated{t.says(there[len(asked)-1:len(asked)+1], "a reader of the topic cannot know that it is the same again",
				"%s holds %s %d times; it should be %d", t, describe(wanted), len(there), len(asked))}
		case len(there) < len(asked) && stranger >= 0:
			return &Misrouted{t.says(got[stranger:stranger+1], "whoever reads the topic acts on what is in it, not on what was meant",
				"in %s %s", t.at(got[stranger]), difference(wanted, got[stranger]))}
		case len(there) < len(asked):
			return &Lost{t.says(nil, "what no reader of the topic can see has not been written, however well the offsets look",
				"%s does not hold %s", t, describe(wanted))}
		}
	}
	if stranger >= 0 {
		return &Misrouted{t.says(got[stranger:stranger+1], "whoever reads the topic acts on it",
			"%s is in %s; nothing in this story asks for it", describe(got[stranger]), t.at(got[stranger]))}
	}
	for i := range want {
		if difference(want[i], got[i]) != "" {
			return &Reordered{t.says(got[i:i+1], "Kafka keeps the order of a key; who writes out of order takes it away from everyone behind",
				"%s is in %s where %s should be", describe(got[i]), t.at(got[i]), describe(want[i]))}
		}
	}
	return nil
}

// says is a breach about records of the topic.
func (t *Topic) says(about []*kgo.Record, why, format string, args ...any) Breach {
	b := says(why, format, args...)
	for _, e := range t.w.journal.Events(Of(Produced), func(e Event) bool { return e.Topic == t.Name }) {
		if slices.ContainsFunc(about, func(r *kgo.Record) bool { return r.Partition == e.Partition && r.Offset == e.Offset }) {
			b.Seen = append(b.Seen, e.Seq)
		}
	}
	return b
}

// at names a record of the topic by its place.
func (t *Topic) at(r *kgo.Record) string {
	return t.w.record(record{TopicPartition{t.Name, r.Partition}, r.Offset})
}

// describe names a record by its content.
func describe(r *kgo.Record) string {
	return fmt.Sprintf("%s: %s", show(r.Key), show(r.Value))
}

// difference says in what the record is not the wanted one: "" if it is.
func difference(wanted, got *kgo.Record) string {
	switch {
	case !same(wanted.Key, got.Key):
		return fmt.Sprintf("the key is %s; it should be %s", show(got.Key), show(wanted.Key))
	case !same(wanted.Value, got.Value):
		return fmt.Sprintf("the value is %s; it should be %s", show(got.Value), show(wanted.Value))
	case !wanted.Timestamp.IsZero() && wanted.Timestamp.UnixMilli() != got.Timestamp.UnixMilli():
		return fmt.Sprintf("the timestamp is %s; it should be %s", stamp(got), stamp(wanted))
	}
	for _, h := range wanted.Headers {
		if want, have := headers(wanted, h.Key), headers(got, h.Key); !slices.EqualFunc(want, have, same) {
			return fmt.Sprintf("header %s is %s; it should be %s", h.Key, showAll(have), showAll(want))
		}
	}
	return ""
}

func stamp(r *kgo.Record) string { return r.Timestamp.UTC().Format("2006-01-02 15:04:05.000") }

// same compares bytes; null is not empty.
func same(a, b []byte) bool { return (a == nil) == (b == nil) && bytes.Equal(a, b) }

func headers(r *kgo.Record, name string) (values [][]byte) {
	for _, h := range r.Headers {
		if h.Key == name {
			values = append(values, h.Value)
		}
	}
	return values
}

// showAtMost keeps a failure to its width.
const showAtMost = 60

func show(b []byte) string {
	switch {
	case b == nil:
		return "null"
	case len(b) > showAtMost:
		return fmt.Sprintf("%q… (%d bytes)", b[:showAtMost], len(b))
	}
	return fmt.Sprintf("%q", b)
}

func showAll(values [][]byte) string {
	if len(values) == 0 {
		return "missing"
	}
	text := show(values[0])
	for _, v := range values[1:] {
		text += ", " + show(v)
	}
	return text
}
