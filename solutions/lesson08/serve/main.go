// Serve is lesson 08 as a running service: go tool kata serve 08.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/kafka-katas/kafka-katas/internal/service"
	"github.com/kafka-katas/kafka-katas/solutions/lesson08"
)

func main() {
	service.Main("lesson08", lesson08.DefaultConfig(), func(cfg lesson08.Config, s *service.Stage) (service.Service, error) {
		s.Topics(6, slices.Concat(cfg.Topics, cfg.RetryTopics, []string{cfg.ParkingTopic})...)
		s.Topics(3, cfg.DeadLetterTopic)
		s.Traffic(cfg.Topics[0], payment)
		s.Records("/dead-letters", cfg.DeadLetterTopic)

		p := &provider{asked: map[string]int{}}
		s.Handle("POST /provider/down", p.set(true))
		s.Handle("POST /provider/up", p.set(false))
		s.Note("curl -X POST %s/provider/down   each payment fails until /provider/up (LESSON08_BREAKER_FAILURES=3 for a breaker)")
		s.Handle("POST /redrive", redrive(cfg, s.Opts()))
		s.Note("curl -X POST '%s/redrive?arg=-class&arg=declined'   sends such dead letters back; -topic, -key, -limit, -dry-run")
		return lesson08.New(cfg, p.charge, s.Opts()...)
	})
}

// A Payment is what the shop's checkout sends.
type Payment struct {
	ID    string `json:"id"`
	Cents int    `json:"cents"`
	Card  string `json:"card"`
}

// payment is one of the traffic. A bad one is no payment at all, one without an amount, one that the provider declines,
// or one that meets the provider in a bad moment.
func payment(r *rand.Rand, bad bool) *kgo.Record {
	p := Payment{ID: fmt.Sprintf("payment-%08x", r.Uint32()), Cents: 100 + r.IntN(20_000), Card: "good"}
	kind := r.IntN(4)
	if !bad {
		kind = -1
	}
	switch kind {
	case 0:
		return &kgo.Record{Key: []byte(p.ID), Value: []byte("{not a payment")}
	case 1:
		p.Cents = 0
	case 2:
		p.Card = "declined"
	case 3:
		p.Card = "unlucky"
	}
	value, _ := json.Marshal(p) // strings and a number
	return &kgo.Record{Key: []byte(p.ID), Value: value}
}

// provider stands for somebody else's service, which is not always there.
type provider struct {
	mu    sync.Mutex
	down  bool
	asked map[string]int // how often, by unlucky payment
}

func (p *provider) charge(ctx context.Context, r *kgo.Record) error {
	var payment Payment
	if err := json.Unmarshal(r.Value, &payment); err != nil {
		return fmt.Errorf("%w: %w", lesson08.ErrUndecodable, err)
	}
	if payment.Cents <= 0 {
		return &lesson08.InvalidError{Field: "cents", Reason: "must be more than 0"}
	}
	select {
	case <-time.After(10 * time.Millisecond):
	case <-ctx.Done():
		return ctx.Err()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.down:
		return lesson08.ErrUnavailable
	case payment.Card == "unlucky" && p.asked[payment.ID] < 2:
		p.asked[payment.ID]++
		return lesson08.ErrUnavailable
	case payment.Card == "declined" && !redriven(r):
		return lesson08.ErrDeclined
	}
	delete(p.asked, payment.ID)
	return nil
}

// redriven payments are taken: whoever redrives one has spoken with the customer.
func redriven(r *kgo.Record) bool {
	return slices.ContainsFunc(r.Headers, func(h kgo.RecordHeader) bool { return h.Key == lesson08.HeaderRedrives })
}

func (p *provider) set(down bool) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		p.mu.Lock()
		p.down = down
		p.mu.Unlock()
		service.Reply(w, http.StatusOK, map[string]bool{"down": down})
	})
}

// redrive is the lesson's command, with its arguments from the address.
func redrive(cfg lesson08.Config, opts []kgo.Opt) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var said bytes.Buffer
		err := lesson08.RedriveCommand(r.Context(), cfg, r.URL.Query()["arg"], &said, opts...)
		if err != nil {
			service.Reply(w, http.StatusBadRequest, map[string]string{"error": err.Error(), "said": said.String()})
			return
		}
		service.Reply(w, http.StatusOK, map[string]string{"said": said.String()})
	})
}
