package lesson07

import "github.com/kafka-katas/kafka-katas/ops"

// Health says whether the process should live and whether it may be relied on; it answers from memory, also while
// Kafka hangs. The checks are
//
//	"broker"    readiness: a broker is connected and the group's coordinator answers
//	"group"     readiness: the consumer is a member, and no group, authorisation or fetch error stands
//	"progress"  liveness: no handler has worked on one record for StallAfter
//	"run"       liveness: Run has not ended with an error
//
// A member without partitions, an idle topic and a paused consumer are healthy.
func (c *Consumer) Health() ops.Health {
	// TODO: what is wrong, and the cause in words.
	return ops.Health{}
}

// Pause stops fetching. Membership, the records in hand and their commits go on.
func (c *Consumer) Pause() {
	// TODO
}

// Resume ends a pause.
func (c *Consumer) Resume() {
	// TODO
}
