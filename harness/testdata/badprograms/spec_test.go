package badprograms

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/kafka-katas/kafka-katas/harness"
)

func TestMain(m *testing.M) { harness.Main(m) }

// told tells the usual story of a program: it drains a topic and is stopped.
func told(t *testing.T, program func(Setup) (harness.Runner, error)) {
	harness.Run(t, func(w *harness.World) { drain(w, program) })
}

func drain(w *harness.World, program func(Setup) (harness.Runner, error)) {
	orders, bank := w.Topic("orders", 2), w.Group("bank")
	orders.Fill(3)
	done := make(chan struct{})
	m1 := start(w, "m1", Setup{Group: bank.Name, Topic: orders.Name, Done: done}, program)
	w.Until(bank.Drained(orders))
	m1.Stop()
	close(done)
}

func start(w *harness.World, name string, s Setup, program func(Setup) (harness.Runner, error)) *harness.Process {
	return w.Start(name, func(p *harness.Process) (harness.Runner, error) {
		s.Process = p
		return program(s)
	})
}

func TestStep01_Deadlocks(t *testing.T)         { told(t, Deadlocks) }
func TestStep01_Spins(t *testing.T)             { told(t, Spins) }
func TestStep01_HoldsMutex(t *testing.T)        { told(t, HoldsMutex) }
func TestStep01_ReadsInput(t *testing.T)        { told(t, ReadsInput) }
func TestStep01_IgnoresContext(t *testing.T)    { told(t, IgnoresContext) }
func TestStep01_NeverAllows(t *testing.T)       { told(t, NeverAllows) }
func TestStep01_DialsAway(t *testing.T)         { told(t, DialsAway) }
func TestStep01_CallsAway(t *testing.T)         { told(t, CallsAway) }
func TestStep01_Panics(t *testing.T)            { told(t, Panics) }
func TestStep01_PanicsInHandler(t *testing.T)   { told(t, PanicsInHandler) }
func TestStep01_Exits(t *testing.T)             { told(t, Exits) }
func TestStep01_ReturnsAtOnce(t *testing.T)     { told(t, ReturnsAtOnce) }
func TestStep01_ReturnsNothing(t *testing.T)    { told(t, ReturnsNothing) }
func TestStep01_ReturnsNilPointer(t *testing.T) { told(t, ReturnsNilPointer) }
func TestStep01_ClosesChannel(t *testing.T)     { told(t, ClosesChannel) }
func TestStep01_ClosesTwice(t *testing.T)       { told(t, ClosesTwice) }
func TestStep01_LeavesGoroutine(t *testing.T)   { told(t, LeavesGoroutine) }
func TestStep01_LeavesClient(t *testing.T)      { told(t, LeavesClient) }
func TestStep01_StartsWithoutEnd(t *testing.T)  { told(t, StartsWithoutEnd) }
func TestStep01_KeepsWithoutEnd(t *testing.T)   { told(t, KeepsWithoutEnd) }

// A process with a disk takes everything down with it.
func TestStep01_ExitsWithADisk(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		w.Start("m1", func(p *harness.Process) (harness.Runner, error) {
			if err := os.WriteFile(filepath.Join(p.Dir(), "orders"), []byte("o-1"), 0o600); err != nil {
				return nil, err
			}
			os.Exit(3)
			return nil, nil
		})
	})
}

// Somebody else joins the group while the program blocks every rebalance.
func TestStep01_BlocksTheGroup(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		orders, bank := w.Topic("orders", 2), w.Group("bank")
		orders.Fill(3)
		setup := Setup{Group: bank.Name, Topic: orders.Name}
		m1 := start(w, "m1", setup, NeverAllows)
		w.Until(bank.Drained(orders))
		m2 := start(w, "m2", setup, Good)
		w.Until(bank.Balanced([]*harness.Process{m1, m2}, orders))
	})
}

func TestStep01_ClosesListener(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		start(w, "m1", Setup{}, ClosesListener)
		caller := w.Start("caller", func(p *harness.Process) (harness.Runner, error) { return call{p}, nil })
		if err := caller.Wait(); err != nil {
			w.Errorf("%v", err)
		}
	})
}

func TestStep01_Parallel(t *testing.T) {
	t.Parallel()
	told(t, Good)
}

func TestStep01_ParallelInside(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		t.Parallel()
		drain(w, Good)
	})
}

// The tests after a bad one run, and their verdict is their own.
func TestStep02_Good(t *testing.T) { told(t, Good) }

func TestGood(t *testing.T) { told(t, Good) }
