package lesson09

import (
	"context"
	"errors"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/kafka-katas/kafka-katas/harness"
)

// A crash between the effect and the commit repeats the delivery, never the effect.
func TestStep03_ARedeliveredTransferIsAppliedOnce(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		topic, bank := w.Topic("transfers", 1), w.Group("bank")
		topic.Produce(transfers(5)...)
		store := memory(w)
		teller(w, "a", config(bank, topic), store, post).CrashBefore(harness.OffsetCommit)
		w.Until(harness.Gone("a"))

		teller(w, "b", config(bank, topic), store, post)

		w.Until(bank.Drained(topic))
		w.Claim(ledger(store, ids(5)...), bank.Handled(topic), bank.CommitSafe(topic))
	})
}

// The sender repeats itself, because it did not hear the answer: another offset, another partition, the same id.
func TestStep04_TheSameTransferElsewhereIsTheSameTransfer(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		topic, bank := w.Topic("transfers", 2), w.Group("bank")
		topic.To(0, transfer("t-0"), transfer("t-1"), transfer("t-0"))
		topic.To(1, transfer("t-1"), transfer("t-2"))
		store := memory(w)

		teller(w, "a", config(bank, topic), store, post)

		w.Until(bank.Drained(topic))
		w.Claim(ledger(store, ids(3)...), bank.CommitSafe(topic))
	})
}

// Two transfers of one wallet are two transfers, although they have the same key, and may have the same content.
func TestStep04_AnotherTransferOfTheSameWalletIsAnother(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		topic, bank := w.Topic("transfers", 1), w.Group("bank")
		one, two := transfer("t-0"), transfer("t-1")
		one.Key, two.Key = []byte("anna"), []byte("anna")
		topic.To(0, one, two)
		store := memory(w)

		teller(w, "a", config(bank, topic), store, func(_ context.Context, r *kgo.Record) (Write, error) {
			return enter(string(r.Headers[0].Value)), nil
		})

		w.Until(bank.Drained(topic))
		w.Claim(ledger(store, ids(2)...))
	})
}

// A record without an id is not a duplicate of the last one without an id.
func TestStep04_ARecordWithoutAnIDIsRefused(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		store := memory(w)
		inbox, err := NewInbox(store, IDHeader("transfer-id"), post)
		given(w, err)
		loose, err := NewInbox(store, func(*kgo.Record) (string, error) { return "", nil }, post)
		given(w, err)

		none, empty := transfer("t-0"), transfer("t-1")
		none.Headers, empty.Headers[0].Value = nil, nil

		for _, err := range []error{inbox.Handle(w.Context(), none), inbox.Handle(w.Context(), empty), loose.Handle(w.Context(), transfer("t-2"))} {
			w.Claim(func(*harness.World) error {
				if errors.Is(err, ErrNoID) {
					return nil
				}
				if err != nil {
					return harness.Broke[harness.Misreported]("who looks for it has to tell it from an error that passes", "Handle of a record without an id says: %v; it should be ErrNoID", err)
				}
				return harness.Broke[harness.Lost]("the first of them is marked under the empty id, and all others are its duplicates", "a record without an id was taken")
			})
		}
		w.Claim(ledger(store))
	})
}

// What failed has not happened, whether it says so or panics: no mark, and the next delivery applies it.
func TestStep05_AnEffectThatFailsIsAppliedByTheNextDelivery(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		topic, bank := w.Topic("transfers", 1), w.Group("bank")
		topic.Produce(transfers(3)...)
		store := memory(w)
		fails, panics := failsOn("t-1", errFlaky), failsOn("t-1", errFlaky)

		teller(w, "a", config(bank, topic), store, func(ctx context.Context, r *kgo.Record) (Write, error) {
			if err := fails(ctx, r); err != nil {
				return nil, err
			}
			if panics(ctx, r) != nil {
				panic("assignment to entry in nil map")
			}
			return post(ctx, r)
		})

		w.Until(bank.Drained(topic))
		w.Claim(ledger(store, ids(3)...), bank.Handled(topic), bank.CommitSafe(topic))
	})
}

// A write that fails half way leaves neither its first half nor a mark.
func TestStep05_AWriteThatFailsLeavesNothing(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		topic, bank := w.Topic("transfers", 1), w.Group("bank")
		topic.Produce(transfers(3)...)
		store := memory(w)
		fails, panics := failsOn("t-1", errFlaky, errFlaky), failsOn("t-2", errFlaky)

		teller(w, "a", config(bank, topic), store, func(ctx context.Context, r *kgo.Record) (Write, error) {
			return func(tx Tx) error {
				if err := enter(string(r.Key))(tx); err != nil { // the debit
					return err
				}
				if panics(ctx, r) != nil {
					panic("assignment to entry in nil map")
				}
				return fails(ctx, r) // the credit
			}, nil
		})

		w.Until(bank.Drained(topic))
		w.Claim(ledger(store, ids(3)...), bank.Handled(topic), bank.CommitSafe(topic))
	})
}

// each tells a story for either store.
func each(t *testing.T, story func(w *harness.World, open func(p *harness.Process) (Store, error)), opts ...harness.Option) {
	for _, open := range []func(p *harness.Process) (Store, error){inMemory, onDisk} {
		harness.Run(t, func(w *harness.World) { story(w, open) }, opts...)
	}
}

func inMemory(*harness.Process) (Store, error) {
	return stored(NewMemoryStore(DefaultConfig().Deduplication))
}

func onDisk(p *harness.Process) (Store, error) {
	return stored(OpenBoltStore(p.Dir()+"/bank.db", DefaultConfig().Deduplication))
}

// stored keeps a nil store from looking like one.
func stored[S Store](s S, err error) (Store, error) {
	if err != nil {
		return nil, err
	}
	return s, nil
}

// idle is a process that does nothing but own a folder.
func idle(w *harness.World, name string) *harness.Process {
	return w.Start(name, func(*harness.Process) (harness.Runner, error) {
		return harness.RunFunc(func(ctx context.Context) error { <-ctx.Done(); return nil }), nil
	})
}

// What is done in one transaction is kept together or not at all, in either store.
func TestStep06_AStoreKeepsAllOfATransactionOrNothing(t *testing.T) {
	each(t, func(w *harness.World, open func(p *harness.Process) (Store, error)) {
		store, err := open(idle(w, "bank"))
		given(w, err)
		defer store.Close()

		given(w, store.Update(w.Context(), enter("t-0")))
		failed := store.Update(w.Context(), func(tx Tx) error {
			_, err := tx.Mark("t-1")
			return errors.Join(enter("t-1")(tx), enter("t-0")(tx), err, errFlaky)
		})
		over, cancel := context.WithCancel(w.Context())
		cancel()
		late := store.Update(over, enter("t-2"))

		w.Claim(func(*harness.World) error {
			if !errors.Is(late, context.Canceled) {
				return harness.Broke[harness.Misreported]("who is told to stop begins nothing any more", "Update says %v under a context that has ended", late)
			}
			return nil
		}, ledger(store, "t-0"), marked(store, "t-1", false), func(*harness.World) error {
			if !errors.Is(failed, errFlaky) {
				return harness.Broke[harness.Misreported]("who does not hear of a failure acknowledges what was not kept", "Update says %v of a transaction that failed", failed)
			}
			return nil
		})
	})
}

// What a store keeps changes by a transaction, and not because somebody goes on to use the bytes that he gave or got.
func TestStep06_WhatAStoreKeepsIsItsOwn(t *testing.T) {
	each(t, func(w *harness.World, open func(p *harness.Process) (Store, error)) {
		store, err := open(idle(w, "bank"))
		given(w, err)
		defer store.Close()
		value := []byte("30 from anna to bob")

		given(w, store.Update(w.Context(), func(tx Tx) error {
			err := tx.Put("t-0", value)
			copy(value, "99")
			return err
		}))
		copy(value, "77")

		var got []byte
		for range 2 { // what was got the first time is written over
			copy(got, "55")
			given(w, store.Update(w.Context(), func(tx Tx) (err error) {
				got, err = tx.Get("t-0")
				return err
			}))
		}
		w.Claim(func(*harness.World) error {
			if string(got) != "30 from anna to bob" {
				return harness.Broke[harness.Overlapped]("whoever still holds the bytes writes to the store beside all transactions", "what was put as %q is %q, since the caller went on to use the bytes that he gave or got", "30 from anna to bob", got)
			}
			return nil
		})
	})
}

// A transaction reads what it has written itself.
func TestStep06_ATransactionReadsWhatItHasWritten(t *testing.T) {
	each(t, func(w *harness.World, open func(p *harness.Process) (Store, error)) {
		store, err := open(idle(w, "bank"))
		given(w, err)
		defer store.Close()

		var known bool
		given(w, store.Update(w.Context(), func(tx Tx) error {
			err := errors.Join(enter("t-0")(tx), enter("t-0")(tx), enter("t-1")(tx))
			_, failed := tx.Mark("t-0")
			var unknown error
			known, unknown = tx.Marked("t-0")
			return errors.Join(err, failed, unknown)
		}))

		w.Claim(func(*harness.World) error {
			if got := entries(store)(); !slices.Equal(got, []string{"t-0", "t-0", "t-1"}) {
				return harness.Broke[harness.Lost]("of two writes that build on each other the first is undone by the second", "a transaction entered t-0 twice and t-1 once, each time on top of what is there; the store has %v", got)
			}
			if !known {
				return harness.Broke[harness.Duplicated]("two messages with one id may be applied in one transaction", "a transaction that has marked t-0 does not find the mark")
			}
			return nil
		})
	})
}

// What a transaction reads nobody changes before it has written.
func TestStep06_TransactionsAreOneAfterTheOther(t *testing.T) {
	each(t, func(w *harness.World, open func(p *harness.Process) (Store, error)) {
		store, err := open(idle(w, "bank"))
		given(w, err)
		defer store.Close()

		calls := w.Call("posting", 5, func(ctx context.Context, i int) error {
			return store.Update(ctx, func(tx Tx) error {
				before, err := tx.Get("entry/t-0")
				for range 100 {
					runtime.Gosched() // whoever may run runs
				}
				return errors.Join(err, tx.Put("entry/t-0", append(before, '|')))
			})
		})

		w.Until(calls.Done())
		w.Claim(calls.Returned(nil), func(*harness.World) error {
			if n := len(entries(store)()); n != 5 {
				return harness.Broke[harness.Lost]("of two that read the same and then write, the later one undoes the earlier", "of 5 transactions at once %d are kept", n)
			}
			return nil
		})
	})
}

// marked claims that an id is marked, or is not.
//
//go:noinline
func marked(store Store, id string, want bool) harness.Claim {
	return func(w *harness.World) error {
		got := !want
		err := store.Update(w.Context(), func(tx Tx) (err error) {
			got, err = tx.Marked(id)
			return err
		})
		switch {
		case err != nil:
			return err
		case got && !want:
			return harness.Broke[harness.Lost]("an id that is marked is never applied", "at %v %s is marked; it should not be", w.Now(), id)
		case want && !got:
			return harness.Broke[harness.Duplicated]("an id that is not marked is applied by its next delivery", "at %v %s is not marked; it should be", w.Now(), id)
		}
		return nil
	}
}

// A restart of the process, clean or not, takes neither the ledger nor the marks with it.
func TestStep06_AStoreOnDiskSurvivesARestart(t *testing.T) {
	for _, end := range []func(m *member){
		func(m *member) { m.Stop() },
		func(m *member) { m.Crash() },
	} {
		harness.Run(t, func(w *harness.World) {
			topic, bank := w.Topic("transfers", 1), w.Group("bank")
			topic.Produce(transfers(3)...)
			a := opening(w, "a", config(bank, topic), onDisk, func(*member) Apply { return post })
			w.Until(bank.Drained(topic))

			end(a)
			topic.Produce(transfer("t-1"), transfer("t-3"))
			a.Process = a.Process.Restart()

			w.Until(bank.Drained(topic))
			w.Claim(ledger(a.store, ids(4)...), bank.CommitSafe(topic))
		})
	}
}

// Two processes that write to one file would each undo what the other does. The second one is told so, soon.
func TestStep06_AStoreOnDiskIsOneProcessesAtATime(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		bank := idle(w, "bank")
		store, err := onDisk(bank)
		given(w, err)
		defer store.Close()

		w.Note("the file is open, and is opened a second time")
		second := w.Call("opening", 1, func(context.Context, int) error {
			again, err := onDisk(bank)
			if err == nil {
				again.Close()
				return harness.Broke[harness.Overlapped]("two writers of one file undo each other's work", "a second store was opened on the same file")
			}
			return nil
		})

		w.Within(10*time.Second, second.Done())
		w.Claim(second.Returned(nil))
	})
}
