// Serve is lesson 13 as a running service: go tool kata serve 13.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/kafka-katas/kafka-katas/internal/service"
	"github.com/kafka-katas/kafka-katas/ops/opshttp"
	"github.com/kafka-katas/kafka-katas/solutions/lesson13"
)

func main() {
	service.Main("lesson13", lesson13.DefaultConfig(), func(cfg lesson13.Config, s *service.Stage) (service.Service, error) {
		s.Topics(6, slices.Concat(cfg.Responder.Topics, []string{cfg.Requester.Topic})...)
		s.Topics(max(3, cfg.Requester.ReplyPartition+1), slices.Concat(cfg.Responder.ReplyTopics, []string{cfg.Requester.ReplyTopic})...)
		s.Topics(3, cfg.Responder.DeadLetterTopic, cfg.Requester.CallbackTopic)

		requester, err := lesson13.NewRequester(cfg.Requester, s.Opts()...)
		if err != nil {
			return nil, err
		}
		s.Also("the requester", requester.Run)
		s.Steadily("prices asked for", func(r *rand.Rand, bad bool) func(context.Context) { return ask(requester, r, bad) })
		s.Handle("/requester/", http.StripPrefix("/requester", opshttp.Handler(requester)))
		s.Note("curl %s/requester/stats   the other side: who asks, and what came of it (extra)")
		s.Handle("GET /price/{article}", page(requester))
		s.Note("curl %s/price/lamp        ask yourself; there is also a chair, a table, and nothing else")
		s.Records("/dead-letters", cfg.Responder.DeadLetterTopic)
		return lesson13.NewResponder(cfg.Responder, nil, price, s.Opts()...)
	})
}

var prices = map[string]int{"lamp": 3900, "chair": 8500, "table": 24900}

// A Price is the answer.
type Price struct {
	Article string `json:"article"`
	Cents   int    `json:"cents"`
}

// price is the responder's work.
func price(ctx context.Context, request *kgo.Record) ([][]byte, error) {
	article := string(request.Value)
	work := 5 * time.Millisecond
	if article == "slow" {
		work = 300 * time.Millisecond
	}
	select {
	case <-time.After(work):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	cents, ok := prices[article]
	if !ok {
		return nil, &lesson13.RemoteError{Code: "unknown_article", Message: "there is no such article"}
	}
	value, err := json.Marshal(Price{article, cents})
	return [][]byte{value}, err
}

// ask asks for one price. A bad request is for what does not exist, or for what takes longer than it may.
func ask(q *lesson13.Requester, r *rand.Rand, bad bool) func(context.Context) {
	article, timeout := []string{"lamp", "chair", "table"}[r.IntN(3)], time.Duration(0)
	if kind := r.IntN(2); bad && kind == 0 {
		article = "unicorn"
	} else if bad {
		article, timeout = "slow", 200*time.Millisecond
	}
	key := fmt.Appendf(nil, "customer-%d", r.IntN(1000))
	return func(ctx context.Context) {
		// What comes of it is in the requester's statistics.
		if _, err := q.Ask(ctx, lesson13.Request{Key: key, Value: []byte(article), Timeout: timeout}); err != nil && ctx.Err() == nil {
			slog.Debug("no price", "article", article, "error", err)
		}
	}
}

func page(q *lesson13.Requester) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		article := r.PathValue("article")
		price, err := lesson13.AskJSON[Price](r.Context(), q, lesson13.Request{Key: []byte(article), Value: []byte(article), Timeout: 5 * time.Second})
		if err != nil {
			service.Reply(w, http.StatusBadGateway, map[string]string{"error": err.Error()})
			return
		}
		service.Reply(w, http.StatusOK, price)
	})
}
