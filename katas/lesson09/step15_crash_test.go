package lesson09

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/kafka-katas/kafka-katas/harness"
)

// Wherever a teller crashes, its ledger on disk ends with each transfer in it once: the entry and its mark are both there,
// or neither is.
func TestStep15_ACrashAnywhereLeavesEachTransferOnce(t *testing.T) {
	harness.Sweep(t, "a", func(w *harness.World) {
		topic, bank := w.Topic("transfers", 1), w.Group("bank")
		topic.To(0, transfer("t-0"), transfer("t-1"), transfer("t-0"))

		a := opening(w, "a", config(bank, topic, func(c *Config) { c.Concurrency = 1 }), boundary(onDisk), func(*member) Apply { return post })
		a.RestartAfter(10 * time.Second)

		w.Until(bank.Drained(topic))
		w.Claim(ledger(a.store.(bounded).Store, ids(2)...), bank.Handled(topic), bank.CommitSafe(topic))
	})
}

// boundary opens a store each of whose transactions is a boundary of the process: it can crash before it, and after.
func boundary(open func(p *harness.Process) (Store, error)) func(p *harness.Process) (Store, error) {
	return func(p *harness.Process) (Store, error) {
		store, err := open(p)
		return bounded{store, p}, err
	}
}

type bounded struct {
	Store
	p *harness.Process
}

func (b bounded) Update(ctx context.Context, f func(Tx) error) error {
	return b.p.Exchange("transaction", func() (string, error) { return "", b.Store.Update(ctx, f) })
}

// Members come, go, crash and lose their network, commits fail: each transfer is in the ledger that they share once.
func TestStep15_DuringAnyChurnEachTransferIsAppliedOnce(t *testing.T) {
	plan := harness.Plan{Schedules: 100, Within: 40 * time.Second, Moves: []harness.MoveKind{
		harness.Join, harness.Leave, harness.Crash, harness.Isolate, harness.RefuseCommit, harness.LoseCommit, harness.DelayCommit,
		harness.CutFetch, harness.CutHeartbeat, harness.MoveLeader, harness.MoveCoordinator,
	}}
	harness.Explore(t, plan, func(w *harness.World, churn *harness.Schedule) {
		topic, bank := w.Topic("transfers", 2), w.Group("bank")
		topic.To(0, transfers(10)...)
		topic.To(1, transfers(10)...)
		store := memory(w)
		slow := func(ctx context.Context, r *kgo.Record) (Write, error) {
			if err := wait(ctx, 3*time.Second); err != nil {
				return nil, err
			}
			return post(ctx, r)
		}
		few := func(c *Config) { c.Window, c.Concurrency = 4, 2 }
		churn.Play(bank, []*harness.Topic{topic}, func(name string) *harness.Process {
			return teller(w, name, config(bank, topic, few), store, slow).Process
		})
		w.Until(bank.Drained(topic))
		w.Claim(ledger(store, ids(10)...), bank.Handled(topic), bank.CommitSafe(topic))
	}, harness.Deadline(20*time.Minute))
}

// An id is remembered for its time, to the end of it and no longer.
func TestStep16_AnIDIsRememberedForItsTime(t *testing.T) {
	each(t, func(w *harness.World, open func(p *harness.Process) (Store, error)) {
		store, err := open(idle(w, "bank"))
		given(w, err)
		defer store.Close()
		ttl := DefaultConfig().Deduplication.TTL

		marking(w, store, "t-0")
		w.Sleep(ttl - time.Nanosecond)
		w.Claim(marked(store, "t-0", true))

		w.Sleep(time.Nanosecond)
		w.Claim(marked(store, "t-0", false))
		marking(w, store, "t-0") // as if it had never been
		w.Sleep(ttl / 2)
		w.Claim(marked(store, "t-0", true))
	}, harness.Lasts(48*time.Hour))
}

// marking marks an id, and returns how many the store forgot for it.
func marking(w *harness.World, store Store, id string) (evicted int) {
	w.Helper()
	given(w, store.Update(w.Context(), func(tx Tx) (err error) {
		evicted, err = tx.Mark(id)
		return err
	}))
	w.Note("%s is marked; %d were forgotten for it", id, evicted)
	return evicted
}

// A memory without bound is a process that will be killed. The oldest goes first, and is counted.
func TestStep16_TheOldestIDsMakeRoom(t *testing.T) {
	for _, open := range []func(p *harness.Process) (Store, error){
		func(*harness.Process) (Store, error) {
			return stored(NewMemoryStore(Deduplication{TTL: time.Hour, MaxEntries: 3}))
		},
		func(p *harness.Process) (Store, error) {
			return stored(OpenBoltStore(p.Dir()+"/bank.db", Deduplication{TTL: time.Hour, MaxEntries: 3}))
		},
	} {
		harness.Run(t, func(w *harness.World) {
			store, err := open(idle(w, "bank"))
			given(w, err)
			defer store.Close()

			evicted := 0
			for i := range 5 {
				w.Sleep(time.Minute)
				evicted += marking(w, store, fmt.Sprintf("t-%d", i))
			}

			w.Claim(marked(store, "t-0", false), marked(store, "t-1", false), marked(store, "t-2", true), marked(store, "t-4", true),
				evictions(evicted, 2))
			w.Sleep(time.Hour)
			w.Claim(evictions(marking(w, store, "t-5"), 3))
		}, harness.Lasts(2*time.Hour))
	}
}

//go:noinline
func evictions(got, want int) harness.Claim {
	return harness.Reported(func() error {
		if got != want {
			return fmt.Errorf("the store says that it has forgotten %d ids; it should be %d", got, want)
		}
		return nil
	})
}

// Whoever runs the service sees that its memory is too small.
func TestStep16_ForgottenIDsAreCounted(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		topic, bank := w.Topic("transfers", 1), w.Group("bank")
		topic.To(0, transfers(6)...)
		store := memory(w, Deduplication{TTL: time.Hour, MaxEntries: 4})

		a := teller(w, "a", config(bank, topic), store, post)

		w.Until(bank.Drained(topic))
		w.Claim(a.extra("evicted", 2), ledger(store, ids(6)...))
	})
}

// A member that lost its partition and does not know is a zombie. What it still writes would be written behind the new
// owner's back: when that one has begun to write, the store takes nothing of the old one any more.
func TestStep17_AZombiesWriteIsFenced(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		topic, bank, writes := w.Topic("transfers", 1), w.Group("bank"), w.Effects("entry")
		topic.To(0, transfers(4)...)
		store := memory(w)
		slow := func(d time.Duration) func(m *member) Apply {
			return func(m *member) Apply {
				return func(_ context.Context, r *kgo.Record) (Write, error) {
					time.Sleep(d) // it looks at no context: a long pause of the process looks the same
					return func(tx Tx) error {
						if err := enter(string(r.Key))(tx); err != nil {
							return err
						}
						return writes.Do(m.Process, string(r.Key), nil)
					}, nil
				}
			}
		}
		open := func(*harness.Process) (Store, error) { return lent{store}, nil }
		a := opening(w, "a", config(bank, topic), open, slow(100*time.Second))
		w.Until(a.Busy(4))
		b := opening(w, "b", config(bank, topic, func(c *Config) { c.Concurrency = 1 }), open, slow(30*time.Second))

		a.Isolate()

		w.SleepUntil(110 * time.Second)
		w.Claim(noEntryBehind(a, b), a.fenced())
		a.Crash() // how soon a client stops that has no network is not the point
		w.Until(bank.Drained(topic))
		w.Claim(noEntryBehind(a, b), ledger(store, ids(4)...))
	}, harness.Grace(5*time.Minute))
}

// noEntryBehind claims that the one has written nothing after the other has begun to.
//
//go:noinline
func noEntryBehind(zombie, owner *member) harness.Claim {
	return func(w *harness.World) error {
		begun := harness.Event{}
		for _, e := range w.Journal().Events(harness.Of(harness.Affected)) {
			switch {
			case e.Process == owner.Name && begun.Process == "":
				begun = e
			case e.Process == zombie.Name && begun.Process != "":
				return harness.Shown(harness.Broke[harness.Overlapped]("two at once write for one partition, and neither knows what the other does: order and state are anybody's guess",
					"%s entered %s at %v, although %s owns the partition and has written since %v", zombie.Name, e.Key, e.At, owner.Name, begun.At), begun, e)
			}
		}
		if begun.Process == "" {
			return harness.Broke[harness.Stuck]("nothing stands in its way", "%s has taken the partition over and has written nothing by %v", owner.Name, w.Now())
		}
		return nil
	}
}

//go:noinline
func (m *member) fenced() harness.Claim {
	return m.reported(func() error {
		if n := m.service.Stats().Extra["fenced"]; n < 1 {
			return fmt.Errorf("%s reports %d fenced writes although it tried some", m.Name, n)
		}
		return nil
	})
}

// The fence is for zombies alone: members that come and go write as ever.
func TestStep17_ALaterOwnerMayAlwaysWrite(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		topic, bank := w.Topic("transfers", 2), w.Group("bank")
		store := memory(w)
		var all []string
		send := func(round int) {
			for i := range 4 {
				id := fmt.Sprintf("r%d-%d", round, i)
				all = append(all, id)
				topic.To(int32(i%2), transfer(id))
			}
		}
		start := func(name string) *member { return teller(w, name, config(bank, topic), store, post) }

		send(1)
		a := start("a")
		w.Until(bank.Drained(topic))
		b := start("b")
		w.Within(time.Minute, bank.Balanced([]*harness.Process{a.Process, b.Process}, topic))
		for round := range 2 { // both, one after the other and again
			send(2 + 10*round)
			w.Until(bank.Drained(topic))
		}
		a.Stop()
		send(3)
		w.Within(time.Minute, bank.Drained(topic))
		b.Crash()
		start("c")
		send(4)

		w.Within(3*time.Minute, bank.Drained(topic))
		w.Claim(ledger(store, all...))
	})
}
