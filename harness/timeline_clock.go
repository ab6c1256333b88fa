package harness

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// clock writes the times of rows with as few decimals as tell them apart: two, or more where it matters.
func clock(rows []row) []string {
	decimals := 2
	for ; decimals < 6; decimals++ {
		if !slices.ContainsFunc(rows, func(r row) bool { return blurred(rows, r, decimals) }) {
			break
		}
	}
	longest := rows[len(rows)-1].at
	out := make([]string, len(rows))
	for i, r := range rows {
		out[i] = clockTime(r.at, longest, decimals)
	}
	return out
}

// blurred tells whether another row has another time that would read the same. Below a millisecond only the rows that
// the breach refers to matter.
func blurred(rows []row, r row, decimals int) bool {
	for _, other := range rows {
		if other.at != r.at && (decimals < 3 || r.seen && other.seen) && clockTime(other.at, 0, decimals) == clockTime(r.at, 0, decimals) {
			return true
		}
	}
	return false
}

// clockTime is a point in story time: "45.25s", or "1h02m03.25s" in stories that last longer than ten minutes.
func clockTime(at, longest time.Duration, decimals int) string {
	if longest < 10*time.Minute {
		return fmt.Sprintf("%.*fs", decimals, at.Seconds())
	}
	h, m := at/time.Hour, at%time.Hour/time.Minute
	seconds := fmt.Sprintf("%0*.*fs", decimals+3, decimals, (at % time.Minute).Seconds())
	if longest < time.Hour {
		return fmt.Sprintf("%dm%s", m, seconds)
	}
	return fmt.Sprintf("%dh%02dm%s", h, m, seconds)
}

// lasting is a duration as people say it: "250ms", "2s", "45s", "10m", "24h".
func lasting(d time.Duration) string {
	switch {
	case d < time.Millisecond:
		return d.String()
	case d < time.Second:
		return d.Round(time.Millisecond).String()
	}
	s := d.Round(10 * time.Millisecond).String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// roughly is a duration in the words of a gap: "45 s".
func roughly(d time.Duration) string {
	switch {
	case d >= 48*time.Hour:
		return fmt.Sprintf("%.0f days", d.Hours()/24)
	case d >= 90*time.Minute:
		return fmt.Sprintf("%.3g h", d.Hours())
	case d >= 2*time.Minute:
		return fmt.Sprintf("%.3g min", d.Minutes())
	case d >= 10*time.Second:
		return fmt.Sprintf("%.0f s", d.Seconds())
	}
	return fmt.Sprintf("%.2g s", d.Seconds())
}
