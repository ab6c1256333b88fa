package shapes

import (
	"context"
	"path/filepath"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"go.etcd.io/bbolt"

	"github.com/kafka-katas/kafka-katas/harness"
)

// poster turns each transfer into a debit and a credit, in transactions.
type poster struct {
	session *kgo.GroupTransactSession
	entries string
	handle  func(context.Context, *kgo.Record) error
	mistake string
	posted  map[string]bool // for the mistake of believing that End has committed
}

func (p *poster) Run(ctx context.Context) error {
	defer p.session.Close()
	for {
		fetches := p.session.PollRecords(ctx, 5)
		if ctx.Err() != nil {
			return nil
		}
		if err := p.session.Begin(); err != nil {
			return err
		}
		promise := kgo.AbortingFirstErrPromise(p.session.Client())
		records := fetches.Records()
		for _, r := range records {
			if p.posted[string(r.Key)] {
				continue
			}
			if p.handle(ctx, r) != nil {
				break // the context has ended: End below aborts
			}
			for _, entry := range entriesFor(r) {
				entry.Topic = p.entries
				p.session.Produce(ctx, entry, promise.Promise())
			}
		}
		if err := p.end(ctx, promise, records); err != nil && ctx.Err() == nil {
			return err
		}
	}
}

// end ends the transaction. If it is aborted the session goes back to what is committed, and the same records come again.
func (p *poster) end(ctx context.Context, promise *kgo.FirstErrPromise, records []*kgo.Record) error {
	client := p.session.Client()
	if client.Flush(ctx) != nil { // promise.Err would wait for a broker that may be gone, whatever the context says
		leave, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		_, err := p.session.End(leave, kgo.TryAbort)
		return err
	}
	commit := kgo.TransactionEndTry(promise.Err() == nil && ctx.Err() == nil)
	if p.mistake == "offsets apart" { // the outputs in a transaction, the offsets in a commit of their own
		if err := client.EndTransaction(ctx, commit); err != nil {
			return err
		}
		return client.CommitRecords(ctx, records...)
	}
	_, err := p.session.End(ctx, commit)
	if p.mistake == "believes End" {
		for _, r := range records {
			p.posted[string(r.Key)] = err == nil
		}
	}
	return err
}

// entriesFor is what a transfer comes to in the books.
func entriesFor(transfers ...*kgo.Record) (entries []*kgo.Record) {
	for _, r := range transfers {
		for _, side := range []string{"debit ", "credit "} {
			entries = append(entries, &kgo.Record{Key: r.Key, Value: append([]byte(side), r.Value...)})
		}
	}
	return entries
}

// startPoster starts a member of the bank that needs a second for each transfer.
func startPoster(w *harness.World, name string, bank *harness.Group, transfers, entries *harness.Topic, mistake string) *harness.Process {
	return w.Start(name, func(p *harness.Process) (harness.Runner, error) {
		session, err := kgo.NewGroupTransactSession(append(p.Options(), kgo.ConsumerGroup(bank.Name), kgo.ConsumeTopics(transfers.Name),
			kgo.TransactionalID(bank.Name+"-"+p.Name), kgo.FetchIsolationLevel(kgo.ReadCommitted()),
			kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.ProducerLinger(0))...)
		if err != nil {
			return nil, err
		}
		return &poster{session, entries.Name, p.Handler(takes(time.Second)), mistake, map[string]bool{}}, nil
	})
}

// takes is a handler that works that long.
func takes(d time.Duration) func(context.Context, *kgo.Record) error {
	return func(ctx context.Context, _ *kgo.Record) error {
		select {
		case <-time.After(d):
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// ledger is an embedded store: the entries that were made, and the ids of the transfers that are done.
type ledger struct{ db *bbolt.DB }

func openLedger(dir string) (*ledger, error) {
	db, err := bbolt.Open(filepath.Join(dir, "ledger.db"), 0o600, &bbolt.Options{Timeout: time.Second})
	if err != nil {
		return nil, err
	}
	return &ledger{db}, db.Update(func(tx *bbolt.Tx) error {
		for _, name := range []string{"entries", "done"} {
			if _, err := tx.CreateBucketIfNotExists([]byte(name)); err != nil {
				return err
			}
		}
		return nil
	})
}

func (l *ledger) update(do func(*bbolt.Tx) error) error { return l.db.Update(do) }

// applied are the ids of the transfers that were entered, in order.
func (l *ledger) applied() (ids []string) {
	l.db.View(func(tx *bbolt.Tx) error {
		return tx.Bucket([]byte("entries")).ForEach(func(_, id []byte) error {
			ids = append(ids, string(id))
			return nil
		})
	})
	return ids
}

func enter(tx *bbolt.Tx, id []byte) error {
	entries := tx.Bucket([]byte("entries"))
	n, err := entries.NextSequence()
	if err != nil {
		return err
	}
	return entries.Put([]byte{byte(n >> 8), byte(n)}, id)
}

func isDone(tx *bbolt.Tx, id []byte) bool    { return tx.Bucket([]byte("done")).Get(id) != nil }
func markDone(tx *bbolt.Tx, id []byte) error { return tx.Bucket([]byte("done")).Put(id, []byte{1}) }

// teller applies transfers to its ledger, each once.
type teller struct {
	*harness.Process
	client  *kgo.Client
	ledger  *ledger
	update  func(func(*bbolt.Tx) error) error // the ledger's, as the story sees it
	handle  func(context.Context, *kgo.Record) error
	mistake string
}

func (t *teller) Run(ctx context.Context) error {
	defer t.ledger.db.Close()
	defer t.client.CloseAllowingRebalance()
	for {
		fetches := t.client.PollRecords(ctx, 2)
		for _, r := range fetches.Records() {
			if t.mistake == "commits first" {
				t.client.CommitRecords(ctx, r)
			}
			if err := t.handle(ctx, r); err != nil && ctx.Err() == nil {
				return err
			}
			if ctx.Err() == nil && t.mistake != "commits first" {
				t.client.CommitRecords(ctx, r) // an error means that it is delivered again, and the mark is there
			}
		}
		t.client.AllowRebalance()
		if ctx.Err() != nil {
			return nil
		}
	}
}

// apply enters a transfer and marks it as done, both or neither.
func (t *teller) apply(_ context.Context, r *kgo.Record) error {
	switch t.mistake {
	case "effect, then mark", "mark, then effect":
		known := false
		t.ledger.db.View(func(tx *bbolt.Tx) error { known = isDone(tx, r.Key); return nil })
		if known {
			return nil
		}
		first, second := enter, markDone
		if t.mistake == "mark, then effect" {
			first, second = markDone, enter
		}
		if err := t.update(func(tx *bbolt.Tx) error { return first(tx, r.Key) }); err != nil {
			return err
		}
		return t.update(func(tx *bbolt.Tx) error { return second(tx, r.Key) })
	}
	return t.update(func(tx *bbolt.Tx) error {
		if isDone(tx, r.Key) {
			return nil
		}
		if err := enter(tx, r.Key); err != nil {
			return err
		}
		return markDone(tx, r.Key)
	})
}

func (t *teller) applied() []string { return t.ledger.applied() }

// startTeller starts a teller whose ledger is on its own disk. Each write to it is a boundary of the process.
func startTeller(w *harness.World, bank *harness.Group, transfers *harness.Topic, mistake string) *teller {
	t := &teller{}
	w.Start("teller", func(p *harness.Process) (harness.Runner, error) {
		books, err := openLedger(p.Dir())
		if err != nil {
			return nil, err
		}
		now := &teller{Process: p, ledger: books, mistake: mistake}
		now.update = func(do func(*bbolt.Tx) error) error {
			return p.Exchange("ledger", func() (string, error) { return "", books.update(do) })
		}
		now.handle = p.Handler(now.apply)
		now.client, err = kgo.NewClient(append(p.Options(), kgo.ConsumerGroup(bank.Name), kgo.ConsumeTopics(transfers.Name),
			kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.DisableAutoCommit(), kgo.BlockRebalanceOnPoll())...)
		*t = *now
		return now, err
	})
	return t
}

func transfer(id string) *kgo.Record { return &kgo.Record{Key: []byte(id), Value: []byte("30 to bob")} }
