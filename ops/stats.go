package ops

import "time"

// Stats is a snapshot of what a service did from Since to At.
type Stats struct {
	Since, At time.Time
	Group     string

	// Totals are the sum of the Counts of all Partitions.
	Totals Counts
	// Partitions are those that the service owns now or has received from since Since, sorted by topic, then partition.
	Partitions []PartitionStats
	Latency    Latency
	Errors     []ErrorGroup // sorted by class, topic, partition
	Alerts     []Alert      // sorted by name
	Assigned   int          // how many partitions the service owns now
	Paused     bool
	Extra      map[string]int64 // a lesson's own counters, named in snake_case; they only grow
}

// Counts says what became of the records that a process received.
//
// At every snapshot
//
//	Received = Processed + Filtered + Parked + Dead + Released + InFlight
//
// so nothing that was polled can go missing without showing. Failed, Retried and Redelivered are counted apart.
type Counts struct {
	Received  int64 // deliveries: a record that comes again counts again
	Processed int64 // handled: the handler returned nil
	Filtered  int64 // deliberately not handled, with a reason
	Parked    int64 // set aside to be taken up again: a retry topic, a wait for another record
	Dead      int64 // given up, kept in a dead-letter topic
	Released  int64 // handed back unfinished when a partition was revoked or the service stopped
	InFlight  int64 // received and none of the above yet: queued, in the handler, or waiting for another attempt

	Failed      int64 // handler attempts that returned an error
	Retried     int64 // handler attempts after a record's first
	Redelivered int64 // deliveries, also in Received, of an offset that this process has received before
}

// Unaccounted is how many received records no other count knows of: 0 if the law of Counts holds.
func (c Counts) Unaccounted() int64 {
	return c.Received - (c.Processed + c.Filtered + c.Parked + c.Dead + c.Released + c.InFlight)
}

// Add returns the sum of c and d, count by count.
func (c Counts) Add(d Counts) Counts {
	c.Received += d.Received
	c.Processed += d.Processed
	c.Filtered += d.Filtered
	c.Parked += d.Parked
	c.Dead += d.Dead
	c.Released += d.Released
	c.InFlight += d.InFlight
	c.Failed += d.Failed
	c.Retried += d.Retried
	c.Redelivered += d.Redelivered
	return c
}

// Unknown is an offset or a lag that the service has not heard of yet. It is not 0: offset 0 is a position like any other.
const Unknown int64 = -1

// PartitionStats is what a service knows of one partition.
type PartitionStats struct {
	Topic     string
	Partition int32
	Assigned  bool // owned now; false: it was, and its counts remain
	Counts

	Committed     int64 // the group's committed offset, as this process last set or read it; or Unknown
	Position      int64 // the offset after the last record received; or Unknown
	HighWatermark int64 // the end of the partition, as the last fetch said; or Unknown

	// Lag is HighWatermark - Committed, or HighWatermark - Position while Committed is Unknown; never below 0, and
	// Unknown if it cannot be said. It counts offsets: transaction markers and compacted records are among them.
	Lag int64

	// LastProgress is when a record of the partition was last done with (processed, filtered, parked or dead), or when
	// the partition was assigned if none was yet. With Lag above 0 and a LastProgress long ago, a handler is wedged.
	LastProgress time.Time
}

// Latency is how long records took from the moment they were polled, queue wait included, to their handler's success.
// Backoffs between attempts are part of it; records that were not Processed are not.
//
// A percentile is by nearest rank: the smallest of the values with at least p% of all values less than or equal to it.
// So it is always a latency that some record had, never one in between, and with one value all of them are that value.
type Latency struct {
	Count              int64
	Sum                time.Duration
	P50, P95, P99, Max time.Duration
}

// ErrorGroup is the errors of one class on one partition. Groups, and samples in a group, are bounded in number: an
// outage must not fill memory, nor a monitoring system with new time series.
type ErrorGroup struct {
	Class       string // what kind of error, from a small fixed set such as "timeout"; never the error's text
	Topic       string
	Partition   int32
	Count       int64
	First, Last time.Time
	Samples     []ErrorSample // the latest few, oldest first
}

// ErrorSample is one error. It says where the record is and never what is in it.
type ErrorSample struct {
	At      time.Time
	Offset  int64
	Message string // redacted: no key, value or header of a record
}
