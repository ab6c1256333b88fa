package harness

import (
	"fmt"
	"maps"
	"slices"
)

// AsTable claims what the topic says to somebody who reads it as a table: the newest value of each key, without the keys
// whose newest value is a tombstone. A value that is written again changes nothing; where it would, use [Topic.Holds].
//
//go:noinline
func (t *Topic) AsTable(want map[string]string) Claim {
	return func(w *World) error {
		got := map[string]string{}
		for _, r := range t.Records() { // in order within a partition, and a key is in one
			if r.Value == nil {
				delete(got, string(r.Key))
			} else {
				got[string(r.Key)] = string(r.Value)
			}
		}
		for _, key := range slices.Sorted(maps.Keys(want)) {
			switch value, ok := got[key]; {
			case !ok:
				return &Lost{Breach{What: fmt.Sprintf("%s says nothing of %s; it should say %q", t.name, key, want[key]), Why: whyTable, Seen: w.ofKey(key)}}
			case value != want[key]:
				return &Misrouted{Breach{What: fmt.Sprintf("%s says %q of %s; it should say %q", t.name, value, key, want[key]), Why: whyTable, Seen: w.ofKey(key)}}
			}
		}
		for _, key := range slices.Sorted(maps.Keys(got)) {
			if _, ok := want[key]; !ok {
				return &Misrouted{Breach{What: fmt.Sprintf("%s says %q of %s; nothing in this story asks for it", t.name, got[key], key), Why: whyTable, Seen: w.ofKey(key)}}
			}
		}
		return nil
	}
}

const whyTable = "whoever reads the topic as a table believes its newest word"
