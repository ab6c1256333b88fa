package ops

import (
	"fmt"
	"time"
)

// Alert is a condition that is watched over time. Value is compared with Threshold; only after the condition held for
// the alert's "for" time is it Firing, once, and it ends only when Value is clearly back (hysteresis).
type Alert struct {
	Name             string
	State            AlertState
	Since            time.Time // when State was entered
	FiredAt          time.Time // when it last became Firing; zero: never
	ResolvedAt       time.Time // when it last ceased to be Firing; zero: never
	Fired            int64     // how often it became Firing
	Value, Threshold float64
}

// AlertState is where an alert stands.
type AlertState uint8

// The states of an alert.
const (
	Inactive AlertState = iota // the condition does not hold
	Pending                    // it holds, but not yet for long enough
	Firing                     // it has held for long enough and has not resolved
)

var alertStates = [...]string{Inactive: "inactive", Pending: "pending", Firing: "firing"}

// String is "inactive", "pending" or "firing".
func (s AlertState) String() string { return name(alertStates[:], s) }

// MarshalText is String, so that JSON and YAML carry the word.
func (s AlertState) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText accepts what String returns.
func (s *AlertState) UnmarshalText(text []byte) error { return parse(s, alertStates[:], text) }

func name[T ~uint8](names []string, v T) string {
	if int(v) < len(names) {
		return names[v]
	}
	return fmt.Sprintf("%T(%d)", v, uint8(v))
}

func parse[T ~uint8](to *T, names []string, text []byte) error {
	for i, n := range names {
		if n == string(text) {
			*to = T(i)
			return nil
		}
	}
	return fmt.Errorf("%q is none of %q", text, names)
}
