package lesson08

import (
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/kafka-katas/kafka-katas/harness"
)

// The defaults are a configuration that works, in every mode.
func TestStep01_TheDefaultsAreValid(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		w.Claim(configured("whoever changes one thing expects the rest to work", func() error {
			for _, mode := range []Mode{ModeBlocking, ModeTiers, ModeOrdered} {
				cfg := DefaultConfig()
				cfg.Mode = mode
				if err := cfg.Validate(); err != nil {
					return fmt.Errorf("DefaultConfig() in mode %v: Validate says: %w", mode, err)
				}
			}
			return nil
		}))
	})
}

// Whoever corrects a configuration wants to hear of everything that is wrong with it at once, by name.
func TestStep01_AConfigurationSaysEverythingThatIsWrongWithIt(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		for _, bad := range []struct {
			fields string
			change func(*Config)
		}{
			{"group", func(c *Config) { c.Group = "" }},
			{"topics", func(c *Config) { c.Topics = nil }},
			{"topics", func(c *Config) { c.Topics = []string{"payments", ""} }},
			{"dead_letter_topic", func(c *Config) { c.DeadLetterTopic = "" }},
			{"dead_letter_topic", func(c *Config) { c.DeadLetterTopic = c.Topics[0] }},
			{"mode", func(c *Config) { c.Mode = 17 }},
			{"retry.attempts", func(c *Config) { c.Retry.Attempts = 0 }},
			{"retry.base", func(c *Config) { c.Retry.Base = 0 }},
			{"retry.factor", func(c *Config) { c.Retry.Factor = 0.5 }},
			{"retry.factor", func(c *Config) { c.Retry.Factor = math.NaN() }},
			{"retry.cap", func(c *Config) { c.Retry.Cap = c.Retry.Base - 1 }},
			{"retry.jitter", func(c *Config) { c.Retry.Jitter = 1.1 }},
			{"retry.jitter", func(c *Config) { c.Retry.Jitter = -0.1 }},
			{"retry.retryable", func(c *Config) { c.Retry.Retryable = []string{"timeout", ""} }},
			{"retry.fatal", func(c *Config) { c.Retry.Retryable, c.Retry.Fatal = []string{"declined"}, []string{"declined"} }},
			{"retry_topics", func(c *Config) { c.Mode, c.RetryTopics, c.RetryDelays = ModeTiers, nil, nil }},
			{"retry_topics", func(c *Config) { c.Mode, c.RetryTopics[1] = ModeTiers, c.Topics[0] }},
			{"retry_delays", func(c *Config) { c.Mode, c.RetryDelays = ModeTiers, c.RetryDelays[:1] }},
			{"retry_delays", func(c *Config) { c.Mode, c.RetryDelays[1] = ModeTiers, 0 }},
			{"parking_topic", func(c *Config) { c.Mode, c.ParkingTopic = ModeOrdered, "" }},
			{"parking_topic", func(c *Config) { c.Mode, c.ParkingTopic = ModeOrdered, c.DeadLetterTopic }},
			{"topics", func(c *Config) { c.Mode, c.Topics = ModeOrdered, []string{"payments", "refunds"} }},
			{"max_age", func(c *Config) { c.MaxAge = -1 }},
			{"max_redrives", func(c *Config) { c.MaxRedrives = -1 }},
			{"breaker.failures", func(c *Config) { c.Breaker.Failures = -1 }},
			{"breaker.failures", func(c *Config) { c.Breaker.Failures = c.Retry.Attempts + 1 }},
			{"breaker.failures", func(c *Config) {
				c.Mode, c.Breaker.Failures, c.RetryTopics, c.RetryDelays = ModeTiers, 4, c.RetryTopics[:2], c.RetryDelays[:2]
			}},
			{"breaker.open_for", func(c *Config) { c.Breaker = Breaker{Failures: 1} }},
			{"session_timeout", func(c *Config) { c.SessionTimeout = 0 }},
			{"drain_timeout", func(c *Config) { c.DrainTimeout = c.RebalanceTimeout }},
			{"commit_interval", func(c *Config) { c.CommitInterval = 0 }},
			{"max_queued", func(c *Config) { c.MaxQueued = 0 }},
			{"stall_after", func(c *Config) { c.StallAfter = 0 }},
			{"alert.resolve_below", func(c *Config) { c.Alert.ResolveBelow = c.Alert.Threshold + 1 }},
			{"group retry.factor max_queued", func(c *Config) { c.Group, c.Retry.Factor, c.MaxQueued = "", 0, -1 }},
		} {
			cfg := DefaultConfig()
			bad.change(&cfg)
			w.Claim(configured("a service that starts with it fails later, and elsewhere", func() error { return refusedFor(cfg, strings.Fields(bad.fields)) }))
		}
	})
}

// refusedFor says unless Validate and New refuse a configuration and name these fields.
func refusedFor(cfg Config, fields []string) error {
	err := cfg.Validate()
	if err == nil {
		return fmt.Errorf("Validate finds nothing wrong, although %s should be refused: %+v", strings.Join(fields, ", "), cfg)
	}
	if strings.Contains(err.Error(), "is not written yet") {
		return err
	}
	for _, field := range fields {
		if !strings.Contains(err.Error(), field) {
			return fmt.Errorf("Validate does not name %s; it says: %w", field, err)
		}
	}
	if _, err = New(cfg, atOnce); err == nil {
		return fmt.Errorf("New takes a configuration that Validate refuses for its %s", strings.Join(fields, ", "))
	}
	return nil
}

// A limit is allowed itself, and what a mode does not use may be anything.
func TestStep01_TheLimitsThemselvesAreAllowed(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		for fields, change := range map[string]func(*Config){
			"attempts of 1, a factor of 1, a cap that is the base, a jitter of 1": func(c *Config) {
				c.Retry.Attempts, c.Retry.Factor, c.Retry.Cap, c.Retry.Jitter = 1, 1, c.Retry.Base, 1
			},
			"as many breaker failures as attempts":      func(c *Config) { c.Breaker.Failures = c.Retry.Attempts },
			"no class listed":                           func(c *Config) { c.Retry.Fatal, c.Retry.Retryable = nil, nil },
			"no redrives, and no limit of age":          func(c *Config) { c.MaxRedrives, c.MaxAge = 0, 0 },
			"a drain just below the rebalance timeout":  func(c *Config) { c.DrainTimeout = c.RebalanceTimeout - 1 },
			"two topics, no retry topics, no parking":   func(c *Config) { c.Topics, c.RetryTopics, c.ParkingTopic = []string{"a", "b"}, nil, "" },
			"a breaker that is off and never opens for": func(c *Config) { c.Breaker = Breaker{} },
		} {
			cfg := DefaultConfig()
			change(&cfg)
			w.Claim(configured("people configure round numbers, which are the limits themselves", func() error {
				if err := cfg.Validate(); err != nil {
					return fmt.Errorf("%s is allowed; Validate says: %w", fields, err)
				}
				return nil
			}))
		}
	})
}

// What cannot work is refused while somebody looks, not at the first record.
func TestStep01_AServiceWithoutAHandlerIsRefused(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		w.Claim(configured("every record would panic, and become a dead letter", func() error {
			_, err := New(DefaultConfig(), nil)
			switch {
			case err == nil:
				return fmt.Errorf("New takes a handler that is nil")
			case strings.Contains(err.Error(), "is not written yet"):
				return err
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
