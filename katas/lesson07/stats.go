package lesson07

import (
	"github.com/kafka-katas/kafka-katas/ops"
)

// Stats returns a snapshot of what the consumer did. See [ops.Stats] for the laws that it keeps; it answers from
// memory.
//
// Redelivered counts deliveries of offsets that this Consumer received before, also when the partition was elsewhere in
// between. Percentiles are over the latest 4096 records. Errors are failed handler attempts, by class, topic and
// partition, at most MaxErrorGroups of them; what is beyond is counted in one further group of class "other" without
// topic. Their samples keep no word of the record's key, value or header values, nor what the error quotes; forms that a
// handler derived from them (base64, bytes as numbers) are its own to keep out. The one alert is "handler_failures".
func (c *Consumer) Stats() ops.Stats {
	// TODO: one short lock, no I/O.
	return ops.Stats{}
}

// ResetStats starts a new period, as [ops.Controls] describes.
func (c *Consumer) ResetStats() {
	// TODO
}

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

// Pause stops fetching, also of partitions that come later. Membership, the records in hand and their commits go on.
func (c *Consumer) Pause() {
	// TODO
}

// Resume ends a pause.
func (c *Consumer) Resume() {
	// TODO
}
