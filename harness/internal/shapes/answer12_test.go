package shapes

import (
	"context"
	"crypto/rand"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/kafka-katas/kafka-katas/harness"
	"github.com/kafka-katas/kafka-katas/harness/httpfake"
)

// The mistakes that the stories must catch.
const (
	asItShould         = ""
	freshKeyPerAttempt = "a fresh idempotency key per attempt"
	timeoutIsFailure   = "a timeout is taken for a failure"
	commitsFirst       = "the commit comes first"
)

// saga reserves stock for an order, charges it and says how that ended. What it has done it knows from its partners:
// every request carries a key that is the same in each life.
type saga struct {
	client   *kgo.Client
	http     *http.Client
	handle   func(context.Context, *kgo.Record) error
	outcomes string
	mistake  string
}

func sagaOf(g *harness.Group, orders, outcomes *harness.Topic, mistake string) func(p *harness.Process) (harness.Runner, error) {
	return func(p *harness.Process) (harness.Runner, error) {
		client, err := kgo.NewClient(append(p.Options(), kgo.ConsumerGroup(g.Name), kgo.ConsumeTopics(orders.Name),
			kgo.DisableAutoCommit(), kgo.BlockRebalanceOnPoll(), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))...)
		if err != nil {
			return nil, err
		}
		s := &saga{client: client, http: httpfake.Client(p), outcomes: outcomes.Name, mistake: mistake}
		s.handle = p.Handler(s.fulfil)
		return s, nil
	}
}

func (s *saga) Run(ctx context.Context) error {
	defer s.client.CloseAllowingRebalance()
	defer s.http.CloseIdleConnections()
	for ctx.Err() == nil {
		for _, r := range s.client.PollRecords(ctx, 10).Records() {
			if s.mistake == commitsFirst && s.client.CommitRecords(ctx, r) != nil {
				return nil
			}
			for s.handle(ctx, r) != nil {
				if !waited(ctx, time.Second) {
					return nil
				}
			}
			if s.client.CommitRecords(ctx, r) != nil {
				return nil
			}
		}
		s.client.AllowRebalance()
	}
	return nil
}

// fulfil may be done any number of times.
func (s *saga) fulfil(ctx context.Context, r *kgo.Record) error {
	id := string(r.Key)
	if _, err := s.post(ctx, "http://stock:80/reservations/"+id); err != nil {
		return err
	}
	paid, err := s.post(ctx, "http://payments:80/charges/"+id)
	if err != nil && s.mistake != timeoutIsFailure {
		return err
	}
	outcome := "confirmed"
	if !paid {
		outcome = "cancelled"
		if _, err := s.post(ctx, "http://stock:80/releases/"+id); err != nil {
			return err
		}
	}
	return s.client.ProduceSync(ctx, &kgo.Record{Topic: s.outcomes, Key: r.Key, Value: []byte(outcome)}).FirstErr()
}

// post says whether the partner did what it was asked. An error means that nobody knows.
func (s *saga) post(ctx context.Context, url string) (done bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, url, strings.NewReader("{}"))
	if err != nil {
		return false, err
	}
	request.Header.Set(httpfake.KeyHeader, url)
	if s.mistake == freshKeyPerAttempt {
		request.Header.Set(httpfake.KeyHeader, rand.Text())
	}
	response, err := s.http.Do(request)
	if err != nil {
		return false, err
	}
	defer response.Body.Close()
	if response.StatusCode >= 500 || response.StatusCode == http.StatusTooManyRequests {
		return false, fmt.Errorf("%s: %s", url, response.Status)
	}
	return response.StatusCode < 300, nil
}
