// Package service runs a lesson's service so that it can be watched: on a Kafka of its own or on a real one, with steady
// traffic of which some is bad, and with its statistics, health and management calls over HTTP.
//
// It is the given half of solutions/lessonNN/serve, which go tool kata serve builds and runs. The other half, a main of
// some lines, brings what is the lesson's own: its configuration, a handler, and the records of the traffic.
package service
