package lesson12

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	bolt "go.etcd.io/bbolt"
)

// BoltStore is a Store in one file, which one process has open at a time.
type BoltStore struct {
	db *bolt.DB
}

var bucket = []byte("shop")

// OpenStore opens the file, and makes it if it is not there. Somebody who has it open already is waited for, for a
// second; then it is an error.
func OpenStore(path string) (*BoltStore, error) {
	db, err := bolt.Open(path, 0o600, &bolt.Options{Timeout: time.Second})
	if err != nil {
		return nil, fmt.Errorf("opening %s: %w", path, err)
	}
	err = db.Update(func(tx *bolt.Tx) error {
		_, err := tx.CreateBucketIfNotExists(bucket)
		return err
	})
	if err != nil {
		db.Close()
		return nil, err
	}
	return &BoltStore{db}, nil
}

// Close waits for what runs and closes the file.
func (b *BoltStore) Close() error { return b.db.Close() }

// Update is Store's.
func (b *BoltStore) Update(change func(tx Tx) error) error {
	return b.db.Update(func(tx *bolt.Tx) error { return change(boltTx{tx.Bucket(bucket)}) })
}

// View is Store's.
func (b *BoltStore) View(look func(tx Tx) error) error {
	return b.db.View(func(tx *bolt.Tx) error { return look(boltTx{tx.Bucket(bucket)}) })
}

type boltTx struct{ b *bolt.Bucket }

func (t boltTx) Get(key string) []byte { return bytes.Clone(t.b.Get([]byte(key))) }

func (t boltTx) Put(key string, value []byte) error { return t.b.Put([]byte(key), value) }

func (t boltTx) Delete(key string) error { return t.b.Delete([]byte(key)) }

func (t boltTx) Scan(prefix string, each func(key string, value []byte) error) error {
	c := t.b.Cursor()
	for k, v := c.Seek([]byte(prefix)); k != nil && bytes.HasPrefix(k, []byte(prefix)); k, v = c.Next() {
		if err := each(string(k), bytes.Clone(v)); err != nil {
			return err
		}
	}
	return nil
}

// get reads a value that was put by put; nil if there is none.
func get[T any](tx Tx, key string) (*T, error) {
	text := tx.Get(key)
	if text == nil {
		return nil, nil
	}
	v := new(T)
	if err := json.Unmarshal(text, v); err != nil {
		return nil, fmt.Errorf("%s: %w", key, err)
	}
	return v, nil
}

func put(tx Tx, key string, v any) error {
	text, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return tx.Put(key, text)
}

// message is a record that waits in the outbox.
type message struct {
	Topic   string
	Key     []byte
	Value   []byte
	Headers []kgo.RecordHeader
}

// post puts messages into the outbox of a partition, within the change that gives rise to them: either both are there or
// neither.
func post(tx Tx, tp topicPartition, messages ...message) error {
	if len(messages) == 0 {
		return nil
	}
	counter := tp.key("posted")
	var n uint64
	if text := tx.Get(counter); len(text) == 8 {
		n = binary.BigEndian.Uint64(text)
	}
	for _, m := range messages {
		if err := put(tx, fmt.Sprintf("%s%020d", tp.key("outbox"), n), m); err != nil {
			return err
		}
		n++
	}
	return tx.Put(counter, binary.BigEndian.AppendUint64(nil, n))
}

// relay produces what waits in the partition's outbox, in order, and removes it when it is acknowledged. A crash in
// between repeats it: byte for byte, so that readers recognise it by its id.
func (p *partition) relay(ctx context.Context) error {
	p.unsent = true // until it is known better
	var keys []string
	var records []*kgo.Record
	err := p.s.outside.Store.View(func(tx Tx) error {
		keys, records = nil, nil
		return tx.Scan(p.key("outbox"), func(key string, value []byte) error {
			var m message
			if err := json.Unmarshal(value, &m); err != nil {
				return fmt.Errorf("%s: %w", key, err)
			}
			keys = append(keys, key)
			records = append(records, &kgo.Record{Topic: m.Topic, Key: m.Key, Value: m.Value, Headers: m.Headers})
			return nil
		})
	})
	if err != nil || len(keys) == 0 {
		p.unsent = err != nil
		return err
	}
	sent, problem := produceEach(ctx, p.client, records)
	err = p.s.outside.Store.Update(func(tx Tx) error {
		for i, key := range keys {
			if !sent[i] { // with the next attempt, and without those that have been sent
				continue
			}
			if err := tx.Delete(key); err != nil {
				return err
			}
		}
		return nil
	})
	p.unsent = problem != nil || err != nil
	return errors.Join(problem, err)
}
