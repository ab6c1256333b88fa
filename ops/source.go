package ops

// Source is a service that can be watched.
//
// Neither method takes a context: both answer from memory, at once, without asking Kafka or waiting for a lock that
// is held across I/O. A service whose broker hangs is the very one that somebody wants to look at.
type Source interface {
	// Stats returns one consistent snapshot: its laws hold although the service goes on working meanwhile. The caller
	// owns all of it; nothing in it changes later.
	Stats() Stats
	Health() Health
}

// Controls are the management calls of a service. All of them return at once and may be repeated.
type Controls interface {
	// Pause stops taking records in. Membership, heartbeats and the work in hand go on; a paused service is healthy.
	Pause()
	// Resume ends a pause.
	Resume()
	// ResetStats starts a new period: Since is now and every count begins at 0 again, except that records in work count
	// as received, so that the laws of [Counts] go on holding. What was received before is remembered for Redelivered;
	// offsets, health and the states of alerts are facts, not counts, and stay.
	ResetStats()
}
