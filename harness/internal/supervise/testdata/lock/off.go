//go:build !synctests

package lock

import "sync"

// Tagged tells that this program has the tag.
const Tagged = false

// A Lock is a mutex.
type Lock = *sync.Mutex

// New returns one that nobody holds.
func New() Lock { return new(sync.Mutex) }
