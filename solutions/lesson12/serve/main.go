// Serve is lesson 12 as a running service: go tool kata serve 12.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"path/filepath"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/kafka-katas/kafka-katas/internal/service"
	"github.com/kafka-katas/kafka-katas/solutions/lesson12"
)

func main() {
	service.Main("lesson12", lesson12.DefaultConfig(), func(cfg lesson12.Config, s *service.Stage) (service.Service, error) {
		s.Topics(6, cfg.Commands.Topic, cfg.Calls.Topic, cfg.Webhooks.Topic, cfg.Workflow.Topic)
		s.Topics(3, cfg.Commands.Events, cfg.Calls.DeadLetters, cfg.Workflow.Tasks, cfg.Workflow.Outcomes)

		// The database is a new one at each start. A real one stays.
		store, err := lesson12.OpenStore(filepath.Join(s.Dir(), "shop.db"))
		if err != nil {
			return nil, err
		}
		s.Also("the store", func(ctx context.Context) error {
			<-ctx.Done()
			return store.Close()
		})
		shop, err := lesson12.New(cfg, lesson12.Outside{Store: store}, s.Opts()...)
		if err != nil {
			return nil, err
		}
		if cfg.Commands.Topic != "" {
			commands(cfg, s, shop)
		}
		if cfg.Workflow.Topic != "" {
			orders(cfg, s)
		}
		webhooks(cfg, s, shop)
		return shop, nil
	})
}

func commands(cfg lesson12.Config, s *service.Stage, shop *lesson12.Service) {
	s.Traffic(cfg.Commands.Topic, command)
	api := shop.API()
	s.Handle("/commands", api)
	s.Handle("/commands/", api)
	s.Handle("/openapi.yaml", api)
	s.Note(`curl -i %s/commands -d '{"type": "restock", "sku": "lamp", "quantity": 5}'   202, and in Location what came of it`)
	s.Records("/events", cfg.Commands.Events)
}

// command is one of the traffic. A bad one cannot be read, is invalid, or asks for more than there can be.
func command(r *rand.Rand, bad bool) *kgo.Record {
	c := lesson12.Command{ID: fmt.Sprintf("c-%016x", r.Uint64()), Type: []string{"restock", "reserve", "release"}[r.IntN(3)],
		SKU: []string{"lamp", "chair", "table"}[r.IntN(3)], Quantity: 1 + r.Int64N(5)}
	switch kind := r.IntN(4); {
	case !bad:
	case kind == 0:
		return &kgo.Record{Key: []byte(c.SKU), Value: []byte("{not a command")}
	case kind == 1:
		c.Type, c.Quantity = "juggle", -1
	case kind == 2:
		c.Type, c.Quantity = "reserve", 1_000_000
	default:
		c.ID = "c-always-the-same"
	}
	value, _ := json.Marshal(c) // strings and numbers
	return &kgo.Record{Key: []byte(c.SKU), Value: value}
}

// orders places orders, and does their steps as the shop's other services would.
func orders(cfg lesson12.Config, s *service.Stage) {
	s.Traffic(cfg.Workflow.Topic, func(r *rand.Rand, bad bool) *kgo.Record {
		details := `{"fails": ""}`
		if bad {
			step := cfg.Workflow.Steps[r.IntN(len(cfg.Workflow.Steps))].Name
			details = fmt.Sprintf(`{"fails": %q, "silent": %t}`, step, r.IntN(2) == 0)
		}
		return order(lesson12.OrderMessage{Type: "placed", Order: fmt.Sprintf("o-%016x", r.Uint64()), Details: json.RawMessage(details)})
	})
	s.Records("/outcomes", cfg.Workflow.Outcomes)
	s.Also("the steps' services", func(ctx context.Context) error {
		client, err := kgo.NewClient(s.Opts(kgo.ClientID("steps"), kgo.ConsumerGroup(cfg.Group+"-steps"), kgo.ConsumeTopics(cfg.Workflow.Tasks),
			kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))...)
		if err != nil {
			return err
		}
		defer client.Close()
		for {
			fetches := client.PollFetches(ctx)
			if ctx.Err() != nil {
				return nil
			}
			fetches.EachRecord(func(r *kgo.Record) {
				if reply := do(r); reply != nil {
					reply.Topic = cfg.Workflow.Topic
					s.Send(reply)
				}
			})
		}
	})
}

// do does a step. The one that the order says fails, or is never answered: then it is known after cfg.StepTimeout.
func do(r *kgo.Record) *kgo.Record {
	var task lesson12.Task
	var details struct {
		Fails  string `json:"fails"`
		Silent bool   `json:"silent"`
	}
	if err := json.Unmarshal(r.Value, &task); err != nil {
		slog.Warn("no task", "partition", r.Partition, "offset", r.Offset)
		return nil
	}
	_ = json.Unmarshal(task.Details, &details) // somebody else's order has other ones
	reply := lesson12.OrderMessage{Type: "reply", Order: task.Order, Task: task.Task, Attempt: task.Attempt, Status: "done"}
	switch {
	case task.Step != details.Fails:
	case details.Silent:
		return nil
	default:
		reply.Status, reply.Reason = "failed", "not today"
	}
	return order(reply)
}

func order(m lesson12.OrderMessage) *kgo.Record {
	value, _ := json.Marshal(m) // strings, a number, and JSON that was decoded or written above
	return &kgo.Record{Key: []byte(m.Order), Value: value}
}

// webhooks is a partner that is told of events, and lets one in ten fail.
func webhooks(cfg lesson12.Config, s *service.Stage, shop *lesson12.Service) {
	n := make(chan int, 1)
	n <- 0
	s.Handle("POST /partner", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 1<<20))
		if err != nil {
			return // the sender has gone
		}
		genuine := false
		for _, e := range cfg.Webhooks.Endpoints {
			genuine = genuine || lesson12.Verify(e.Secret, r.Header, body, time.Now(), 5*time.Minute) == nil
		}
		i := <-n + 1
		n <- i
		switch {
		case !genuine:
			w.WriteHeader(http.StatusUnauthorized)
		case i%10 == 0:
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	s.Handle("GET /endpoints", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		endpoints, err := shop.Endpoints()
		if err != nil {
			service.Reply(w, http.StatusServiceUnavailable, map[string]string{"error": err.Error()})
			return
		}
		service.Reply(w, http.StatusOK, endpoints)
	}))
	if cfg.Webhooks.Topic != "" {
		s.Note("curl %s/endpoints   how the partners stand")
		return
	}
	s.Note("LESSON12_WEBHOOKS_TOPIC=" + cfg.Commands.Events + " LESSON12_WEBHOOKS_ENDPOINTS='partner %s/partner secret' LESSON12_OUTBOUND_ALLOW=127.0.0.0/8   for webhooks")
}
