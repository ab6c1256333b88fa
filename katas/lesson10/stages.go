package lesson10

// TODO: what happens to one record, stage by stage: decode and normalise, filter, quality, the segment from the reference
// table, the risk from the service, expand, route. Each stage may set the record aside instead: into the audit topic, the
// quarantine, the parked ones, the dead letters.
//
// What needs nothing but the record can be decided at once. What asks the service runs side by side; the outputs go out
// in the order of the source all the same.

// TODO: the reference table: a client of its own, without a group, that reads the topic from its start and never stops.
// It is loaded when what was the end of each partition at the start has been reached.

// TODO: the service: a timeout for each request, an answer that is good for a while, one question at a time about one
// customer, and never more at once than the service can bear.
