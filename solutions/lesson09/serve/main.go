// Serve is lesson 09 as a running service: go tool kata serve 09.
package main

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/kafka-katas/kafka-katas/internal/service"
	"github.com/kafka-katas/kafka-katas/solutions/lesson09"
)

func main() {
	service.Main("lesson09", lesson09.DefaultConfig(), func(cfg lesson09.Config, s *service.Stage) (service.Service, error) {
		s.Topics(6, cfg.Topics...)
		s.Traffic(cfg.Topics[0], (&sender{}).transfer)

		store, err := lesson09.OpenBoltStore(filepath.Join(s.Dir(), "ledger.db"), cfg.Deduplication)
		if err != nil {
			return nil, err
		}
		s.Also("the ledger", func(ctx context.Context) error {
			<-ctx.Done()
			return store.Close()
		})
		bank := &bank{closed: map[place]int{}}
		inbox, err := lesson09.NewInbox(store, lesson09.IDHeader("transfer-id"), bank.apply)
		if err != nil {
			return nil, err
		}
		s.Handle("GET /balances", balances(store))
		s.Note("curl %s/balances   what the wallets hold: never more or less than 0 in all, although transfers come twice")
		return lesson09.New(cfg, inbox.Handle, s.Opts()...)
	})
}

// A Transfer moves money from one wallet to another.
type Transfer struct {
	From  string `json:"from"`
	To    string `json:"to"`
	Cents int64  `json:"cents"`
	Bank  string `json:"bank"` // "closed": not now
}

// sender sends some transfers again, as senders do that were not sure.
type sender struct{ before []*kgo.Record }

// transfer is one of the traffic. A bad one is an earlier one again, no transfer at all, or for a bank that is closed.
func (s *sender) transfer(r *rand.Rand, bad bool) *kgo.Record {
	t := Transfer{From: wallet(r), To: wallet(r), Cents: 1 + r.Int64N(10_000), Bank: "open"}
	id := fmt.Sprintf("t-%016x", r.Uint64())
	kind := r.IntN(4)
	switch {
	case bad && kind < 2 && len(s.before) > 0:
		again := *s.before[r.IntN(len(s.before))]
		return &kgo.Record{Key: again.Key, Value: again.Value, Headers: again.Headers}
	case bad && kind == 2:
		return &kgo.Record{Key: []byte(t.From), Value: []byte("{not a transfer"), Headers: headers(id)}
	case bad:
		t.Bank = "closed"
	}
	value, _ := json.Marshal(t) // strings and a number
	record := &kgo.Record{Key: []byte(t.From), Value: value, Headers: headers(id)}
	s.before = append(s.before, record)
	s.before = s.before[max(0, len(s.before)-100):]
	return record
}

func wallet(r *rand.Rand) string { return fmt.Sprintf("wallet-%d", r.IntN(8)) }

func headers(id string) []kgo.RecordHeader {
	return []kgo.RecordHeader{{Key: "transfer-id", Value: []byte(id)}}
}

// bank is what says yes or no to transfers.
type bank struct {
	mu     sync.Mutex
	closed map[place]int // how often it was asked
}

type place struct {
	partition int32
	offset    int64
}

func (b *bank) apply(ctx context.Context, r *kgo.Record) (lesson09.Write, error) {
	var t Transfer
	if err := json.Unmarshal(r.Value, &t); err != nil {
		// Nobody will ever be able to read it: it is done with, and changes nothing. Lesson 08 has a place for it.
		slog.Warn("no transfer", "topic", r.Topic, "partition", r.Partition, "offset", r.Offset)
		return nil, nil
	}
	select {
	case <-time.After(5 * time.Millisecond):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if t.Bank == "closed" && b.isClosed(place{r.Partition, r.Offset}) {
		return nil, lesson09.Nack(500*time.Millisecond, errors.New("the bank is closed"))
	}
	return func(tx lesson09.Tx) error {
		return errors.Join(add(tx, t.From, -t.Cents), add(tx, t.To, t.Cents))
	}, nil
}

// isClosed says so twice of each transfer.
func (b *bank) isClosed(at place) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed[at]++
	if b.closed[at] > 2 {
		delete(b.closed, at)
		return false
	}
	return true
}

const prefix = "balance/"

func add(tx lesson09.Tx, wallet string, cents int64) error {
	balance, err := read(tx, prefix+wallet)
	if err != nil {
		return err
	}
	return tx.Put(prefix+wallet, binary.AppendVarint(nil, balance+cents))
}

func read(tx lesson09.Tx, key string) (int64, error) {
	value, err := tx.Get(key)
	if err != nil || value == nil {
		return 0, err
	}
	balance, n := binary.Varint(value)
	if n <= 0 {
		return 0, fmt.Errorf("%s is no number", key)
	}
	return balance, nil
}

func balances(store lesson09.Store) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var wallets map[string]int64
		err := store.Update(r.Context(), func(tx lesson09.Tx) error {
			wallets = map[string]int64{"total": 0}
			keys, err := tx.Keys(prefix)
			for _, key := range keys {
				if err != nil {
					break
				}
				var cents int64
				cents, err = read(tx, key)
				wallets[strings.TrimPrefix(key, prefix)] = cents
				wallets["total"] += cents
			}
			return err
		})
		if err != nil {
			service.Reply(w, http.StatusServiceUnavailable, map[string]string{"error": err.Error()})
			return
		}
		service.Reply(w, http.StatusOK, wallets)
	})
}
