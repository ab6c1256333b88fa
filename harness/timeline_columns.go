package harness

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// The columns of a timeline.
const (
	betweenLanes = 2
	slimLane     = 8 // a lane is not squeezed below this
)

// lay sets the rows in columns.
func lay(rows []row, heads []string, width int) string {
	times := clock(rows)
	timeWidth := len("time")
	for _, t := range times {
		timeWidth = max(timeWidth, utf8.RuneCountInString(t))
	}
	left := len("> ") + timeWidth + betweenLanes
	starts := columns(rows, heads, width-left)
	var out strings.Builder
	line := func(gutter, at string, cells []string, mark string) {
		texts, _ := fit(cells, starts, roomFor(mark, width-left))
		var b strings.Builder
		fmt.Fprintf(&b, "%s%*s%s", gutter, timeWidth, at, strings.Repeat(" ", betweenLanes))
		used := 0
		for i, text := range texts {
			if text != "" {
				b.WriteString(strings.Repeat(" ", starts[i]-used) + text)
				used = starts[i] + utf8.RuneCountInString(text)
			}
		}
		if mark != "" {
			b.WriteString(strings.Repeat(" ", betweenLanes) + mark)
		}
		out.WriteString(strings.TrimRight(b.String(), " ") + "\n")
	}
	line("  ", "time", heads, "")
	for i, r := range rows {
		gutter := "  "
		if r.seen {
			gutter = "> "
		}
		line(gutter, times[i], r.cells, r.mark)
	}
	return out.String()
}

func roomFor(mark string, room int) int {
	if mark == "" {
		return room
	}
	return room - len(mark) - betweenLanes
}

// fit cuts cells to the space they have. A text may run on over the empty lanes to its right.
func fit(cells []string, starts []int, room int) (texts []string, lost int) {
	texts = make([]string, len(cells))
	end := room
	for i := len(cells) - 1; i >= 0; i-- {
		if cells[i] == "" {
			continue
		}
		if end-starts[i] > 0 {
			texts[i] = cut(cells[i], end-starts[i])
		}
		if texts[i] != cells[i] {
			lost += utf8.RuneCountInString(cells[i]) - utf8.RuneCountInString(texts[i])
		}
		end = starts[i] - betweenLanes
	}
	return texts, lost
}

// columns gives each lane the width of its longest text. When that is too much, it squeezes where least is lost.
func columns(rows []row, heads []string, room int) []int {
	need := make([]int, len(heads))
	least := make([]int, len(heads))
	total := -betweenLanes
	for i, head := range heads {
		need[i] = utf8.RuneCountInString(head)
		least[i] = min(need[i], slimLane)
		for _, r := range rows {
			n := utf8.RuneCountInString(r.cells[i])
			if i == len(heads)-1 && r.mark != "" && n > 0 {
				n += betweenLanes + len(r.mark)
			}
			need[i] = max(need[i], n)
		}
		total += need[i] + betweenLanes
	}
	starts := make([]int, len(heads))
	begin := func() {
		for i := 1; i < len(heads); i++ {
			starts[i] = starts[i-1] + need[i-1] + betweenLanes
		}
	}
	loss := func() int {
		begin()
		_, all := fit(heads, starts, room)
		for _, r := range rows {
			_, lost := fit(r.cells, starts, roomFor(r.mark, room))
			all += lost
		}
		return all
	}
	for ; total > room; total-- {
		best, bestLoss := -1, 0
		for i := range need {
			if need[i] <= least[i] {
				continue
			}
			need[i]--
			if lost := loss(); best < 0 || lost < bestLoss || lost == bestLoss && need[i] >= need[best] {
				best, bestLoss = i, lost
			}
			need[i]++
		}
		if best < 0 {
			break
		}
		need[best]--
	}
	begin()
	return starts
}
