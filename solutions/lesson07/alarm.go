package lesson07

import (
	"slices"
	"time"

	"github.com/kafka-katas/kafka-katas/ops"
)

// An alarm watches failed attempts. It is advanced when somebody looks or something fails, and works out what happened
// in between at the time it happened: nothing has to run for it.
type alarm struct {
	rule   Alert
	failed []time.Time // the latest within the window, oldest first
	alert  ops.Alert
	below  time.Time // since when a firing alarm has been below ResolveBelow
}

const alarmMemory = 1024 // failures that Value can tell apart; the state is exact with as few as Threshold

func (a *alarm) fail(now time.Time) {
	a.advance(now)
	if len(a.failed) == max(a.rule.Threshold, alarmMemory) {
		a.failed = slices.Delete(a.failed, 0, 1)
	}
	a.failed = append(a.failed, now)
	a.changed(now)
	a.settle(now)
}

// advance lets the time until now pass: failures leave the window one by one.
func (a *alarm) advance(now time.Time) {
	for len(a.failed) > 0 {
		leaves := a.failed[0].Add(a.rule.Window)
		if leaves.After(now) {
			break
		}
		a.settle(leaves)
		a.failed = slices.Delete(a.failed, 0, 1)
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

// changed judges a new number of failures in the window.
func (a *alarm) changed(now time.Time) {
	n := len(a.failed)
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

func (a *alarm) snapshot() ops.Alert {
	s := a.alert
	s.Name, s.Value, s.Threshold = "handler_failures", float64(len(a.failed)), float64(a.rule.Threshold)
	return s
}
