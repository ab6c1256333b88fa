package ops

import (
	"strings"
	"time"
)

// Health says whether a process should go on living, and whether it should be relied on.
//
// The two are apart because the remedies are: who is not Live is restarted, who is not Ready is waited for. A broker
// that is down makes a consumer unready and must not make it dead: a restart would not bring the broker back, and all
// members restarting at once would make the outage longer.
type Health struct {
	Live, Ready bool
	Checks      []Check
}

// HealthOf judges checks: Live if no check on liveness fails, Ready if no check fails at all (who ought to be restarted
// should not be relied on either).
func HealthOf(checks ...Check) Health {
	h := Health{Live: true, Ready: true, Checks: checks}
	for _, c := range checks {
		if !c.OK {
			h.Ready = false
			h.Live = h.Live && c.Affects != Liveness
		}
	}
	return h
}

// Failing returns the checks that are not OK, in their order.
func (h Health) Failing() []Check {
	var out []Check
	for _, c := range h.Checks {
		if !c.OK {
			out = append(out, c)
		}
	}
	return out
}

// Cause is one sentence of what is wrong, or "" if no check fails.
func (h Health) Cause() string {
	var parts []string
	for _, c := range h.Failing() {
		if c.Cause == "" {
			parts = append(parts, c.Name)
			continue
		}
		parts = append(parts, c.Name+": "+c.Cause)
	}
	return strings.Join(parts, "; ")
}

// Check is one thing that health depends on.
type Check struct {
	Name    string // "broker", "progress"
	Affects Aspect
	OK      bool
	Cause   string    // why not OK, for a person: which partition, which error, since when
	Since   time.Time // when OK last changed; the start of the service if it never did
}

// Aspect is which half of health a check affects.
type Aspect uint8

// The two halves of health. Readiness comes first: a check that forgets to say must not get a process killed.
const (
	Readiness Aspect = iota
	Liveness
)

var aspects = [...]string{Readiness: "readiness", Liveness: "liveness"}

// String is "readiness" or "liveness".
func (a Aspect) String() string { return name(aspects[:], a) }

// MarshalText is String, so that JSON and YAML carry the word.
func (a Aspect) MarshalText() ([]byte, error) { return []byte(a.String()), nil }

// UnmarshalText accepts what String returns.
func (a *Aspect) UnmarshalText(text []byte) error { return parse(a, aspects[:], text) }
