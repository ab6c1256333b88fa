package lesson09

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/kafka-katas/kafka-katas/harness"
)

// poster starts a processor that makes of each transfer a debit and a credit in the ledger's topic. Work is what it does
// before.
func poster(w *harness.World, name string, cfg Config, ledger *harness.Topic, work Handler) *member {
	return posting(w, name, cfg, ledger, func(*harness.Process) (Handler, error) { return work, nil })
}

func posting(w *harness.World, name string, cfg Config, ledger *harness.Topic, work func(p *harness.Process) (Handler, error)) *member {
	m := &member{}
	m.Process = w.Start(name, func(p *harness.Process) (harness.Runner, error) {
		handle, err := work(p)
		if err != nil {
			return nil, err
		}
		handle = p.Handler(handle)
		if cfg.TransactionalID == "" {
			cfg.TransactionalID = w.TransactionalID(name)
		}
		c, err := NewProcessor(cfg, func(ctx context.Context, r *kgo.Record) ([]*kgo.Record, error) {
			if err := handle(ctx, r); err != nil {
				return nil, err
			}
			out := sides(r)
			for _, r := range out {
				r.Topic = ledger.Name
			}
			return out, nil
		}, p.Options()...)
		if c == nil {
			return nil, err
		}
		m.service = c
		return c, err
	})
	return m
}

// sides are what transfers come to in the ledger.
func sides(transfers ...*kgo.Record) (out []*kgo.Record) {
	for _, r := range transfers {
		for _, side := range []string{"debit ", "credit "} {
			out = append(out, &kgo.Record{Key: r.Key, Value: append([]byte(side), r.Value...)})
		}
	}
	return out
}

// once claims that a reader of committed transactions finds both sides of every transfer, each once.
//
//go:noinline
func once(ledger, transfers *harness.Topic) harness.Claim {
	return func(w *harness.World) error { return ledger.Holds(sides(transfers.Records()...)...)(w) }
}

// Outputs and offsets appear together: what is committed has its outputs, each once.
func TestStep18_OutputsAndOffsetsAppearTogether(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		transfers, ledger, bank := w.Topic("transfers", 2), w.Topic("ledger", 2), w.Group("bank")
		transfers.Fill(10)

		a := poster(w, "a", config(bank, transfers), ledger, atOnce)

		w.Until(bank.Drained(transfers))
		w.Claim(once(ledger, transfers), bank.Handled(transfers), bank.CommitSafe(transfers), a.healthy(true, true))
	})
}

// Wherever the processor crashes, none of its outputs is missing and none is there twice.
func TestStep18_ACrashAnywhereShowsNothingTwice(t *testing.T) {
	harness.Sweep(t, "a", func(w *harness.World) {
		transfers, ledger, bank := w.Topic("transfers", 1), w.Topic("ledger", 1), w.Group("bank")
		transfers.Fill(6)
		few := func(c *Config) { c.TransactionBatch = 3 }

		poster(w, "a", config(bank, transfers, few), ledger, atOnce).RestartAfter(5 * time.Second)

		w.Until(bank.Drained(transfers))
		w.Claim(once(ledger, transfers), bank.Handled(transfers), bank.CommitSafe(transfers))
	})
}

// What was aborted has never been, for a processor too.
func TestStep18_WhatWasAbortedIsNotProcessed(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		topic, ledger, bank := w.Topic("transfers", 1), w.Topic("ledger", 1), w.Group("bank")
		inTransaction(w, topic, kgo.TryAbort, "a-0", "a-1")
		topic.To(0, transfer("t-0"))

		poster(w, "a", config(bank, topic), ledger, atOnce)

		w.Within(30*time.Second, bank.CommittedAt(topic, 0, 4))
		w.Claim(ledger.Holds(sides(transfer("t-0"))...))
	})
}

// When one record fails, nobody sees the outputs of those before it in its transaction; all of them come again. A panic is
// a failure, and no transaction is larger than TransactionBatch.
func TestStep18_AFailureAbortsTheTransaction(t *testing.T) {
	for _, fails := range []Handler{
		failsOn("transfers-4", errFlaky),
		panicsOnce("transfers-4"),
	} {
		harness.Run(t, func(w *harness.World) {
			transfers, ledger, bank := w.Topic("transfers", 1), w.Topic("ledger", 1), w.Group("bank")
			transfers.Fill(6)
			few := func(c *Config) { c.RetryAfter, c.TransactionBatch = 10*time.Second, 3 }

			a := poster(w, "a", config(bank, transfers, few), ledger, fails)

			w.Sleep(5 * time.Second)
			w.Claim(shows(ledger, "transfers-0", true), shows(ledger, "transfers-1", true), shows(ledger, "transfers-4", false), shows(ledger, "transfers-5", false))
			w.Until(bank.Drained(transfers))
			w.Claim(once(ledger, transfers), bank.CommitSafe(transfers), a.extra("aborts", 1))
		})
	}
}

// panicsOnce is a handler that panics the first time that it gets a record with this key.
func panicsOnce(key string) Handler {
	once := failsOn(key, errFlaky)
	return func(ctx context.Context, r *kgo.Record) error {
		if once(ctx, r) != nil {
			panic("index out of range [3] with length 3")
		}
		return nil
	}
}

// shows claims that the committed view has outputs of a record, or has none.
//
//go:noinline
func shows(ledger *harness.Topic, key string, want bool) harness.Claim {
	return func(w *harness.World) error {
		got := slices.ContainsFunc(ledger.Records(), func(r *kgo.Record) bool { return string(r.Key) == key })
		switch {
		case got && !want:
			return harness.Broke[harness.Misrouted]("what is in a transaction that failed, or behind it, has not happened", "at %v %s shows outputs of %s, whose transaction failed or has not begun", w.Now(), ledger, key)
		case want && !got:
			return harness.Broke[harness.Stuck]("what one transaction takes in, one failure holds up", "at %v %s shows no output of %s; TransactionBatch is 3, so it is not in the transaction of transfers-4, which failed", w.Now(), ledger, key)
		}
		return nil
	}
}

// An output that Kafka refuses is as bad as a handler that fails. The client tells it to the promise of that record, and
// to nobody else: the transaction could be committed without it.
func TestStep18_AnOutputThatIsRefusedAbortsTheTransaction(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		transfers, ledger, bank := w.Topic("transfers", 1), w.Topic("ledger", 1), w.Group("bank")
		transfers.Fill(6)

		poster(w, "a", config(bank, transfers), ledger, atOnce).Fault(harness.Fail(harness.Produce, kerr.MessageTooLarge))

		w.Until(bank.Drained(transfers))
		w.Claim(once(ledger, transfers), bank.Handled(transfers), bank.CommitSafe(transfers))
	})
}

// Without a name there is no transaction, and no telling who is the newer.
func TestStep18_AProcessorNeedsAName(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		w.Claim(configured("a producer without a transactional id writes without transactions", func() error {
			_, err := NewProcessor(DefaultConfig(), func(context.Context, *kgo.Record) ([]*kgo.Record, error) { return nil, nil })
			switch {
			case err == nil:
				return fmt.Errorf("NewProcessor takes a configuration without transactional_id")
			case strings.Contains(err.Error(), "is not written yet"):
				return err
			case !strings.Contains(err.Error(), "transactional_id"):
				return fmt.Errorf("NewProcessor does not name transactional_id; it says: %w", err)
			}
			return nil
		}))
	})
}

// A rebalance inside a transaction aborts it, and End says so with false and no error. Then the newcomer dies inside its
// own, and the other member gets everything back. The committed view has everything once all the same.
func TestStep19_ARebalanceInsideATransactionShowsNothingTwice(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		transfers, ledger, bank := w.Topic("transfers", 2), w.Topic("ledger", 2), w.Group("bank")
		transfers.Fill(10)
		few := func(c *Config) { c.TransactionBatch = 5 }
		poster(w, "a", config(bank, transfers, few), ledger, takes(time.Second))
		w.Await("the first transaction", harness.Of(harness.Handled))

		poster(w, "b", config(bank, transfers, few), ledger, takes(time.Second)).CrashBefore(harness.EndTxn)
		w.Await("the end of a transaction", harness.Saying("transaction aborted"))

		w.Until(bank.Drained(transfers))
		w.Sleep(time.Minute) // a transaction that is still open has timed out by then
		w.Claim(once(ledger, transfers), bank.Handled(transfers), bank.CommitSafe(transfers))
	})
}

// Processors come, go and crash: the committed view has everything once.
func TestStep19_DuringAnyChurnTheLedgerShowsEverythingOnce(t *testing.T) {
	plan := harness.Plan{Schedules: 50, Members: 2, Within: 30 * time.Second, Moves: []harness.MoveKind{
		harness.Join, harness.Leave, harness.Crash, harness.CutFetch, harness.CutHeartbeat, harness.MoveCoordinator,
	}}
	harness.Explore(t, plan, func(w *harness.World, churn *harness.Schedule) {
		transfers, ledger, bank := w.Topic("transfers", 2), w.Topic("ledger", 1), w.Group("bank")
		transfers.Fill(8)
		few := func(c *Config) { c.TransactionBatch = 3 }
		churn.Play(bank, []*harness.Topic{transfers}, func(name string) *harness.Process {
			return poster(w, name, config(bank, transfers, few), ledger, takes(time.Second)).Process
		})
		w.Until(bank.Drained(transfers))
		w.Sleep(time.Minute)
		w.Claim(once(ledger, transfers), bank.Handled(transfers), bank.CommitSafe(transfers))
	}, harness.Deadline(20*time.Minute))
}

// Two processes under one transactional id: the newer one fences the older, which stops and says why.
func TestStep20_AnOlderTwinIsFencedAndStops(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		transfers, ledger, bank := w.Topic("transfers", 2), w.Topic("ledger", 1), w.Group("bank")
		transfers.Fill(4)
		same := func(c *Config) { c.TransactionalID = w.TransactionalID("poster-1") }
		a := poster(w, "a", config(bank, transfers, same), ledger, takes(5*time.Second))
		a.MayEnd()
		w.Until(a.Busy(1))
		w.Sleep(2 * time.Second)

		poster(w, "twin", config(bank, transfers, same), ledger, takes(time.Second))

		w.Within(2*time.Minute, a.Ends(ErrFenced))
		w.Within(5*time.Minute, bank.Drained(transfers))
		w.Claim(once(ledger, transfers), bank.CommitSafe(transfers), a.healthy(false, false))
	})
}

// A handler that takes longer than a transaction may last is told to give up in time. The transaction is aborted, and the
// next one works.
func TestStep20_ATransactionThatTakesTooLongIsAbortedInTime(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		transfers, ledger, bank := w.Topic("transfers", 1), w.Topic("ledger", 1), w.Group("bank")
		transfers.Fill(4)
		short := func(c *Config) { c.TransactionTimeout = 20 * time.Second }
		slow := failsOn("transfers-2", errFlaky)

		poster(w, "a", config(bank, transfers, short), ledger, func(ctx context.Context, r *kgo.Record) error {
			if slow(ctx, r) != nil {
				return wait(ctx, time.Hour)
			}
			return nil
		})

		w.Within(time.Minute, bank.Drained(transfers))
		w.Claim(once(ledger, transfers), bank.CommitSafe(transfers))
	})
}

// A transaction that nobody ends holds up everyone who reads the topic, until the broker aborts it.
func TestStep20_AnOpenTransactionHoldsReadersUpNoLongerThanItsTimeout(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		transfers, ledger, bank := w.Topic("transfers", 1), w.Topic("ledger", 1), w.Group("bank")
		transfers.Fill(2)
		short := func(c *Config) { c.TransactionTimeout = 15 * time.Second }
		a := poster(w, "a", config(bank, transfers, short), ledger, atOnce).CrashBefore(harness.EndTxn)
		w.Until(harness.Gone("a"))
		_ = a

		other := &kgo.Record{Key: []byte("other"), Value: []byte("of somebody else")}
		ledger.Produce(other)

		w.Sleep(17 * time.Second)
		w.Claim(func(*harness.World) error {
			if len(ledger.Records()) == 0 {
				return harness.Broke[harness.Stuck]("one process that hangs holds up everybody who reads what it writes to",
					"the transaction of a, which crashed, still holds readers of %s up 17s later; TransactionTimeout is 15s", ledger)
			}
			return nil
		}, ledger.Holds(other))
	})
}

// What a transform does outside of Kafka is not part of the transaction: an abort repeats it. With an inbox of its own it
// happens once, and the outputs all the same.
func TestStep21_AnEffectOutsideNeedsAnInboxOfItsOwn(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		topic, ledger, bank, calls := w.Topic("transfers", 1), w.Topic("ledger", 1), w.Group("bank"), w.Effects("call to the core")
		topic.To(0, transfers(3)...)
		store := memory(w)

		posting(w, "a", config(bank, topic), ledger, func(p *harness.Process) (Handler, error) {
			inbox, err := NewInbox(store, IDHeader("transfer-id"), func(_ context.Context, r *kgo.Record) (Write, error) {
				return nil, calls.Do(p, string(r.Key), nil)
			})
			if err != nil {
				return nil, err
			}
			return inbox.Handle, nil
		}).Fault(harness.Fail(harness.Produce, kerr.MessageTooLarge))

		w.Until(bank.Drained(topic))
		w.Claim(begun("t-0", 2), calls.Once(ids(3)...), once(ledger, topic))
	})
}
