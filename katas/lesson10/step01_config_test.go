package lesson10

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/kafka-katas/kafka-katas/harness"
)

// problems claims that an error names every one of these, and that there is none if nothing is to be named.
//
//go:noinline
func problems(what string, err error, fields ...string) harness.Claim {
	return func(*harness.World) error {
		if err != nil && strings.Contains(err.Error(), "is not written yet") {
			return err
		}
		if (err == nil) != (len(fields) == 0) {
			return harness.Broke[harness.Misreported]("what is wrong has to be said when the service starts, not when the first record fails",
				"%s: validation says %v; it should speak of %q", what, err, fields)
		}
		for _, f := range fields {
			if !strings.Contains(err.Error(), f) {
				return harness.Broke[harness.Misreported]("whoever corrects a file wants to hear of everything at once",
					"%s: validation does not name %q: %v", what, f, err)
			}
		}
		return nil
	}
}

// What is given as a default must work as it is.
func TestStep01_TheDefaultsAreAWorkingConfiguration(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		cfg, rules := DefaultConfig(), ShopRules()

		_, err := New(cfg, rules, nil)

		w.Claim(problems("DefaultConfig", cfg.Validate()), problems("ShopRules", rules.Validate()), problems("New", err))
	})
}

// An operator corrects a file once, not once for each mistake in it.
func TestStep01_EveryProblemOfAConfigurationIsNamed(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		cfg := DefaultConfig()
		cfg.Group, cfg.Audit, cfg.Service, cfg.Missing = "", cfg.Source, "risk:80", Missing(7)
		cfg.CacheTTL, cfg.MaxBatch, cfg.QualityLimit, cfg.DrainTimeout = 0, 0, cfg.QualityWindow, cfg.RebalanceTimeout

		_, err := New(cfg, ShopRules(), nil)

		fields := []string{"group", "audit", "service", "missing", "cache_ttl", "max_batch", "quality_limit", "drain_timeout"}
		w.Claim(problems("eight problems", cfg.Validate(), fields...), problems("New", err, fields...))
		for field, change := range map[string]func(*Config){
			"source": func(c *Config) { c.Source = "" }, "dead_letters": func(c *Config) { c.DeadLetters = "" },
			"parked": func(c *Config) { c.Parked = c.Source }, "quarantine": func(c *Config) { c.Quarantine = "" },
			"default": func(c *Config) { c.Default = "" }, "lookup_timeout": func(c *Config) { c.LookupTimeout = -time.Second },
			"max_lookups": func(c *Config) { c.MaxLookups = 0 }, "max_record_bytes": func(c *Config) { c.MaxRecordBytes = 0 },
			"retry_after": func(c *Config) { c.RetryAfter = 0 }, "commit_interval": func(c *Config) { c.CommitInterval = 0 },
			"quality_window": func(c *Config) { c.QualityWindow = 0 }, "session_timeout": func(c *Config) { c.SessionTimeout = 0 },
			"rebalance_timeout": func(c *Config) { c.RebalanceTimeout = 0 }, "stall_after": func(c *Config) { c.StallAfter = 0 },
			"error_samples": func(c *Config) { c.ErrorSamples = 0 }, "max_error_groups": func(c *Config) { c.MaxErrorGroups = 0 },
		} {
			cfg := DefaultConfig()
			change(&cfg)
			w.Claim(problems(field, cfg.Validate(), field))
		}
	})
}

// Rules that cannot decide every event, or cannot say which rules they are, must not start.
func TestStep01_RulesThatCannotDecideAreRefused(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		yes := func(Event) bool { return true }
		bad := Rules{
			Filters: []Filter{{"No Good", yes}}, Quality: []Check{{"email", 0, yes}},
			QuarantineBelow: 50, RejectBelow: 60, Routes: []Route{{"gold", nil}},
		}

		_, err := New(DefaultConfig(), bad, nil)

		wrong := []string{"version", "default", "No Good", "email", "reject_below", "gold"}
		w.Claim(problems("six problems", bad.Validate(), wrong...), problems("New", err, wrong...))
		for i, limit := range []int{-1, 101} {
			r := ShopRules()
			r.QuarantineBelow = limit
			w.Claim(problems(fmt.Sprint("limit ", i), r.Validate(), "quarantine_below"))
		}
		r := ShopRules()
		r.QuarantineBelow, r.RejectBelow = 100, 100
		w.Claim(problems("limits that are allowed", r.Validate()))
	})
}
