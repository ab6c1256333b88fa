package lesson11

// A sender reads the tasks of one channel, critical and bulk, in a group of its own, and sends them.
//
// TODO: name each notification by (event, user, channel, template). The name is the key in the log, and Message.Key.
//
// TODO: one line for all partitions of a channel. Take the rate limit's token first and the task second, so that a
// critical task that arrives meanwhile goes first. golang.org/x/time/rate is there for you.
//
// TODO: what is done with an item: sent, dropped with a reason, parked until a time, or dead. It is on record (acknowledged
// by Kafka) before the record's offset is committed.
//
// TODO: what waits does so without holding up its partition: a retry, quiet hours, a digest.
