// Package httpfake is somebody else's HTTP service on a story's network: it remembers idempotency keys, and it answers,
// refuses, hangs, or does the work and never says so, as the story scripts it.
//
// It is a package of its own so that a lesson without HTTP does not link net/http.
package httpfake
