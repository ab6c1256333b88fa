// Serve is lesson 07 as a running service: go tool kata serve 07.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/kafka-katas/kafka-katas/internal/service"
	"github.com/kafka-katas/kafka-katas/solutions/lesson07"
)

func main() {
	service.Main("lesson07", lesson07.DefaultConfig(), func(cfg lesson07.Config, s *service.Stage) (service.Service, error) {
		s.Topics(6, cfg.Topics...)
		s.Traffic(cfg.Topics[0], order)
		s.Note("curl -s %s/stats | grep -A9 '\"errors\"'   bad orders fail, and hold their partition up")
		v := validation{attempts: map[place]int{}}
		return lesson07.New(cfg, v.validate, s.Opts()...)
	})
}

// An Order is what the shop's customers send.
type Order struct {
	ID    string `json:"id"`
	Item  string `json:"item"`
	Count int    `json:"count"`
}

// order is one of the traffic. A bad one has no count, or is no order at all.
func order(r *rand.Rand, bad bool) *kgo.Record {
	o := Order{ID: fmt.Sprintf("order-%04d", r.IntN(10_000)), Item: []string{"lamp", "chair", "table"}[r.IntN(3)], Count: 1 + r.IntN(5)}
	half := r.IntN(2) == 0
	if bad && half {
		return &kgo.Record{Key: []byte(o.ID), Value: []byte("{not an order")}
	}
	if bad {
		o.Count = 0
	}
	value, _ := json.Marshal(o) // strings and a number
	return &kgo.Record{Key: []byte(o.ID), Value: value}
}

// attempts is how often a bad order is looked at before the partition goes on without it. The lesson's consumer would
// try for ever; lesson 08 has a place for such orders.
const attempts = 3

type place struct {
	topic     string
	partition int32
	offset    int64
}

// validation is a handler that fails for bad orders.
type validation struct {
	mu       sync.Mutex
	attempts map[place]int
}

func (v *validation) validate(ctx context.Context, r *kgo.Record) error {
	select {
	case <-time.After(5 * time.Millisecond): // the work
	case <-ctx.Done():
		return ctx.Err()
	}
	err := check(r.Value)
	if err == nil {
		return nil
	}
	at := place{r.Topic, r.Partition, r.Offset}
	v.mu.Lock()
	v.attempts[at]++
	n := v.attempts[at]
	if n >= attempts {
		delete(v.attempts, at)
	}
	v.mu.Unlock()
	if n < attempts {
		return err
	}
	slog.Warn("going on without a bad order", "topic", r.Topic, "partition", r.Partition, "offset", r.Offset, "error", err)
	return nil
}

func check(value []byte) error {
	var o Order
	if err := json.Unmarshal(value, &o); err != nil {
		return fmt.Errorf("no order: %w", err)
	}
	if o.Count < 1 {
		return errors.New("an order of nothing")
	}
	return nil
}
