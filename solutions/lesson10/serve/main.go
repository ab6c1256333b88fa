// Serve is lesson 10 as a running service: go tool kata serve 10.
package main

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/kafka-katas/kafka-katas/internal/service"
	"github.com/kafka-katas/kafka-katas/solutions/lesson10"
)

func main() {
	service.Main("lesson10", lesson10.DefaultConfig(), func(cfg lesson10.Config, s *service.Stage) (service.Service, error) {
		rules := lesson10.ShopRules()
		out := []string{rules.Default}
		for _, route := range rules.Routes {
			out = append(out, route.Topic)
		}
		aside := []string{cfg.Audit, cfg.DeadLetters, cfg.Parked, cfg.Quarantine}
		s.Topics(6, cfg.Source)
		s.Topics(3, slices.Concat(out, aside)...)
		s.CompactedTopics(3, cfg.Reference)
		s.Traffic(cfg.Source, event)
		if cfg.Reference != "" {
			s.Traffic(cfg.Reference, segment)
		}

		s.Records("/events", out...)
		s.Records("/aside", aside...)
		s.Handle("GET /customers/{id}", http.HandlerFunc(risk))
		s.Note("LESSON10_REFERENCE=segments           to join a reference table, which changes all the time")
		s.Note("LESSON10_SERVICE=%s   to ask a service about each customer (/customers/...)")
		return lesson10.New(cfg, rules, nil, s.Opts()...)
	})
}

const customers = 40

// event is one of the traffic, as untidy as real ones. A bad one cannot be decoded, or is not the shop's business.
func event(r *rand.Rand, bad bool) *kgo.Record {
	customer := fmt.Sprintf("c-%d", r.IntN(customers))
	id, email := fmt.Sprintf("e-%08x", r.Uint32()), customer+"@example.com"
	kind := []string{"order.placed", "Order.Placed ", "login", "newsletter.read"}[r.IntN(4)]
	amount := fmt.Sprintf("%d.%02d", r.IntN(200), r.IntN(100))
	switch what := r.IntN(5); {
	case !bad:
	case what == 0:
		return &kgo.Record{Key: []byte(customer), Value: []byte("{not an event")}
	case what == 1:
		amount = "12.345" // EUR has two digits
	case what == 2:
		id = "test-" + id
	case what == 3:
		email = "Somebody@SHOP.example"
	default:
		return &kgo.Record{Key: []byte(customer)} // a tombstone: this customer is to be forgotten
	}
	value := fmt.Sprintf(`{"id": %q, "type": %q, "customer": " %s", "email": %q, "amount": %q, "currency": "EUR", "at": "2026-07-01T12:00:00", "zone": "Europe/Vienna"}`,
		id, kind, strings.ToUpper(customer), email, amount)
	return &kgo.Record{Key: []byte(customer), Value: []byte(value), Headers: []kgo.RecordHeader{{Key: "trace", Value: []byte(id)}}}
}

// segment is a row of the reference table; a bad one takes the customer out of it.
func segment(r *rand.Rand, bad bool) *kgo.Record {
	row := &kgo.Record{Key: fmt.Appendf(nil, "c-%d", r.IntN(customers)), Value: []byte([]string{"gold", "business", "private"}[r.IntN(3)])}
	if bad {
		row.Value = nil
	}
	return row
}

// risk is the enrichment service. It knows most customers.
func risk(w http.ResponseWriter, r *http.Request) {
	id := r.PathValue("id")
	if strings.HasSuffix(id, "7") {
		http.NotFound(w, r)
		return
	}
	_, _ = fmt.Fprint(w, []string{"low", "high"}[len(id)%2])
}
