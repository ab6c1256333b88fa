package lesson07

import "github.com/kafka-katas/kafka-katas/ops"

// Stats returns a snapshot of what the consumer did. See [ops.Stats] for the laws that it keeps; it answers from
// memory.
//
// Redelivered counts deliveries of offsets that this Consumer received before, also when the partition was elsewhere in
// between. Percentiles are over the latest 4096 records. Errors are failed handler attempts, by class, topic and
// partition, at most MaxErrorGroups of them; what is beyond is counted in one further group of class "other" without
// topic. The one alert is "handler_failures".
func (c *Consumer) Stats() ops.Stats {
	// TODO: one short lock, no I/O.
	return ops.Stats{}
}

// ResetStats starts a new period, as [ops.Controls] describes.
func (c *Consumer) ResetStats() {
	// TODO
}
