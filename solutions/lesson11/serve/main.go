// Serve is lesson 11 as a running service: go tool kata serve 11.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/kafka-katas/kafka-katas/internal/service"
	"github.com/kafka-katas/kafka-katas/solutions/lesson11"
)

const users = 100

func main() {
	service.Main("lesson11", lesson11.DefaultConfig(), func(cfg lesson11.Config, s *service.Stage) (service.Service, error) {
		t := cfg.Topics
		s.Topics(6, t.Triggers)
		s.Topics(3, t.Receipts, t.DeadLetters)
		s.CompactedTopics(3, t.Preferences, t.Log, t.Status)
		channels := map[string]lesson11.Channel{}
		for _, name := range []string{lesson11.Email, lesson11.SMS, lesson11.Push} {
			s.Topics(6, t.Task(name, true), t.Task(name, false))
			channels[name] = provider(name)
		}
		for i := range users {
			s.Produce(preferences(t.Preferences, i))
		}
		s.Traffic(t.Triggers, trigger)
		s.Records("/dead-letters", t.DeadLetters)
		return lesson11.New(cfg, lesson11.Parts{Channels: channels, Templates: map[string]map[string]string{
			"shipped": {lesson11.Email: "Dear {{.User}}, {{.Data.order}} is on its way.", lesson11.SMS: "{{.Data.order}} shipped", lesson11.Push: "{{.Data.order}} shipped"},
			"code":    {lesson11.Email: "Your code is {{.Data.code}}.", lesson11.SMS: "code {{.Data.code}}", lesson11.Push: "{{.Data.code}}"},
		}}, s.Opts()...)
	})
}

// provider is moody: now and then it is slow, busy, down, or does not know an address.
type provider string

func (p provider) Send(ctx context.Context, m lesson11.Message) error {
	select {
	case <-time.After(time.Duration(20+rand.IntN(80)) * time.Millisecond):
	case <-ctx.Done():
		return ctx.Err()
	}
	switch rand.IntN(100) {
	case 0:
		return &lesson11.Throttled{After: 2 * time.Second}
	case 1:
		return &lesson11.Refused{Reason: "no such address"}
	case 2, 3:
		return errors.New("503 service unavailable")
	}
	slog.Debug("sent", "channel", string(p), "key", m.Key)
	return nil
}

// preferences are a user's: some have no number, and some want nothing by push.
func preferences(topic string, i int) *kgo.Record {
	wanted := i%5 != 0
	p := lesson11.Preferences{Zone: "Europe/Berlin", Channels: map[string]lesson11.Contact{
		lesson11.Email: {Address: fmt.Sprintf("user%d@example.org", i)},
		lesson11.Push:  {Address: fmt.Sprintf("device-%d", i), Enabled: &wanted},
	}}
	if yes := true; i%3 == 0 {
		p.Channels[lesson11.SMS] = lesson11.Contact{Address: fmt.Sprintf("+49 30 %06d", i), Enabled: &yes}
	}
	return record(topic, fmt.Sprintf("user%d", i), p)
}

// trigger is one of the traffic. A bad one cannot be read, concerns nobody, or has no text.
func trigger(r *rand.Rand, bad bool) *kgo.Record {
	t := lesson11.Trigger{Event: fmt.Sprintf("e-%016x", r.Uint64()), Template: "shipped", User: fmt.Sprintf("user%d", r.IntN(users)),
		Data: map[string]string{"order": fmt.Sprintf("order %d", r.IntN(10_000))}}
	if r.IntN(5) == 0 {
		t.Template, t.Critical, t.Fallback, t.Data = "code", true, true, map[string]string{"code": fmt.Sprintf("%06d", r.IntN(1_000_000))}
	}
	switch kind := r.IntN(3); {
	case !bad:
	case kind == 0:
		return &kgo.Record{Key: []byte(t.Event), Value: []byte("{not a trigger")}
	case kind == 1:
		t.User = "nobody"
	default:
		t.Data = nil
	}
	return record("", t.Event, t)
}

func record(topic, key string, value any) *kgo.Record {
	data, _ := json.Marshal(value) // strings, booleans and times
	return &kgo.Record{Topic: topic, Key: []byte(key), Value: data}
}
