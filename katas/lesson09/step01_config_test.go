package lesson09

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/kafka-katas/kafka-katas/harness"
)

// The defaults are a configuration that works.
func TestStep01_TheDefaultsAreValid(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		w.Claim(configured("whoever changes one thing expects the rest to work", func() error {
			if err := DefaultConfig().Validate(); err != nil {
				return fmt.Errorf("DefaultConfig().Validate() says: %w", err)
			}
			return nil
		}))
	})
}

// Whoever corrects a configuration wants to hear of everything that is wrong with it at once, by name.
func TestStep01_AConfigurationSaysEverythingThatIsWrongWithIt(t *testing.T) {
	for _, bad := range []struct {
		fields string
		change func(*Config)
	}{
		{"group", func(c *Config) { c.Group = "" }},
		{"topics", func(c *Config) { c.Topics = []string{"transfers", ""} }},
		{"drain_timeout", func(c *Config) { c.DrainTimeout = c.RebalanceTimeout }},
		{"concurrency", func(c *Config) { c.Concurrency = 0 }},
		{"window", func(c *Config) { c.Window = 0 }},
		{"commit_every", func(c *Config) { c.CommitEvery = 0 }},
		{"commit_interval", func(c *Config) { c.CommitInterval = 0 }},
		{"transaction_timeout", func(c *Config) { c.TransactionTimeout = 0 }},
		{"transaction_batch", func(c *Config) { c.TransactionBatch = -1 }},
		{"deduplication.ttl", func(c *Config) { c.Deduplication.TTL = 0 }},
		{"deduplication.max_entries", func(c *Config) { c.Deduplication.MaxEntries = c.Window - 1 }},
		{"group window deduplication.ttl", func(c *Config) { c.Group, c.Window, c.Deduplication.TTL = "", -1, -1 }},
	} {
		harness.Run(t, func(w *harness.World) {
			cfg := DefaultConfig()
			bad.change(&cfg)
			w.Claim(refused(cfg, bad.fields))
		})
	}
}

// An id that is forgotten before its record can come again is as good as no id.
func TestStep01_AnIDIsRememberedForLongerThanItsRecordMayTakeToComeAgain(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		cfg := DefaultConfig()
		cfg.SessionTimeout, cfg.RebalanceTimeout, cfg.CommitInterval = 45*time.Second, 60*time.Second, time.Second

		cfg.Deduplication.TTL = 106 * time.Second
		w.Claim(refused(cfg, "deduplication.ttl"))

		cfg.Deduplication.TTL = 106*time.Second + 1
		w.Claim(configured("people configure round numbers, which are the limits themselves", func() error {
			if err := cfg.Validate(); err != nil {
				return fmt.Errorf("%s is allowed; Validate says: %w", valuesOf(cfg, "deduplication.ttl session_timeout rebalance_timeout commit_interval"), err)
			}
			return nil
		}))
	})
}

// refused claims that a configuration is refused, by Validate and by New, for these fields.
//
//go:noinline
func refused(cfg Config, fields string) harness.Claim {
	return configured("a service that starts with it fails later, and elsewhere; one that names a part of it is corrected and deployed once for each line", func() error {
		err := cfg.Validate()
		if err == nil {
			return fmt.Errorf("Validate finds nothing wrong, although %s should be refused", valuesOf(cfg, fields))
		}
		if strings.Contains(err.Error(), "is not written yet") {
			return err
		}
		for _, field := range strings.Fields(fields) {
			if !strings.Contains(err.Error(), field) {
				return fmt.Errorf("Validate does not name %s; it says: %w", field, err)
			}
		}
		if _, err = New(cfg, atOnce); err == nil {
			return fmt.Errorf("New takes a configuration that Validate refuses for its %s", fields)
		}
		return nil
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

// valuesOf shows fields of a configuration, by the names they have in config.yaml.
func valuesOf(cfg Config, fields string) string {
	var out []string
	for _, name := range strings.Fields(fields) {
		v := reflect.ValueOf(cfg)
		for _, part := range strings.Split(name, ".") {
			v = v.FieldByNameFunc(func(field string) bool { return strings.EqualFold(field, strings.ReplaceAll(part, "_", "")) })
		}
		if v.Kind() == reflect.String || v.Kind() == reflect.Slice {
			out = append(out, fmt.Sprintf("%s = %q", name, v))
			continue
		}
		out = append(out, fmt.Sprintf("%s = %v", name, v))
	}
	return strings.Join(out, ", ")
}
