package harness

import (
	"fmt"
	"testing"
	"time"
)

// What a process had sent when it crashed is done by the broker, although the process never hears of it: the journal must.
func TestACommitThatACrashOvertakesIsJournalled(t *testing.T) {
	for range 20 { // whether the commit or the crash comes first is the scheduler's choice
		Run(t, func(w *World) {
			orders, validation := w.Topic("orders", 6), w.Group("validation")
			orders.Fill(10)
			p := w.Start("p", patient(validation, orders))
			w.Await("a first record", Of(Handled))

			p.Crash()
			w.Sleep(time.Second)

			w.Claim(func(w *World) error {
				truth, err := w.admin().FetchOffsets(w.ctx, validation.Name)
				if err != nil {
					return err
				}
				for p := range orders.Partitions() {
					want := int64(-1)
					if o, ok := truth.Lookup(orders.Name, p); ok {
						want = o.At
					}
					if got := validation.Committed(orders, p); got != want {
						return fmt.Errorf("the journal has commit %d of partition %d, the group %d", got, p, want)
					}
				}
				return nil
			})
		})
	}
}
