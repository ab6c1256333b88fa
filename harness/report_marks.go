package harness

import (
	"fmt"
	"strings"
	"time"
)

// A chartMark is what can be pointed at in a chart: an event, or several that would lie on each other.
type chartMark struct {
	run    []Event
	class  string
	x0, x1 float64
	y, h   float64
	seen   bool
	last   bool
	text   string // instead of what the run says
}

func (c *chart) mark(e Event, class string, x0, x1, y, h float64) chartMark {
	for word := range strings.FieldsSeq(class) {
		c.used[word] = true
	}
	return chartMark{run: []Event{e}, class: class, x0: x0, x1: x1, y: y, h: h, seen: c.concern.seen[e.Seq], last: c.concern.last == e.Seq}
}

// group joins small marks of one class and height that are closer than apart. What the breach refers to stays by itself.
func (c *chart) group(marks []chartMark, apart float64) []chartMark {
	var out []chartMark
	latest := map[string]int{} // by class and height
	for _, m := range marks {
		key := fmt.Sprint(m.class, m.y)
		if i, ok := latest[key]; ok && !m.seen && !out[i].seen && m.x0-out[i].x1 < apart && (m.x1-m.x0 < 4 || strings.HasPrefix(m.class, "commit")) {
			out[i].run = append(out[i].run, m.run...)
			out[i].x1 = max(out[i].x1, m.x1)
			continue
		}
		latest[key] = len(out)
		out = append(out, m)
	}
	return out
}

// callMarks are the calls of a process as bars, side by side where they overlap.
func (c *chart) callMarks(process string, y float64, levels *int) []chartMark {
	var free [levelsAtMost]time.Duration
	for i := range free {
		free[i] = -1
	}
	var marks []chartMark
	for _, s := range c.calls {
		if s.process != process {
			continue
		}
		level := 0
		for level < levelsAtMost-1 && free[level] > s.from {
			level++
		}
		free[level] = max(free[level], s.to)
		*levels = max(*levels, level+1)
		class := "call " + c.colours.of(process)
		e := s.end
		switch e.Kind {
		case Failed:
			class = "call failed"
		case 0:
			class, e = class+" open", s.began
		}
		m := c.mark(e, class, c.x(s.from), max(c.x(s.to)-0.8, c.x(s.from)+2.4), y+float64(level)*levelHeight, levelHeight-2)
		if s.began.Seq != e.Seq && c.concern.seen[s.began.Seq] {
			m.seen, m.last = true, m.last || c.concern.last == s.began.Seq
		}
		if s.to > s.from {
			m.text = fmt.Sprintf("%s: %s, from %s to %s", process, c.words.say(e), c.when(s.from), c.when(s.to))
		}
		marks = append(marks, m)
	}
	return marks
}

// symbolOf names the symbol of an event, "" if the chart shows it otherwise.
func symbolOf(e Event) string {
	switch e.Kind {
	case Expired:
		return "expired"
	case Disturbed:
		return "fault"
	case Affected:
		return "called"
	case Noted:
		return "note"
	case Started, Stopping, Stopped, Crashed, Isolated, Healed, Joined, Left, Fenced, Refused, Called:
		return e.Kind.String()
	}
	return ""
}

// symbols are the events of a lane that are no bars, joined where they would hide each other.
func (c *chart) symbols(y float64, mine func(Event) bool) []chartMark {
	var marks []chartMark
	for _, e := range c.events {
		if name := symbolOf(e); name != "" && mine(e) {
			x := c.x(e.At)
			m := c.mark(e, name, x-5, x+5, y-5, 10)
			if i := len(marks) - 1; i >= 0 && marks[i].class == name && !m.seen && !marks[i].seen && x-5 < marks[i].x1-4 {
				marks[i].run = append(marks[i].run, e)
				continue
			}
			marks = append(marks, m)
		}
	}
	// What happened at one moment stands in a row, not in a heap, as far as a row can reach.
	for i := 1; i < len(marks); i++ {
		if over := min(marks[i-1].x1+1-marks[i].x0, 77); over > 0 {
			marks[i].x0 += over
			marks[i].x1 += over
		}
	}
	return marks
}

func (c *chart) draw(marks []chartMark) {
	for _, m := range marks {
		class := "mark"
		if m.seen {
			class += " seen"
		}
		if m.last {
			class += " last"
		}
		c.body.put("<g class=\"%s\" data-e=\"%d\" data-x=\"%.1f\"><title>%s</title>", class, m.run[0].Seq, c.x(m.run[0].At), c.tell(m))
		if m.seen {
			c.body.put("<rect class=\"halo\" x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\" rx=\"4\"/>", m.x0-3, m.y-3, m.x1-m.x0+6, m.h+5)
		}
		switch s := symbol(m.class, (m.x0+m.x1)/2, m.y+m.h/2); {
		case strings.HasPrefix(m.class, "commit"):
			c.body.put("<path class=\"%s\" d=\"M%.1f %.1fl3.4 5h-6.8z\"/>", m.class, (m.x0+m.x1)/2, m.y)
		case s != "":
			c.body.WriteString(s)
			if len(m.run) > 1 {
				c.body.put("<text class=\"count\" x=\"%.1f\" y=\"%.1f\">%d</text>", m.x1+1, m.y+1, len(m.run))
			}
		default:
			c.body.put("<rect class=\"%s\" x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\" rx=\"1\"/>", m.class, m.x0, m.y, m.x1-m.x0, m.h)
		}
		c.body.put("</g>\n")
	}
}

// tell is what a mark says when it is pointed at.
func (c *chart) tell(m chartMark) string {
	first, last := m.run[0], m.run[len(m.run)-1]
	text := m.text
	if text == "" || len(m.run) > 1 {
		who := laneOf(first)
		if who == "" {
			who = "broker"
		}
		what := c.words.say(m.run...)
		if len(m.run) > 1 && first.Kind == Committed && first.TopicPartition() == last.TopicPartition() {
			what = fmt.Sprintf("%d commits of %s, %d to %d", len(m.run), c.words.partition(first.TopicPartition()), first.Offset, last.Offset)
		}
		text = who + ": " + what + " at " + c.when(first.At)
		if last.At != first.At {
			text += " to " + c.when(last.At)
		}
	}
	if len(m.run) == 1 && first.Key != "" && !strings.Contains(text, first.Key) {
		text += ", key " + cut(first.Key, 48)
	}
	if first.Group != "" {
		text += ", group " + first.Group
	}
	return text
}

// symbol draws a symbol at its centre; "" if there is none of that name.
func symbol(name string, x, y float64) string {
	path, class := "", "sym s-"+name
	switch name {
	case "started":
		path = "m-3.5 -5l8 5l-8 5z"
	case "stopping":
		path, class = "m-4 -4h8v8h-8z", class+" hollow"
	case "stopped":
		path = "m-4 -4h8v8h-8z"
	case "crashed":
		path, class = "m-4.5 -4.5l9 9m0 -9l-9 9", class+" stroke"
	case "isolated":
		path, class = "m-5 0h3m4 0h3m-6 -4l2 8", class+" stroke"
	case "healed":
		path, class = "m-5 0l3 4l6 -8", class+" stroke"
	case "joined":
		path, class = "m-5 0h9m-3 -3l3 3l-3 3", class+" stroke"
	case "left":
		path, class = "m5 0h-9m3 -3l-3 3l3 3", class+" stroke"
	case "expired":
		path, class = "m-4 -5h8l-8 10h8z", class+" hollow"
	case "fenced":
		path, class = "m-3 -5v10m3 -10v10m3 -10v10", class+" stroke"
	case "refused":
		path, class = "m-5 0a5 5 0 1 0 10 0a5 5 0 1 0 -10 0m1.5 3.5l7 -7", class+" hollow"
	case "fault":
		path = "m1.5 -6l-5 7h3.2l-1 5l5 -7h-3.2z"
	case "called":
		path = "m0 -5l5 5l-5 5l-5 -5z"
	case "note":
		path, class = "m-4 -5h8v7l-3 3h-5z", class+" hollow"
	default:
		return ""
	}
	return fmt.Sprintf("<path class=\"%s\" d=\"M%.1f %.1f%s\"/>", class, x, y, path)
}
