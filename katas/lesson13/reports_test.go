package lesson13

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/kafka-katas/kafka-katas/harness"
	"github.com/kafka-katas/kafka-katas/ops"
)

// extra claims what statistics say under some names, such as "timeouts=1 foreign_replies=2".
//
//go:noinline
func extra(name string, stats func() ops.Stats, want string) harness.Claim {
	return harness.Reported(func() error {
		s := stats()
		for _, pair := range strings.Fields(want) {
			column, number, _ := strings.Cut(pair, "=")
			n, _ := strconv.ParseInt(number, 10, 64)
			if got, known := s.Extra[column]; !known && n != 0 || got != n {
				return fmt.Errorf("%s reports %d %s; it should be %d", name, got, column, n)
			}
		}
		return nil
	})
}

// healthy claims what health says of liveness and readiness; cause must be in what it says, if it is not well.
//
//go:noinline
func healthy(name string, health func() ops.Health, live, ready bool, cause string) harness.Claim {
	return func(w *harness.World) error {
		return harness.Reported(func() error {
			h := health()
			if of := ops.HealthOf(h.Checks...); of.Live != h.Live || of.Ready != h.Ready || len(h.Checks) == 0 {
				return fmt.Errorf("%s says live=%t and ready=%t; its checks say otherwise: %+v", name, h.Live, h.Ready, h.Checks)
			}
			if h.Live != live || h.Ready != ready {
				return fmt.Errorf("at %v %s says live=%t and ready=%t (%s); it should be live=%t and ready=%t", w.Now(), name, h.Live, h.Ready, h.Cause(), live, ready)
			}
			if !strings.Contains(h.Cause(), cause) {
				return fmt.Errorf("at %v %s gives as the cause %q; it should speak of %q", w.Now(), name, h.Cause(), cause)
			}
			return nil
		})(w)
	}
}
