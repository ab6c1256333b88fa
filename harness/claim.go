package harness

import (
	"errors"
	"fmt"
)

// Any claims that at least one of these holds; what the first says is the failure.
//
//go:noinline
func Any(claims ...Claim) Claim {
	return func(w *World) error {
		var first error
		for _, c := range claims {
			err := c(w)
			if err == nil {
				return nil
			}
			if first == nil {
				first = err
			}
		}
		return first
	}
}

// All claims that every one of these holds.
//
//go:noinline
func All(claims ...Claim) Claim {
	return func(w *World) error {
		var errs []error
		for _, c := range claims {
			if err := c(w); err != nil {
				errs = append(errs, err)
			}
		}
		if len(errs) == 1 {
			return errs[0]
		}
		return errors.Join(errs...)
	}
}

// Gone claims that the newest process of that name has crashed or ended.
//
//go:noinline
func Gone(name string) Claim {
	return func(w *World) error {
		for _, p := range w.live() {
			if p.Name == name {
				return &Stuck{Breach{What: fmt.Sprintf("%s still runs", name)}}
			}
		}
		return nil
	}
}
