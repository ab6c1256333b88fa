//go:build synctests

// Package lock has locks as kgo has them: with the tag, virtual time does not wait for who waits for one.
package lock

// Tagged tells that this program has the tag.
const Tagged = true

// A Lock is a mutex.
type Lock chan struct{}

// New returns one that nobody holds.
func New() Lock { return make(Lock, 1) }

// Lock takes it.
func (l Lock) Lock() { l <- struct{}{} }

// Unlock lets it go.
func (l Lock) Unlock() { <-l }
