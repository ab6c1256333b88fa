package meter

import (
	"cmp"
	"slices"
	"sync"
	"time"

	"github.com/kafka-katas/kafka-katas/ops"
)

// Rule says when what [Meter.Signal] tells of is worth waking somebody, and when that is over.
type Rule struct {
	Name         string        // of the alert, and of its signals; "handler_failures" and "commit_failures" the Meter gives itself
	Threshold    int           // signals within Window from which on something is wrong; at least 1
	Window       time.Duration // how far back signals count; default: 1 min
	For          time.Duration // it fires after this long at or above Threshold without a break
	ResolveBelow int           // signals within Window below which it is over; default, and at most: Threshold
	ResolveAfter time.Duration // it resolves after this long below ResolveBelow without a break
}

// DefaultRule is a rule that suits most: ten within a minute, for half a minute, and over at less than five for a minute.
func DefaultRule(name string) Rule {
	return Rule{Name: name, Threshold: 10, Window: time.Minute, For: 30 * time.Second, ResolveBelow: 5, ResolveAfter: time.Minute}
}

// alarms are all the rules at work, by name.
type alarms struct {
	mu     sync.Mutex
	byName map[string]*alarm
}

func newAlarms(rules []Rule, now time.Time) alarms {
	byName := map[string]*alarm{}
	for _, r := range rules {
		orDefault(&r.Threshold, 1)
		orDefault(&r.Window, time.Minute)
		orDefault(&r.ResolveBelow, r.Threshold)
		r.ResolveBelow = min(r.ResolveBelow, r.Threshold)
		byName[r.Name] = &alarm{rule: r, alert: ops.Alert{Name: r.Name, Threshold: float64(r.Threshold), Since: now}}
	}
	return alarms{byName: byName}
}

func (a *alarms) signal(name string) {
	if a.byName[name] == nil { // the map itself never changes
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.byName[name].signal(time.Now())
}

func (a *alarms) snapshot(now time.Time) []ops.Alert {
	a.mu.Lock()
	defer a.mu.Unlock()
	var out []ops.Alert
	for _, alarm := range a.byName {
		alarm.advance(now)
		s := alarm.alert
		s.Value = float64(len(alarm.recent))
		out = append(out, s)
	}
	slices.SortFunc(out, func(a, b ops.Alert) int { return cmp.Compare(a.Name, b.Name) })
	return out
}

// An alarm watches signals. It is advanced when somebody looks or something happens, and works out what happened in
// between at the time it happened: nothing has to run for it.
type alarm struct {
	rule   Rule
	recent []time.Time // the latest within the window, oldest first
	alert  ops.Alert
	below  time.Time // since when a firing alarm has been below ResolveBelow
}

const alarmMemory = 1024 // signals that Value can tell apart; the state is exact with as few as Threshold

func (a *alarm) signal(now time.Time) {
	a.advance(now)
	if len(a.recent) == max(a.rule.Threshold, alarmMemory) {
		a.recent = a.recent[1:]
	}
	a.recent = append(a.recent, now)
	a.changed(now)
	a.settle(now)
}

// advance lets the time until now pass: signals leave the window one by one.
func (a *alarm) advance(now time.Time) {
	for len(a.recent) > 0 {
		leaves := a.recent[0].Add(a.rule.Window)
		if leaves.After(now) {
			break
		}
		a.settle(leaves)
		a.recent = a.recent[1:]
		a.changed(leaves)
	}
	a.settle(now)
}

// settle ends what has lasted long enough by now.
func (a *alarm) settle(now time.Time) {
	if fires := a.alert.Since.Add(a.rule.For); a.alert.State == ops.Pending && !fires.After(now) {
		a.enter(ops.Firing, fires)
		a.alert.FiredAt = fires
		a.alert.Fired++
		a.below = time.Time{}
	}
	if resolves := a.below.Add(a.rule.ResolveAfter); a.alert.State == ops.Firing && !a.below.IsZero() && !resolves.After(now) {
		a.enter(ops.Inactive, resolves)
		a.alert.ResolvedAt = resolves
	}
}

// changed judges a new number of signals in the window.
func (a *alarm) changed(now time.Time) {
	n := len(a.recent)
	switch {
	case a.alert.State == ops.Inactive && n >= a.rule.Threshold:
		a.enter(ops.Pending, now)
	case a.alert.State == ops.Pending && n < a.rule.Threshold:
		a.enter(ops.Inactive, now)
	case a.alert.State == ops.Firing && n >= a.rule.ResolveBelow:
		a.below = time.Time{}
	case a.alert.State == ops.Firing && a.below.IsZero():
		a.below = now
	}
}

func (a *alarm) enter(s ops.AlertState, at time.Time) { a.alert.State, a.alert.Since = s, at }
