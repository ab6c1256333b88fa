package lesson10

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/kafka-katas/kafka-katas/ops/meter"
)

// Rules are what the shop decides about its events, apart from how they flow. They are one value that is replaced as a
// whole. Their functions must look at nothing but the event: no clock, no random number, no service. Then the same input
// gives the same output, whenever it is replayed. They must not change the event's Items and Extra, and not keep them: the
// next event may use their memory.
type Rules struct {
	Version string // stamped on all that is written under these rules
	Filters []Filter
	Quality []Check

	QuarantineBelow int // in percent: an event of a lower score is quarantined; 0: none is
	RejectBelow     int // in percent, at most QuarantineBelow: an event of a lower score is rejected

	// Expand makes several events of one, such as one for each item of an order; nil for none that does. What it returns
	// replaces the event; nothing is written if that is nothing.
	Expand  func(Event) []Event
	Routes  []Route
	Default string // the topic of events that no route takes
}

// Filter drops events, for a reason in snake_case.
type Filter struct {
	Reason string
	Drop   func(Event) bool
}

// Check is one thing that good data has. A check that fails costs its points.
type Check struct {
	Name   string
	Points int
	OK     func(Event) bool
}

// Route sends events to a topic.
type Route struct {
	Topic string
	When  func(Event) bool
}

// ShopRules are the rules of the shop: a version 1 to begin with.
func ShopRules() Rules {
	return Rules{
		Version: "1",
		Filters: []Filter{
			{"internal", func(e Event) bool { return strings.HasSuffix(e.Email, "@shop.example") }},
			{"test", func(e Event) bool { return strings.HasPrefix(e.ID, "test-") }},
		},
		Routes: []Route{
			{"customer-events-gold", func(e Event) bool { return e.Segment == "gold" }},
			{"customer-events-business", func(e Event) bool { return e.Segment == "business" }},
		},
		Default: "customer-events-other",
	}
}

var snake = regexp.MustCompile(`^[a-z][a-z0-9_]*$`)

// Validate reports everything that is wrong with r, joined into one error: a version, a default topic and all topics,
// names and functions of filters, checks and routes are there; reasons are in snake_case; points are positive; the two
// limits lie between 0 and 100 and RejectBelow is at most QuarantineBelow.
// Each problem names what it is about: version, default, quarantine_below, reject_below; of a filter the reason, of a check
// the name, of a route the topic.
func (r Rules) Validate() error {
	var problems []error
	wrong := func(format string, args ...any) { problems = append(problems, fmt.Errorf(format, args...)) }
	if r.Version == "" {
		wrong("version is empty: what is written could not say by which rules")
	}
	if r.Default == "" {
		wrong("default is empty: an event that no route takes would be dropped")
	}
	for i, f := range r.Filters {
		if !snake.MatchString(f.Reason) || f.Drop == nil {
			wrong("filters[%d] %q: must have a reason in snake_case and a function", i, f.Reason)
		}
	}
	for i, q := range r.Quality {
		if q.Name == "" || q.Points < 1 || q.OK == nil {
			wrong("quality[%d] %q: must have a name, points of at least 1 (has %d) and a function", i, q.Name, q.Points)
		}
	}
	if r.QuarantineBelow < 0 || r.QuarantineBelow > 100 {
		wrong("quarantine_below is %d: must be 0 to 100", r.QuarantineBelow)
	}
	if r.RejectBelow < 0 || r.RejectBelow > r.QuarantineBelow {
		wrong("reject_below is %d: must be 0 to quarantine_below (%d)", r.RejectBelow, r.QuarantineBelow)
	}
	for i, route := range r.Routes {
		if route.Topic == "" || route.When == nil {
			wrong("routes[%d] %q: must have a topic and a function", i, route.Topic)
		}
	}
	return errors.Join(problems...)
}

// Filter is the reason of the first filter that drops the event, or "" for an event that is kept. An error means that a
// function of the rules panicked; so it does for Score and Route.
func (r Rules) Filter(e Event) (reason string, err error) {
	defer recovered(&err)
	for _, f := range r.Filters {
		if f.Drop(e) {
			return f.Reason, nil
		}
	}
	return "", nil
}

// Score is how many percent of all points the event has, rounded down, and the names of the checks that fail, in their
// order. Without checks it is 100.
func (r Rules) Score(e Event) (percent int, failed []string, err error) {
	defer recovered(&err)
	got, all := 0, 0
	for _, q := range r.Quality {
		all += q.Points
		if q.OK(e) {
			got += q.Points
		} else {
			failed = append(failed, q.Name)
		}
	}
	if all == 0 {
		return 100, nil, nil
	}
	return got * 100 / all, failed, nil
}

// Route is the topic of an event: that of the first route that takes it, otherwise Default.
func (r Rules) Route(e Event) (topic string, err error) {
	defer recovered(&err)
	for _, route := range r.Routes {
		if route.When(e) {
			return route.Topic, nil
		}
	}
	return r.Default, nil
}

// expand is what becomes of an event before it is routed.
func (r Rules) expand(e Event) (events []Event, err error) {
	if r.Expand == nil {
		return []Event{e}, nil
	}
	defer recovered(&err)
	return r.Expand(e), nil
}

// recovered makes a panic an error: a rule that one event is too much for is no reason to lose the others.
func recovered(err *error) {
	if v := recover(); v != nil {
		*err = &meter.PanicError{Value: v}
	}
}

// topics are all topics that an event can be routed to, each once, in the order of the routes.
func (r Rules) topics() []string {
	var out []string
	seen := map[string]bool{}
	for _, route := range append(r.Routes[:len(r.Routes):len(r.Routes)], Route{Topic: r.Default}) {
		if !seen[route.Topic] {
			seen[route.Topic] = true
			out = append(out, route.Topic)
		}
	}
	return out
}
