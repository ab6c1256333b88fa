package shapes

import (
	"testing"
	"time"

	"github.com/kafka-katas/kafka-katas/harness"
)

// A rebalance inside a transaction aborts it, and End says so with false and no error. Then the newcomer dies inside its
// own, and the old member gets everything back. The committed view shows each transfer's entries once all the same.
func aRebalanceInsideATransactionRepeatsNothing(mistake string) func(w *harness.World) {
	return func(w *harness.World) {
		transfers, entries, bank := w.Topic("transfers", 2), w.Topic("entries", 2), w.Group("bank")
		transfers.Fill(10)
		startPoster(w, "a", bank, transfers, entries, mistake)
		w.Await("the first transaction", harness.Of(harness.Handled))

		startPoster(w, "b", bank, transfers, entries, mistake).CrashBefore(harness.EndTxn)
		w.Await("the end of the first transaction", harness.Saying("transaction aborted"))

		w.Until(bank.Drained(transfers))
		w.Sleep(time.Minute) // a transaction that is still open has timed out by then
		w.Claim(entries.Holds(entriesFor(transfers.Records()...)...), bank.Handled(transfers), bank.CommitSafe(transfers))
	}
}

func TestLesson09_ARebalanceInsideATransactionRepeatsNothing(t *testing.T) {
	harness.Run(t, aRebalanceInsideATransactionRepeatsNothing(""))
}

func TestLesson09_BelievingThatEndHasCommittedIsCaught(t *testing.T) {
	harness.Run(t, aRebalanceInsideATransactionRepeatsNothing("believes End"), harness.Red("LOST"))
}

// Outputs and offsets are committed together or not at all, wherever the member crashes.
func aTransactionSurvivesACrash(mistake string) func(w *harness.World) {
	return func(w *harness.World) {
		transfers, entries, bank := w.Topic("transfers", 1), w.Topic("entries", 1), w.Group("bank")
		transfers.Fill(10)

		startPoster(w, "a", bank, transfers, entries, mistake).RestartAfter(5 * time.Second)

		w.Until(bank.Drained(transfers))
		w.Claim(entries.Holds(entriesFor(transfers.Records()...)...), bank.Handled(transfers), bank.CommitSafe(transfers))
	}
}

func TestLesson09_ATransactionSurvivesACrashAnywhere(t *testing.T) {
	harness.Sweep(t, "a", aTransactionSurvivesACrash(""))
}

func TestLesson09_OffsetsOutsideTheTransactionAreCaught(t *testing.T) {
	harness.Sweep(t, "a", aTransactionSurvivesACrash("offsets apart"), harness.Red("DUPLICATED"))
}

// Wherever a teller crashes, its ledger ends with each transfer in it once; one of them also comes twice.
func aTransferIsAppliedOnce(mistake string) func(w *harness.World) {
	return func(w *harness.World) {
		transfers, bank := w.Topic("transfers", 1), w.Group("bank")
		transfers.Produce(transfer("t-1"), transfer("t-2"), transfer("t-1"), transfer("t-3"))

		teller := startTeller(w, bank, transfers, mistake)
		teller.RestartAfter(10 * time.Second)

		w.Until(bank.Drained(transfers))
		w.Claim(harness.Once("transfers in the ledger", teller.applied, "t-1", "t-2", "t-3"),
			bank.Handled(transfers), bank.CommitSafe(transfers))
	}
}

func TestLesson09_ATransferIsAppliedOnceWhereverItsTellerCrashes(t *testing.T) {
	harness.Sweep(t, "teller", aTransferIsAppliedOnce(""))
}

func TestLesson09_WrongOrdersAreCaught(t *testing.T) {
	for mistake, word := range map[string]string{
		"effect, then mark": "DUPLICATED", "mark, then effect": "LOST", "commits first": "COMMITTED TOO EARLY",
	} {
		harness.Sweep(t, "teller", aTransferIsAppliedOnce(mistake), harness.Red(word))
	}
}
