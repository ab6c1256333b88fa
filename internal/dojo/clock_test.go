package dojo

import (
	"testing"
	"time"
)

func TestATurnRingsOnceAndRotates(t *testing.T) {
	now := time.Date(2026, 1, 1, 10, 0, 0, 0, time.UTC)
	c := NewClock(now, 5*time.Minute, "Ada", "Bob", "Cy")
	if got := c.Line(now); got != "5:00  Ada drives, Bob navigates" {
		t.Error(got)
	}
	if c.Rings(now.Add(5*time.Minute - time.Nanosecond)) {
		t.Error("it rings too early")
	}
	over := now.Add(5 * time.Minute)
	if !c.Rings(over) || c.Rings(over) {
		t.Error("it rings once, when the turn is over")
	}
	if got := c.Line(over); got != "TURN OVER: press x to rotate  Ada drives, Bob navigates" {
		t.Error(got)
	}
	c.Rotate(over)
	if got := c.Line(over.Add(time.Second)); got != "4:59  Bob drives, Cy navigates" {
		t.Error(got)
	}
	c.Rotate(over)
	if c.Driver() != "Cy" || c.Navigator() != "Ada" {
		t.Error("the first comes after the last")
	}
}

func TestAClockNeedsNoNames(t *testing.T) {
	now := time.Now()
	c := NewClock(now, time.Minute)
	c.Rotate(now)
	if got := c.Line(now); got != "1:00" {
		t.Error(got)
	}
}
