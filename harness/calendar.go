package harness

import "time"

// Begins sets the calendar and the clock: the story, its cluster included, begins at that moment, no earlier than
// 2000-01-01, where a virtual clock starts. Use it when the time of day matters, and [World.At] to name moments. On a
// real cluster, whose clock is everybody's, such a story is skipped.
//
//go:noinline
func Begins(at time.Time) Option {
	return func(o *options) {
		o.begins = at
		o.fakeOnly = "it begins at a time of its own"
	}
}

// At is the story time of a moment of the calendar; see [Begins].
func (w *World) At(moment time.Time) time.Duration { return moment.Sub(w.began) }
