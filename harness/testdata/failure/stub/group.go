// Package lesson07 is a stub as a learner finds it.
package lesson07

import "errors"

// New makes a member of the group.
func New() error {
	return errors.New("lesson07: New is not written yet")
}
