package shapes

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/kafka-katas/kafka-katas/harness"
	"github.com/kafka-katas/kafka-katas/harness/httpfake"
)

// mapper writes what becomes of each event, in the order in which they came in, whatever the lookups take.
type mapper struct {
	client  *kgo.Client
	to      string
	become  func(context.Context, *kgo.Record) (*kgo.Record, error)
	handle  func(context.Context, *kgo.Record) error // becomes, as the story sees it
	mistake string

	mu      sync.Mutex
	results map[*kgo.Record]*kgo.Record
}

func (m *mapper) Run(ctx context.Context) error {
	defer m.client.CloseAllowingRebalance()
	for {
		records := m.client.PollRecords(ctx, 100).Records()
		if ctx.Err() != nil {
			return nil
		}
		ready := make([]chan error, len(records))
		for i, r := range records {
			ready[i] = make(chan error, 1)
			go func() {
				err := m.handle(ctx, r)
				if m.mistake == "as they come" && err == nil {
					err = m.client.ProduceSync(ctx, m.result(r)).FirstErr()
				}
				ready[i] <- err
			}()
		}
		for i, r := range records {
			if err := <-ready[i]; err != nil {
				break
			}
			if m.mistake != "as they come" {
				if err := m.client.ProduceSync(ctx, m.result(r)).FirstErr(); err != nil {
					break
				}
			}
			if err := m.client.CommitRecords(ctx, r); err != nil {
				break
			}
		}
		m.client.AllowRebalance()
	}
}

func (m *mapper) result(r *kgo.Record) *kgo.Record {
	m.mu.Lock()
	defer m.mu.Unlock()
	defer delete(m.results, r)
	return m.results[r]
}

func (m *mapper) note(ctx context.Context, r *kgo.Record) error {
	out, err := m.become(ctx, r)
	if err != nil {
		return err
	}
	out.Topic, out.Key, out.Headers, out.Timestamp = m.to, r.Key, slices.Concat(r.Headers, out.Headers), r.Timestamp
	m.mu.Lock()
	defer m.mu.Unlock()
	m.results[r] = out
	return nil
}

// startMapper starts a member of a group that maps one topic to another.
func startMapper(w *harness.World, name string, g *harness.Group, from, to *harness.Topic, mistake string,
	become func(p *harness.Process) func(context.Context, *kgo.Record) (*kgo.Record, error),
) *harness.Process {
	return w.Start(name, func(p *harness.Process) (harness.Runner, error) {
		m := &mapper{to: to.Name, become: become(p), results: map[*kgo.Record]*kgo.Record{}, mistake: mistake}
		m.handle = p.Handler(m.note)
		var err error
		m.client, err = kgo.NewClient(append(p.Options(), kgo.ConsumerGroup(g.Name), kgo.ConsumeTopics(from.Name), kgo.DisableAutoCommit(),
			kgo.BlockRebalanceOnPoll(), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.ProducerLinger(0))...)
		return m, err
	})
}

// normalises is f with f(f(x)) = f(x), and with nothing in it but x.
func normalises(mistake string) func(*harness.Process) func(context.Context, *kgo.Record) (*kgo.Record, error) {
	return func(*harness.Process) func(context.Context, *kgo.Record) (*kgo.Record, error) {
		return func(_ context.Context, r *kgo.Record) (*kgo.Record, error) {
			at := r.Timestamp
			if mistake == "stamps now" {
				at = time.Now()
			}
			return &kgo.Record{
				Value:   []byte(strings.ToLower(strings.TrimSpace(string(r.Value)))),
				Headers: []kgo.RecordHeader{{Key: "normalised", Value: []byte(at.UTC().Format(time.RFC3339Nano))}},
			}, nil
		}
	}
}

// enriches adds the customer's segment, which another service knows.
func enriches(profiles *httpfake.Partner, mistake string) func(*harness.Process) func(context.Context, *kgo.Record) (*kgo.Record, error) {
	return func(p *harness.Process) func(context.Context, *kgo.Record) (*kgo.Record, error) {
		l := &lookups{
			client: httpfake.Client(p), url: profiles.URL, known: map[string]string{}, flights: map[string]chan struct{}{},
			places: make(chan struct{}, 2), alone: mistake == "stampede",
		}
		return func(ctx context.Context, r *kgo.Record) (*kgo.Record, error) {
			customer, _, _ := strings.Cut(string(r.Value), " ")
			segment, err := l.segment(ctx, customer)
			return &kgo.Record{Value: fmt.Appendf(nil, "%s (%s)", r.Value, segment)}, err
		}
	}
}

// lookups asks for a customer's segment: one question at a time for each, at most two at once.
type lookups struct {
	client *http.Client
	url    string
	alone  bool // the mistake: everybody asks for himself
	places chan struct{}

	mu      sync.Mutex
	known   map[string]string
	flights map[string]chan struct{}
}

// patience is how long one lookup may take.
const patience = 2 * time.Second

func (l *lookups) segment(ctx context.Context, id string) (string, error) {
	for ctx.Err() == nil {
		l.mu.Lock()
		segment, known := l.known[id]
		flight := l.flights[id]
		switch {
		case known && !l.alone:
			l.mu.Unlock()
			return segment, nil
		case flight != nil && !l.alone:
			l.mu.Unlock()
			select {
			case <-flight:
			case <-ctx.Done():
			}
			continue
		}
		flight = make(chan struct{})
		l.flights[id] = flight
		l.mu.Unlock()
		segment, err := l.ask(ctx, id)
		l.mu.Lock()
		if err == nil { // an error is not remembered
			l.known[id] = segment
		}
		delete(l.flights, id)
		l.mu.Unlock()
		close(flight)
		if err == nil {
			return segment, nil
		}
	}
	return "", ctx.Err()
}

func (l *lookups) ask(ctx context.Context, id string) (string, error) {
	if !l.alone {
		l.places <- struct{}{}
		defer func() { <-l.places }()
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, l.url+"/customers/"+id, nil)
	if err != nil {
		return "", err
	}
	resp, err := l.client.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("customer %s: %s", id, resp.Status)
	}
	return string(body), err
}

// event is something that a customer or a household did, when it did.
func event(customer, what string) *kgo.Record {
	return &kgo.Record{
		Key: []byte(customer), Value: []byte(what), Timestamp: time.Date(1999, 12, 31, 23, 59, 59, 0, time.UTC),
		Headers: []kgo.RecordHeader{{Key: "trace", Value: []byte("of " + customer)}},
	}
}

// household are the events of one household, which have one key and so one order.
func household(what ...string) (events []*kgo.Record) {
	for _, w := range what {
		events = append(events, event("h-1", w))
	}
	return events
}
