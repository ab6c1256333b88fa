package meter

import (
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
	"pgregory.net/rapid"
)

// A queue knows how often each offset is in flight, however records come and end.
func TestTheQueueKnowsWhatIsInFlight(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var q queue
		inFlight := map[int64]int{}
		live, next := 0, int64(0)
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			if rapid.Bool().Draw(t, "polls") {
				next = max(0, next+rapid.SampledFrom([]int64{0, 0, 0, 1, 7, -5}).Draw(t, "gap"))
				var rs []*kgo.Record
				for range rapid.IntRange(1, 40).Draw(t, "records") {
					rs = append(rs, &kgo.Record{Offset: next})
					inFlight[next]++
					live++
					next += rapid.SampledFrom([]int64{1, 1, 1, 2, 9}).Draw(t, "step")
				}
				q.push(rs, 1)
			} else {
				for offset := rapid.Int64Range(-1, next+1).Draw(t, "from"); offset <= next && rapid.IntRange(0, 9).Draw(t, "more") > 0; offset++ {
					e := q.find(offset)
					if (e != nil) != (inFlight[offset] > 0) {
						t.Fatalf("offset %d is in flight %d times, and found: %v", offset, inFlight[offset], e)
					}
					if e != nil {
						q.end(e)
						inFlight[offset]--
						live--
					}
				}
			}
			if q.live != live {
				t.Fatalf("%d are in flight, and the queue says %d", live, q.live)
			}
		}
	})
}

// One record that takes for ever does not keep all that came after it in memory.
func TestTheQueueForgetsWhatEnded(t *testing.T) {
	var q queue
	q.push([]*kgo.Record{{Offset: 0}}, 1)
	for n := range int64(100000) {
		q.push([]*kgo.Record{{Offset: n + 1}}, 1)
		q.end(q.find(n + 1))
	}
	if q.live != 1 || len(q.ring) != 64 || q.find(0) == nil {
		t.Fatalf("%d in flight take a ring of %d", q.live, len(q.ring))
	}
}
