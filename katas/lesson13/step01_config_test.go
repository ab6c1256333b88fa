package lesson13

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/kafka-katas/kafka-katas/harness"
)

// The defaults are configurations that work.
func TestStep01_TheDefaultsAreValid(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		w.Claim(configured("whoever changes one thing expects the rest to work", func() error {
			return errors.Join(DefaultConfig().Requester.Validate(), DefaultConfig().Responder.Validate())
		}))
	})
}

// visible shows names that are empty or blank.
var visible = strings.NewReplacer(":  ", `:" " `, ": ", `:"" `)

// Whoever corrects a configuration wants to hear of everything that is wrong with it at once, by name.
func TestStep01_AConfigurationSaysEverythingThatIsWrongWithIt(t *testing.T) {
	for _, bad := range []struct {
		fields string
		change func(*RequesterConfig, *ResponderConfig)
	}{
		{"topic", func(q *RequesterConfig, _ *ResponderConfig) { q.Topic = "" }},
		{"reply_topic", func(q *RequesterConfig, _ *ResponderConfig) { q.ReplyTopic = " " }},
		{"reply_topic", func(q *RequesterConfig, _ *ResponderConfig) { q.ReplyTopic = q.Topic }},
		{"reply_partition", func(q *RequesterConfig, _ *ResponderConfig) { q.ReplyPartition = -1 }},
		{"timeout", func(q *RequesterConfig, _ *ResponderConfig) { q.Timeout = 0 }},
		{"max_in_flight", func(q *RequesterConfig, _ *ResponderConfig) { q.MaxInFlight = 0 }},
		{"when_full", func(q *RequesterConfig, _ *ResponderConfig) { q.WhenFull = 17 }},
		{"stream_buffer", func(q *RequesterConfig, _ *ResponderConfig) { q.StreamBuffer = 0 }},
		{"topic timeout max_in_flight", func(q *RequesterConfig, _ *ResponderConfig) { q.Topic, q.Timeout, q.MaxInFlight = "", -1, -1 }},
		{"name", func(_ *RequesterConfig, s *ResponderConfig) { s.Name = "" }},
		{"group", func(_ *RequesterConfig, s *ResponderConfig) { s.Group = "" }},
		{"topics", func(_ *RequesterConfig, s *ResponderConfig) { s.Topics = nil }},
		{"topics", func(_ *RequesterConfig, s *ResponderConfig) { s.Topics = []string{"a", ""} }},
		{"reply_topics", func(_ *RequesterConfig, s *ResponderConfig) { s.ReplyTopics = nil }},
		{"reply_topics", func(_ *RequesterConfig, s *ResponderConfig) { s.ReplyTopics = s.Topics }},
		{"dead_letter_topic", func(_ *RequesterConfig, s *ResponderConfig) { s.DeadLetterTopic = "" }},
		{"dead_letter_topic", func(_ *RequesterConfig, s *ResponderConfig) { s.DeadLetterTopic = s.Topics[0] }},
		{"stored_replies", func(_ *RequesterConfig, s *ResponderConfig) { s.StoredReplies = 0 }},
		{"commit_interval", func(_ *RequesterConfig, s *ResponderConfig) { s.CommitInterval = 0 }},
		{"retry_after", func(_ *RequesterConfig, s *ResponderConfig) { s.RetryAfter = 0 }},
		{"drain_timeout", func(_ *RequesterConfig, s *ResponderConfig) { s.DrainTimeout = -1 }},
		{"stall_after", func(_ *RequesterConfig, s *ResponderConfig) { s.StallAfter = 0 }},
		{"name group stored_replies", func(_ *RequesterConfig, s *ResponderConfig) { s.Name, s.Group, s.StoredReplies = "", "", -5 }},
	} {
		harness.Run(t, func(w *harness.World) {
			cfg := DefaultConfig()
			bad.change(&cfg.Requester, &cfg.Responder)
			w.Claim(configured("a service that starts with it fails later, and elsewhere", func() error {
				err := errors.Join(cfg.Requester.Validate(), cfg.Responder.Validate())
				if err == nil {
					return fmt.Errorf("Validate finds nothing wrong, although %s should be refused: %s", bad.fields, visible.Replace(fmt.Sprintf("%+v", cfg)))
				}
				if unwritten(err) {
					return err
				}
				for _, field := range strings.Fields(bad.fields) {
					if !strings.Contains(err.Error(), field) {
						return fmt.Errorf("Validate does not name %s; it says: %w", field, err)
					}
				}
				_, asks := NewRequester(cfg.Requester)
				_, answers := NewResponder(cfg.Responder, nil, journalled(nil, quote))
				if asks == nil && answers == nil {
					return fmt.Errorf("a configuration that Validate refuses for its %s is taken by its constructor", bad.fields)
				}
				return nil
			}))
		})
	}
}

// A limit is allowed itself, and whoever asks for nothing to be called back need not name where.
func TestStep01_TheLimitsThemselvesAreAllowed(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		cfg := DefaultConfig()
		q, s := &cfg.Requester, &cfg.Responder
		q.ReplyPartition, q.CallbackTopic, q.Timeout, q.MaxInFlight, q.WhenFull, q.StreamBuffer = 0, "", 1, 1, FullWaits, 1
		s.StoredReplies, s.CommitInterval, s.RetryAfter, s.DrainTimeout, s.StallAfter = 1, 1, 1, 1, 1

		w.Claim(configured("people configure the limits themselves", func() error { return errors.Join(q.Validate(), s.Validate()) }))
	})
}

// What cannot work is refused while somebody looks, not at the first request.
func TestStep01_AResponderWithoutAHandlerIsRefused(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		w.Claim(configured("every request would panic, and the logs would blame the requests", func() error {
			_, err := NewResponder(DefaultResponderConfig(), nil, nil)
			if unwritten(err) {
				return err
			}
			if err == nil {
				return errors.New("NewResponder takes a nil handler")
			}
			return nil
		}))
	})
}

// configured claims that a configuration is judged rightly; why is why it matters.
//
//go:noinline
func configured(why string, check func() error) harness.Claim {
	return func(*harness.World) error {
		if err := check(); err != nil {
			return harness.Broke[harness.Misreported](why, "%v", err)
		}
		return nil
	}
}
