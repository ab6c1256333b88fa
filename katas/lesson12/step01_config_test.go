package lesson12

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/kafka-katas/kafka-katas/harness"
)

// everything is a configuration with all parts on.
func everything() Config {
	c := DefaultConfig()
	c.Calls.Topic, c.Calls.URL = "shipments", "https://shipping.example/shipments/{key}"
	c.Webhooks.Topic, c.Webhooks.Endpoints = "shop-events", []Endpoint{{"billing", "https://billing.example/hooks", "s"}}
	return c
}

// configured claims that what is said of a configuration is right.
//
//go:noinline
func configured(why string, check func() error) harness.Claim {
	return func(*harness.World) error {
		if err := check(); err != nil {
			return harness.Broke[harness.Broken](why, "%v", err)
		}
		return nil
	}
}

// The defaults work; so do they with every part switched on, and with one alone.
func TestStep01_TheDefaultsAreValid(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		workflowAlone := DefaultConfig()
		workflowAlone.Commands = CommandsConfig{}

		for _, cfg := range []Config{DefaultConfig(), everything(), workflowAlone} {
			w.Claim(configured("whoever changes one thing expects the rest to work", func() error {
				if err := cfg.Validate(); err != nil {
					return fmt.Errorf("Validate says of a configuration that works: %w", err)
				}
				return nil
			}))
		}
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
			{"drain_timeout", func(c *Config) { c.DrainTimeout = 45 * time.Second }},
			{"retry_after", func(c *Config) { c.RetryAfter = 0 }},
			{"commit_interval", func(c *Config) { c.CommitInterval = -1 }},
			{"max_queued", func(c *Config) { c.MaxQueued = 0 }},
			{"stall_after", func(c *Config) { c.StallAfter = 0 }},
			{"commands.topic", func(c *Config) {
				c.Commands.Topic, c.Calls.Topic, c.Webhooks.Topic, c.Workflow.Topic = "", "", "", ""
			}},
			{"workflow.topic", func(c *Config) { c.Workflow.Topic = c.Calls.Topic }},
			{"commands.events", func(c *Config) { c.Commands.Events = "" }},
			{"commands.events", func(c *Config) { c.Commands.Events = c.Commands.Topic }},
			{"api.timeout", func(c *Config) { c.API.Timeout = 0 }},
			{"outbound.timeout", func(c *Config) { c.Outbound.Timeout = 0 }},
			{"outbound.retry_base", func(c *Config) { c.Outbound.RetryBase = 0 }},
			{"outbound.retry_cap", func(c *Config) { c.Outbound.RetryCap = c.Outbound.RetryBase - 1 }},
			{"calls.url", func(c *Config) { c.Calls.URL = "shipping.example" }},
			{"calls.dead_letters", func(c *Config) { c.Calls.DeadLetters = c.Calls.Topic }},
			{"calls.redirects", func(c *Config) { c.Calls.Redirects = 7 }},
			{"webhooks.endpoints", func(c *Config) { c.Webhooks.Endpoints = nil }},
			{"webhooks.endpoints", func(c *Config) { c.Webhooks.Endpoints = append(c.Webhooks.Endpoints, c.Webhooks.Endpoints[0]) }},
			{"webhooks.endpoints", func(c *Config) { c.Webhooks.Endpoints = []Endpoint{{"a", "ftp://a.example", "s"}} }},
			{"webhooks.endpoints", func(c *Config) { c.Webhooks.Endpoints = []Endpoint{{"a", "http://a.example", ""}} }},
			{"webhooks.break_after", func(c *Config) { c.Webhooks.BreakAfter = 0 }},
			{"webhooks.open_for", func(c *Config) { c.Webhooks.OpenFor = 0 }},
			{"webhooks.disable_after", func(c *Config) { c.Webhooks.DisableAfter = c.Webhooks.BreakAfter }},
			{"workflow.tasks", func(c *Config) { c.Workflow.Tasks = c.Workflow.Topic }},
			{"workflow.outcomes", func(c *Config) { c.Workflow.Outcomes = "" }},
			{"workflow.steps", func(c *Config) { c.Workflow.Steps = nil }},
			{"workflow.steps", func(c *Config) { c.Workflow.Steps = []Step{{"pay", "refund"}, {"pay", "recall"}} }},
			{"workflow.steps", func(c *Config) { c.Workflow.Steps = []Step{{"pay", ""}} }},
			{"workflow.step_timeout", func(c *Config) { c.Workflow.StepTimeout = 0 }},
			{"workflow.undo_retry", func(c *Config) { c.Workflow.UndoRetry = 0 }},
			{"workflow.undo_attempts", func(c *Config) { c.Workflow.UndoAttempts = 0 }},
			{"group max_queued calls.url", func(c *Config) { c.Group, c.MaxQueued, c.Calls.URL = "", 0, "" }},
		} {
			cfg := everything()
			bad.change(&cfg)
			w.Claim(configured("a service that starts with it fails later, and elsewhere", func() error {
				err := cfg.Validate()
				if err == nil {
					return fmt.Errorf("Validate finds nothing wrong, although %s should be refused", bad.fields)
				}
				for _, field := range strings.Fields(bad.fields) {
					if !strings.Contains(err.Error(), field) {
						return fmt.Errorf("Validate does not name %s; it says: %w", field, err)
					}
				}
				if _, err = New(cfg, Outside{Store: &connection{db: newDatabase()}}); err == nil {
					return fmt.Errorf("New takes a configuration that Validate refuses for its %s", bad.fields)
				}
				return nil
			}))
		}
	})
}

// A limit itself is allowed, and what is off is not looked at.
func TestStep01_WhatIsAllowedIsNotRefused(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		for _, good := range []struct {
			fields string
			change func(*Config)
		}{
			{"drain_timeout", func(c *Config) { c.DrainTimeout = 45*time.Second - 1 }},
			{"outbound.retry_cap", func(c *Config) { c.Outbound.RetryCap = c.Outbound.RetryBase }},
			{"webhooks.disable_after", func(c *Config) { c.Webhooks.BreakAfter, c.Webhooks.DisableAfter = 1, 2 }},
			{"max_queued", func(c *Config) { c.MaxQueued = 1 }},
			{"calls.redirects", func(c *Config) { c.Calls.Redirects = FollowRedirects }},
			{"outbound.allow", func(c *Config) { c.Outbound.Allow = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")} }},
			{"calls (off)", func(c *Config) { c.Calls = CallsConfig{} }},
			{"webhooks (off)", func(c *Config) { c.Webhooks = WebhooksConfig{} }},
			{"workflow (off)", func(c *Config) { c.Workflow = WorkflowConfig{} }},
			{"commands (off)", func(c *Config) { c.Commands, c.API = CommandsConfig{}, APIConfig{} }},
		} {
			cfg := everything()
			good.change(&cfg)
			w.Claim(configured("people configure round numbers, which are the limits themselves, and leave out what they do not use", func() error {
				if err := cfg.Validate(); err != nil {
					return fmt.Errorf("%s is allowed; Validate says: %w", good.fields, err)
				}
				return nil
			}))
		}
	})
}

// What cannot work is refused while somebody looks; what may be waited for is not.
func TestStep01_AServiceStartsWhileKafkaIsDownAndNotWithoutAStore(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		s := inventory(w, 1)
		w.Kafka().Down()

		w.Claim(configured("without a store every record would panic", func() error {
			if _, err := New(s.cfg, Outside{}); err == nil {
				return fmt.Errorf("New takes an Outside without a Store")
			} else if strings.Contains(err.Error(), "is not written yet") {
				return err
			}
			return nil
		}))
		a := s.start("a")
		w.Sleep(time.Minute)
		w.Claim(a.healthy(true, false))
		w.Kafka().Up()
		s.commands.Produce(asJSON("book", Command{ID: "c-1", Type: "restock", SKU: "book", Quantity: 5}))
		w.Within(2*time.Minute, s.group.Drained(s.commands))
		w.Claim(a.healthy(true, true))
	})
}

// healthy claims what a member's health says of liveness and readiness.
//
//go:noinline
func (m *member) healthy(live, ready bool) harness.Claim {
	return harness.Reported(func() error {
		if h := m.Health(); h.Live != live || h.Ready != ready {
			return fmt.Errorf("%s says live=%t and ready=%t (%s); it should be live=%t and ready=%t", m.Name, h.Live, h.Ready, h.Cause(), live, ready)
		}
		return nil
	})
}
