package meter

import (
	"math"
	"sort"

	"github.com/twmb/franz-go/pkg/kgo"
)

// An entry is a record in flight. Times are nanoseconds after the Meter's epoch.
type entry struct {
	offset int64
	polled int64 // or ended
	clock  int64 // when it was taken up, or is due; or untouched
}

const (
	ended     = -1
	untouched = math.MaxInt64
)

// A queue is the records in flight of one partition, as they were polled. They end in about that order, so the one that
// is looked for is nearly always where its offset says.
type queue struct {
	ring       []entry // its length is a power of two
	head, tail uint64  // of what is in the ring; they count on for ever
	live       int     // entries that have not ended
	jumbled    bool    // offsets do not ascend: the service, or its log, went back
}

func (q *queue) index(i uint64) *entry { return &q.ring[i&uint64(len(q.ring)-1)] }

func (q *queue) push(records []*kgo.Record, now int64) {
	if int(q.tail-q.head)+len(records) > len(q.ring) {
		q.grow(len(records))
	}
	if q.head != q.tail && records[0].Offset <= q.index(q.tail-1).offset {
		q.jumbled = true
	}
	for _, r := range records {
		*q.index(q.tail) = entry{r.Offset, now, untouched}
		q.tail++
	}
	q.live += len(records)
}

// grow makes room for n more and leaves behind what has ended: one record that takes for ever must not keep all that
// came after it in memory.
func (q *queue) grow(n int) {
	size := 64
	for size < (q.live+n)*3/2 {
		size *= 2
	}
	ring := make([]entry, size)
	kept := uint64(0)
	for i := q.head; i != q.tail; i++ {
		if e := q.index(i); e.polled != ended {
			ring[kept] = *e
			kept++
		}
	}
	q.ring, q.head, q.tail = ring, 0, kept
}

// find returns the entry of an offset that has not ended, or nil.
func (q *queue) find(offset int64) *entry {
	n := q.tail - q.head
	if n == 0 {
		return nil
	}
	if i := uint64(offset - q.index(q.head).offset); i < n {
		if e := q.index(q.head + i); e.offset == offset && e.polled != ended {
			return e
		}
	}
	if q.jumbled {
		for i := q.head; i != q.tail; i++ {
			if e := q.index(i); e.offset == offset && e.polled != ended {
				return e
			}
		}
		return nil
	}
	i := uint64(sort.Search(int(n), func(i int) bool { return q.index(q.head+uint64(i)).offset >= offset }))
	if i < n {
		if e := q.index(q.head + i); e.offset == offset && e.polled != ended {
			return e
		}
	}
	return nil
}

func (q *queue) end(e *entry) {
	e.polled = ended
	q.live--
	for q.head != q.tail && q.index(q.head).polled == ended {
		q.head++
	}
	if q.head == q.tail {
		q.jumbled = false
	}
}

// oldest returns the live entry whose clock began first, or nil if none was taken up.
func (q *queue) oldest() *entry {
	var oldest *entry
	for i := q.head; i != q.tail; i++ {
		if e := q.index(i); e.polled != ended && e.clock != untouched && (oldest == nil || e.clock < oldest.clock) {
			oldest = e
		}
	}
	return oldest
}
