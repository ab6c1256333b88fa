package service

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/twmb/franz-go/pkg/kgo"
)

// most is how many records a page shows.
const most = 50

// record is a record as a page shows it.
type record struct {
	Topic     string            `json:"topic"`
	Partition int32             `json:"partition"`
	Offset    int64             `json:"offset"`
	At        time.Time         `json:"at"`
	Key       string            `json:"key"`
	Value     string            `json:"value"`
	Headers   map[string]string `json:"headers"`
}

// Records makes a page, at GET path, of the latest records of some topics: what the service puts there can be seen.
func (s *Stage) Records(path string, topics ...string) {
	p := &page{}
	s.Handle("GET "+path, p)
	s.Note("curl %s" + path + "   the latest records of " + strings.Join(topics, ", "))
	s.Also(path, func(ctx context.Context) error {
		client, err := kgo.NewClient(s.Opts(kgo.ClientID("page"), kgo.ConsumeTopics(topics...), kgo.FetchIsolationLevel(kgo.ReadCommitted()),
			kgo.ConsumeStartOffset(kgo.NewOffset().AtEnd().Relative(-most)))...)
		if err != nil {
			return err
		}
		defer client.Close()
		complaint := &complaint{what: "the page " + path + " cannot read"}
		for {
			fetches := client.PollFetches(ctx)
			if ctx.Err() != nil {
				return nil
			}
			complaint.about(fetches.Err())
			p.add(fetches.Records())
		}
	})
}

type page struct {
	mu     sync.Mutex
	latest []record
}

func (p *page) add(records []*kgo.Record) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, r := range records {
		shown := record{Topic: r.Topic, Partition: r.Partition, Offset: r.Offset, At: r.Timestamp.UTC(), Key: readable(r.Key), Value: readable(r.Value), Headers: map[string]string{}}
		for _, h := range r.Headers {
			shown.Headers[h.Key] = readable(h.Value)
		}
		p.latest = append(p.latest, shown)
	}
	p.latest = p.latest[max(0, len(p.latest)-most):]
}

// readable is b as text, or its bytes in hexadecimal.
func readable(b []byte) string {
	if utf8.Valid(b) {
		return string(b)
	}
	return fmt.Sprintf("%x", b)
}

func (p *page) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	p.mu.Lock()
	latest := append([]record{}, p.latest...)
	p.mu.Unlock()
	Reply(w, http.StatusOK, latest)
}

// Reply answers in JSON.
func Reply(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(v); err != nil {
		slog.Warn("an answer was cut off", "error", err)
	}
}
