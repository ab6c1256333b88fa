package harness

import (
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// When says on which side of a request or a handler's call a process crashes.
type When uint8

const (
	// Before: the request has not left the process; the handler has not been called.
	Before When = iota + 1
	// After: the broker has done its work, but the reply never arrives; the handler has returned, but nobody hears of it.
	After
)

// Point is a place in a process's life where it can crash: before or after the Nth request of a kind, or the Nth call
// of its handler. Points are numbered per kind, since the order of requests on different connections is not fixed.
type Point struct {
	When    When
	Request Request
	Nth     int // from 1
}

// String is "before OffsetCommit 3".
func (p Point) String() string {
	when := "before"
	if p.When == After {
		when = "after"
	}
	return fmt.Sprintf("%s %v %d", when, p.Request, p.Nth)
}

// lifePoint is a point that a named process has passed.
type lifePoint struct {
	Process string
	Point   Point
	since   moment
}

// moment is all that a crash at a request which only reads depends on: when it was, and what had been done outside of
// the processes by then.
type moment struct {
	at   time.Time
	done int
}

// reads tells whether a request leaves everything as it was: whoever crashes before it or after it, the rest of the
// world is the same.
func (r Request) reads() bool {
	switch r {
	case Request(kmsg.ApiVersions), Metadata, FindCoordinator, ListOffsets, OffsetFetch, Fetch:
		return true
	}
	return false
}

// distinct leaves out, of the points of one process, those that are no crash of their own: of the requests that only read,
// at one instant with nothing done in between, one side of one is like all.
func distinct(points []lifePoint) (kept []lifePoint) {
	seen := map[moment]bool{}
	for _, p := range points {
		if p.Point.Request.reads() {
			if seen[p.since] {
				continue
			}
			seen[p.since] = true
		}
		kept = append(kept, p)
	}
	return kept
}

// CrashBefore makes the process crash in the moment before its next request of that kind leaves it.
func (p *Process) CrashBefore(r Request) *Process { return (*life)(p).crashNext(Before, r) }

// CrashAfter makes the process crash when the broker has done its next request of that kind, before the reply arrives.
func (p *Process) CrashAfter(r Request) *Process { return (*life)(p).crashNext(After, r) }

func (p *life) crashNext(when When, r Request) *Process {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.crashAt = append(p.crashAt, Point{when, r, p.points[Point{when, r, 0}] + 1})
	return (*Process)(p)
}

// CrashAt makes the process crash at a point of its life.
func (p *Process) CrashAt(points ...Point) *Process {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.crashAt = append(p.crashAt, points...)
	return p
}

// point counts one passing of a point; true means that the process is dead, by this point or before.
func (p *life) point(when When, r Request) bool {
	p.mu.Lock()
	if p.dead {
		p.mu.Unlock()
		return true
	}
	key := Point{when, r, 0}
	p.points[key]++
	at := Point{when, r, p.points[key]}
	hit := false
	for _, c := range p.crashAt {
		hit = hit || c == at
	}
	p.mu.Unlock()
	if hit {
		p.crash(at.String())
		return true
	}
	p.w.mu.Lock()
	if !r.reads() {
		p.w.done++
	}
	p.w.points = append(p.w.points, lifePoint{p.Name, at, moment{time.Now(), p.w.done}})
	p.w.mu.Unlock()
	return false
}
