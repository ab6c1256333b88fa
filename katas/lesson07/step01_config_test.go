package lesson07

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
		{"topics", func(c *Config) { c.Topics = nil }},
		{"topics", func(c *Config) { c.Topics = []string{"orders", ""} }},
		{"concurrency", func(c *Config) { c.Concurrency = 0 }},
		{"start", func(c *Config) { c.Start = 17 }},
		{"protocol", func(c *Config) { c.Protocol = 17 }},
		{"session_timeout", func(c *Config) { c.SessionTimeout = -time.Second }},
		{"heartbeat_interval", func(c *Config) { c.HeartbeatInterval = 0 }},
		{"heartbeat_interval", func(c *Config) { c.HeartbeatInterval = c.SessionTimeout / 2 }},
		{"heartbeat_interval", func(c *Config) { c.HeartbeatInterval = c.SessionTimeout/3 + 1 }},
		{"rebalance_timeout", func(c *Config) { c.RebalanceTimeout, c.DrainTimeout = -1, 1 }},
		{"drain_timeout", func(c *Config) { c.DrainTimeout = c.RebalanceTimeout }},
		{"retry_after", func(c *Config) { c.RetryAfter = 0 }},
		{"commit_interval", func(c *Config) { c.CommitInterval = 0 }},
		{"max_queued", func(c *Config) { c.MaxQueued = 0 }},
		{"stall_after", func(c *Config) { c.StallAfter = 0 }},
		{"metadata_max_age", func(c *Config) { c.MetadataMaxAge = 0 }},
		{"error_samples", func(c *Config) { c.ErrorSamples = -1 }},
		{"max_error_groups", func(c *Config) { c.MaxErrorGroups = 0 }},
		{"alert.threshold", func(c *Config) { c.Alert.Threshold = 0 }},
		{"alert.window", func(c *Config) { c.Alert.Window = 0 }},
		{"alert.for", func(c *Config) { c.Alert.For = -1 }},
		{"alert.resolve_below", func(c *Config) { c.Alert.ResolveBelow = c.Alert.Threshold + 1 }},
		{"alert.resolve_below", func(c *Config) { c.Alert.ResolveBelow = 0 }},
		{"alert.resolve_after", func(c *Config) { c.Alert.ResolveAfter = -1 }},
		{"group concurrency max_queued", func(c *Config) { c.Group, c.Concurrency, c.MaxQueued = "", -1, -1 }},
	} {
		harness.Run(t, func(w *harness.World) {
			cfg := DefaultConfig()
			bad.change(&cfg)
			w.Claim(configured("a service that starts with it fails later, and elsewhere; one that names a part of it is corrected and deployed once for each line", func() error {
				err := cfg.Validate()
				if err == nil {
					return fmt.Errorf("Validate finds nothing wrong, although %s should be refused", valuesOf(cfg, bad.fields))
				}
				if strings.Contains(err.Error(), "is not written yet") {
					return err
				}
				for _, field := range strings.Fields(bad.fields) {
					if !strings.Contains(err.Error(), field) {
						return fmt.Errorf("Validate does not name %s; it says: %w", field, err)
					}
				}
				_, err = New(cfg, atOnce)
				if err == nil {
					return fmt.Errorf("New takes a configuration that Validate refuses for its %s", bad.fields)
				}
				return nil
			}))
		})
	}
}

// A limit is allowed itself; whoever sets one must not be told that it is too much.
func TestStep01_TheLimitsThemselvesAreAllowed(t *testing.T) {
	for _, good := range []struct {
		fields string
		change func(*Config)
	}{
		{"heartbeat_interval session_timeout", func(c *Config) { c.HeartbeatInterval = c.SessionTimeout / 3 }},
		{"drain_timeout rebalance_timeout", func(c *Config) { c.DrainTimeout = c.RebalanceTimeout - 1 }},
		{"concurrency", func(c *Config) { c.Concurrency = 1 }},
		{"max_queued", func(c *Config) { c.MaxQueued = 1 }},
		{"error_samples max_error_groups", func(c *Config) { c.ErrorSamples, c.MaxErrorGroups = 1, 1 }},
		{"alert.resolve_below alert.threshold", func(c *Config) { c.Alert.ResolveBelow = c.Alert.Threshold }},
		{"alert.threshold alert.resolve_below", func(c *Config) { c.Alert.Threshold, c.Alert.ResolveBelow = 1, 1 }},
		{"alert.for alert.resolve_after", func(c *Config) { c.Alert.For, c.Alert.ResolveAfter = 0, 0 }},
		{"instance_id", func(c *Config) { c.InstanceID = "" }},
		{"start protocol", func(c *Config) { c.Start, c.Protocol = StartCommitted, ProtocolConsumer }},
	} {
		harness.Run(t, func(w *harness.World) {
			cfg := DefaultConfig()
			good.change(&cfg)
			w.Claim(configured("people configure round numbers, which are the limits themselves", func() error {
				if err := cfg.Validate(); err != nil {
					return fmt.Errorf("%s is allowed; Validate says: %w", valuesOf(cfg, good.fields), err)
				}
				return nil
			}))
		})
	}
}

// What cannot work is refused while somebody looks, not at the first record.
func TestStep01_AConsumerWithoutAHandlerIsRefused(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		w.Claim(configured("every record would panic, and the logs would blame the records", func() error {
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
