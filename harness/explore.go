package harness

import (
	"math/bits"
	"math/rand/v2"
	"os"
	"slices"
	"testing"
	"time"
)

// Plan says what an exploration may do to a story. Zero fields take the defaults.
type Plan struct {
	Schedules int           // how many schedules are tried, 200 by default
	Members   int           // how many processes take part at most, 3 by default: m1, m2, m3
	Moves     []MoveKind    // what may happen, everything by default
	AtMost    int           // moves in one schedule, 6 by default
	Within    time.Duration // the moves lie within this time of the story, 60 seconds by default
}

func (p Plan) filled() Plan {
	if p.Schedules == 0 {
		p.Schedules = 200
	}
	if p.Members == 0 {
		p.Members = 3
	}
	if len(p.Moves) == 0 {
		p.Moves = AllMoves()
	}
	if p.AtMost == 0 {
		p.AtMost = 6
	}
	if p.Within == 0 {
		p.Within = time.Minute
	}
	return p
}

// Explore tells a story under many random schedules of joins, leaves, crashes and broker errors, and reports the
// smallest schedule that breaks a promise, with a command that replays just that one. The schedules come from a fixed
// seed, so that a verdict never changes by itself; KATA_EXPLORE=10m tries new ones for that long.
//
// The story must call [Schedule.Play]. On a real cluster one schedule without moves is told.
func Explore(t *testing.T, plan Plan, story func(w *World, s *Schedule), opts ...Option) {
	t.Helper()
	spec := begin(t, caller())
	defer spec.end()
	o := defaults()
	for _, opt := range opts {
		opt(&o)
	}
	x := &exploration{spec: spec, plan: plan.filled(), o: o, story: story}
	if text := os.Getenv("KATA_SCHEDULE"); text != "" {
		moves, err := parseMoves(text)
		if err != nil {
			t.Fatalf("KATA_SCHEDULE: %v", err)
		}
		for _, m := range moves {
			if m.Who > x.plan.Members {
				t.Fatalf("KATA_SCHEDULE: %v is about a member that this exploration does not have: it has %d", m, x.plan.Members)
			}
		}
		spec.report(o, x.try(moves))
		return
	}
	quiet := x.try(nil)
	spec.lasts += quiet.lasted
	if quiet.err != nil || quiet.skip != "" || os.Getenv("KAFKA_BROKERS") != "" {
		quiet.schedule = nil // it breaks without any disturbance: say so plainly
		spec.report(o, quiet)
		return
	}
	spec.report(o, x.search())
}

const fixedSeed = 20260922

type exploration struct {
	spec  *spec
	plan  Plan
	o     options
	story func(*World, *Schedule)
	red   outcome // the smallest so far
	tried int
}

// try tells the story under one schedule.
func (x *exploration) try(moves []Move) outcome {
	s := &Schedule{Moves: moves, members: x.plan.Members}
	out := x.spec.play(x.o, func(w *World) { s.w = w; x.story(w, s) }, s)
	x.tried++
	return out
}

// search draws schedules, and makes the first that is red as small as it can.
func (x *exploration) search() outcome {
	x.spec.t.Helper()
	budget, _ := time.ParseDuration(os.Getenv("KATA_EXPLORE"))
	began := time.Now()
	for seed := uint64(fixedSeed); ; seed = uint64(time.Now().UnixNano()) {
		x.check(rand.New(rand.NewPCG(seed, 0)))
		if x.red.err != nil || time.Since(began) >= budget {
			break
		}
	}
	x.spec.t.Logf("%d schedules explored", x.tried)
	if x.red.err != nil && !x.red.stalled { // a stalled story costs seconds of real time: one is enough
		x.minimise(time.Now().Add(minimiseFor))
	}
	return x.red
}

func (x *exploration) check(r *rand.Rand) {
	for range x.plan.Schedules {
		if out := x.try(x.plan.draw(r)); out.err != nil {
			x.red = out
			return
		}
	}
}

// A library for properties would draw the moves as well, but would take a tenth of a second of the learner's one to link;
// and its shrinker gives up when a smaller case fails in other words, as here it may: the order of goroutines is not fixed.

// draw makes a schedule. Trouble comes of moves that are close together, and of those while the story begins; so a third
// are soon, and a third close to one before.
func (p Plan) draw(r *rand.Rand) []Move {
	const grain = 100 * time.Millisecond
	steps := int(p.Within / grain)
	moves := make([]Move, 1+r.IntN(p.AtMost))
	for i := range moves {
		at := r.IntN(steps + 1)
		switch r.IntN(3) {
		case 0: // soon: each power of two is as likely as the next
			at = r.IntN(1 << r.IntN(bits.Len(uint(steps))+1))
		case 1:
			if i > 0 {
				at = int(moves[r.IntN(i)].At/grain) + r.IntN(10)
			}
		}
		moves[i] = Move{
			At:   time.Duration(min(at, steps)) * grain,
			Kind: p.Moves[r.IntN(len(p.Moves))],
			Who:  1 + r.IntN(p.Members),
		}
	}
	return sorted(moves)
}

// minimiseFor bounds in real time how long a red schedule is made smaller.
const minimiseFor = 3 * time.Second

// minimise leaves out moves, and then makes the others earlier, as long as the story stays red.
func (x *exploration) minimise(deadline time.Time) {
	smaller := func(moves []Move) bool {
		if time.Now().After(deadline) {
			return false
		}
		out := x.try(moves)
		if out.err != nil && !out.stalled {
			x.red = out
			return true
		}
		return false
	}
	for again := true; again; {
		again = false
		for i := len(x.red.schedule.Moves) - 1; i >= 0; i-- {
			again = smaller(slices.Delete(slices.Clone(x.red.schedule.Moves), i, i+1)) || again
		}
	}
	for i := range x.red.schedule.Moves {
		for step := x.red.schedule.Moves[i].At; step >= 100*time.Millisecond; step /= 2 {
			moves := slices.Clone(x.red.schedule.Moves)
			moves[i].At = (moves[i].At - step).Round(100 * time.Millisecond)
			if moves[i].At >= 0 {
				smaller(sorted(moves))
			}
		}
	}
}

// Sweep tells a story once to learn every point at which the process named victim can crash — before and after each of
// its requests and each call of its handler — and then once for every such point, with a crash of the victim's first
// life there. Of requests that only read, at one instant and with nothing done in between, one stands for all: the crash
// is the same. The story must survive each of them. KATA_POINT replays one.
func Sweep(t *testing.T, victim string, story func(w *World), opts ...Option) {
	t.Helper()
	spec := begin(t, caller())
	defer spec.end()
	o := defaults()
	for _, opt := range opts {
		opt(&o)
	}
	if text := os.Getenv("KATA_POINT"); text != "" {
		point, err := parsePoint(text)
		if err != nil {
			t.Fatalf("KATA_POINT: %v", err)
		}
		spec.report(o, spec.play(o, story, crashing(victim, point)))
		return
	}
	quiet := spec.play(o, story, nil)
	spec.lasts += quiet.lasted
	if quiet.err != nil || quiet.skip != "" {
		spec.report(o, quiet)
		return
	}
	points := distinct(slices.DeleteFunc(quiet.points, func(lp lifePoint) bool { return lp.Process != victim }))
	if len(points) == 0 {
		t.Fatalf("the story has no process %q that could crash", victim)
	}
	taste := []lifePoint{points[len(points)/4], points[len(points)/2], points[len(points)*3/4]}
	if os.Getenv("KAFKA_BROKERS") != "" { // each takes a session timeout of real time
		if o.red != "" {
			t.Skip("not told on a real cluster: a few crash points would not show the mistake")
		}
		points = taste
	}
	for _, lp := range points {
		out := spec.play(o, story, crashing(victim, lp.Point))
		if slices.Contains(taste, lp) {
			spec.lasts += out.lasted
		}
		if out.err != nil {
			spec.report(o, out)
			return
		}
	}
	t.Logf("%d crash points swept", len(points))
	if o.red != "" {
		t.Errorf("the story survives every crash; it should be red as %s", o.red)
	}
}

func crashing(victim string, at Point) *Schedule { return &Schedule{victim: victim, point: at} }
