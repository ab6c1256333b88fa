package harness

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// A crash at a request that only reads is the crash at any other such request of that instant, unless something was done
// in between. Whatever does something is a point of its own, on both sides.
func TestDistinct_OneReadStandsForAllOfAnInstant(t *testing.T) {
	now := time.Now()
	var points []lifePoint
	done := 0
	pass := func(when When, r Request, nth int, after time.Duration) {
		if !r.reads() {
			done++
		}
		points = append(points, lifePoint{"a", Point{when, r, nth}, moment{now.Add(after), done}})
	}
	both := func(r Request, nth int, after time.Duration) {
		pass(Before, r, nth, after)
		pass(After, r, nth, after)
	}
	both(Request(kmsg.ApiVersions), 1, 0)
	both(ListOffsets, 1, 0)
	pass(Before, Fetch, 1, 0)
	pass(After, Fetch, 1, time.Second) // it waited: another instant
	both(Handle, 1, time.Second)
	pass(Before, Fetch, 2, time.Second) // a record was handled
	both(Produce, 1, time.Second)
	both(Produce, 2, time.Second)
	pass(After, Fetch, 2, time.Second)

	var got []string
	for _, p := range distinct(points) {
		got = append(got, p.Point.String())
	}
	want := []string{
		"before ApiVersions 1", "after Fetch 1", "before handle 1", "after handle 1", "before Fetch 2",
		"before Produce 1", "after Produce 1", "before Produce 2", "after Produce 2", "after Fetch 2",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
