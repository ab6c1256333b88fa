package lesson10

import (
	"errors"
	"strings"
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

// Validate reports everything that is wrong with r, joined into one error: a version, a default topic and all topics,
// names and functions of filters, checks and routes are there; reasons are in snake_case; points are positive; the two
// limits lie between 0 and 100 and RejectBelow is at most QuarantineBelow.
// Each problem names what it is about: version, default, quarantine_below, reject_below; of a filter the reason, of a check
// the name, of a route the topic.
func (r Rules) Validate() error {
	// TODO: everything that is wrong, joined.
	return errors.New("lesson10: Rules.Validate is not written yet")
}

// Filter is the reason of the first filter that drops the event, or "" for an event that is kept. An error means that a
// function of the rules panicked; so it does for Score and Route.
func (r Rules) Filter(e Event) (reason string, err error) {
	// TODO
	return "", errors.New("lesson10: Rules.Filter is not written yet")
}

// Score is how many percent of all points the event has, rounded down, and the names of the checks that fail, in their
// order. Without checks it is 100.
func (r Rules) Score(e Event) (percent int, failed []string, err error) {
	// TODO
	return 0, nil, errors.New("lesson10: Rules.Score is not written yet")
}

// Route is the topic of an event: that of the first route that takes it, otherwise Default.
func (r Rules) Route(e Event) (topic string, err error) {
	// TODO
	return "", errors.New("lesson10: Rules.Route is not written yet")
}
