package harness

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A process is stirred once in an instant, whatever it was told in it, after everything of that instant; not by what
// fetching itself is told, or it would never end; and not when it is dead.
func TestAProcessIsStirredOnceAnInstant(t *testing.T) {
	Run(t, func(w *World) {
		orders, bank := w.Topic("orders", 1), w.Group("bank")
		p := w.Start("p", idle(bank, orders))
		within := (*life)(p)
		w.Until(bank.Owns(p, 1, orders))
		w.Sleep(time.Second)
		stirred := func() bool {
			p.mu.Lock()
			defer p.mu.Unlock()
			return p.awakening
		}
		require.False(t, stirred())

		within.awaken(Heartbeat)
		within.awaken(OffsetCommit)
		require.True(t, stirred(), "the instant is not over")
		w.Sleep(1)
		require.False(t, stirred())

		within.awaken(Fetch)
		within.awaken(Produce)
		require.False(t, stirred())

		within.awaken(Heartbeat)
		p.Crash() // before its clients are stirred
		w.Sleep(1)
		require.False(t, stirred())
		within.awaken(Heartbeat)
		require.False(t, stirred())
	})
}
