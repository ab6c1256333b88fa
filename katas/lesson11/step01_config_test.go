package lesson11

import (
	"fmt"
	"strings"
	"testing"

	"github.com/kafka-katas/kafka-katas/harness"
)

// The defaults are a configuration that works.
func TestStep01_TheDefaultsAreValid(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		w.Claim(configured(func() error { return DefaultConfig().Validate() }))
	})
}

// Whoever corrects a configuration wants to hear of everything that is wrong with it at once, by name.
func TestStep01_AConfigurationSaysEverythingThatIsWrongWithIt(t *testing.T) {
	for _, bad := range []struct {
		fields string
		change func(*Config)
	}{
		{"group", func(c *Config) { c.Group = "" }},
		{"topics.triggers topics.preferences topics.tasks", func(c *Config) { c.Topics.Triggers, c.Topics.Preferences, c.Topics.Tasks = "", "", "" }},
		{"topics.log topics.receipts topics.status topics.dead_letters", func(c *Config) {
			c.Topics.Log, c.Topics.Receipts, c.Topics.Status, c.Topics.DeadLetters = "", "", "", ""
		}},
		{"email.per_second", func(c *Config) { c.Email.PerSecond = -1 }},
		{"sms.burst", func(c *Config) { c.SMS.Burst = 0 }},
		{"push.concurrency", func(c *Config) { c.Push.Concurrency = 0 }},
		{"email.timeout", func(c *Config) { c.Email.Timeout = c.DrainTimeout }},
		{"sms.timeout", func(c *Config) { c.SMS.Timeout = 0 }},
		{"fallback", func(c *Config) { c.Fallback = []string{Push, "pigeon"} }},
		{"fallback", func(c *Config) { c.Fallback = []string{Push, SMS, Push} }},
		{"max_attempts", func(c *Config) { c.MaxAttempts = 0 }},
		{"retry_after", func(c *Config) { c.RetryAfter = 0 }},
		{"retry_max", func(c *Config) { c.RetryMax = c.RetryAfter - 1 }},
		{"breaker_after breaker_for", func(c *Config) { c.BreakerAfter, c.BreakerFor = 0, 0 }},
		{"bulk_share", func(c *Config) { c.BulkShare = 0 }},
		{"bulk_share", func(c *Config) { c.BulkShare = 100 }},
		{"digest_window dedup_window page_size max_queued", func(c *Config) { c.DigestWindow, c.DedupWindow, c.PageSize, c.MaxQueued = 0, -1, 0, 0 }},
		{"commit_interval session_timeout", func(c *Config) { c.CommitInterval, c.SessionTimeout = 0, 0 }},
		{"heartbeat_interval", func(c *Config) { c.HeartbeatInterval = c.SessionTimeout/3 + 1 }},
		{"drain_timeout", func(c *Config) { c.DrainTimeout = c.RebalanceTimeout }},
		{"stall_after", func(c *Config) { c.StallAfter = c.Email.Timeout }},
		{"error_samples max_error_groups", func(c *Config) { c.ErrorSamples, c.MaxErrorGroups = 0, 0 }},
	} {
		harness.Run(t, func(w *harness.World) {
			cfg := DefaultConfig()
			bad.change(&cfg)
			w.Claim(configured(func() error {
				err := cfg.Validate()
				switch {
				case err == nil:
					return fmt.Errorf("Validate finds nothing wrong, although %s should be refused", bad.fields)
				case strings.Contains(err.Error(), "is not written yet"):
					return err
				}
				for _, field := range strings.Fields(bad.fields) {
					if !strings.Contains(err.Error(), field) {
						return fmt.Errorf("Validate does not name %s; it says: %w", field, err)
					}
				}
				if _, err := New(cfg, Parts{Channels: map[string]Channel{Email: line{}}}); err == nil {
					return fmt.Errorf("New takes a configuration that Validate refuses for its %s", bad.fields)
				}
				return nil
			}))
		})
	}
}

// A limit is allowed itself; whoever sets one must not be told that it is too much.
func TestStep01_TheLimitsThemselvesAreAllowed(t *testing.T) {
	for name, change := range map[string]func(*Config){
		"no rate limit":        func(c *Config) { c.Email.PerSecond = 0 },
		"less than one second": func(c *Config) { c.SMS.PerSecond = 0.1 },
		"bulk shares":          func(c *Config) { c.BulkShare = 1 },
		"retry":                func(c *Config) { c.RetryMax = c.RetryAfter },
		"no fallback":          func(c *Config) { c.Fallback = nil },
		"heartbeat":            func(c *Config) { c.HeartbeatInterval = c.SessionTimeout / 3 },
		"drain":                func(c *Config) { c.DrainTimeout, c.Email.Timeout = c.RebalanceTimeout-1, c.RebalanceTimeout-2 },
		"one of each":          func(c *Config) { c.MaxAttempts, c.BreakerAfter, c.PageSize, c.MaxQueued = 1, 1, 1, 1 },
	} {
		harness.Run(t, func(w *harness.World) {
			cfg := DefaultConfig()
			change(&cfg)
			w.Claim(configured(func() error {
				if err := cfg.Validate(); err != nil {
					return fmt.Errorf("%s: this is allowed; Validate says: %w", name, err)
				}
				return nil
			}))
		})
	}
}

// What cannot work is refused while somebody looks, not at the first customer.
func TestStep01_PartsThatCannotWorkAreRefused(t *testing.T) {
	for name, parts := range map[string]Parts{
		"no channel":                         {},
		"a channel that does not exist":      {Channels: map[string]Channel{"pigeon": line{}}},
		"a channel that is nil":              {Channels: map[string]Channel{Email: nil}},
		"a template that does not parse":     {Channels: map[string]Channel{Email: line{}}, Templates: map[string]map[string]string{"news": {Email: "{{.User"}}},
		"a template with an unknown command": {Channels: map[string]Channel{Email: line{}}, Templates: map[string]map[string]string{"news": {Email: "{{shout .User}}"}}},
	} {
		harness.Run(t, func(w *harness.World) {
			w.Claim(configured(func() error {
				_, err := New(DefaultConfig(), parts)
				switch {
				case err == nil:
					return fmt.Errorf("New takes %s", name)
				case strings.Contains(err.Error(), "is not written yet"):
					return err
				}
				return nil
			}))
		})
	}
}

// configured claims that a configuration is judged rightly.
//
//go:noinline
func configured(check func() error) harness.Claim {
	return func(*harness.World) error {
		if err := check(); err != nil {
			return harness.Broke[harness.Misreported]("a service that starts with what cannot work fails later, and elsewhere", "%v", err)
		}
		return nil
	}
}
