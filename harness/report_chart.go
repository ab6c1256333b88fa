package harness

import (
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// The measures of a chart, in the units of its viewBox.
const (
	chartWidth    = 1320.0
	chartRight    = 1312.0
	chartTail     = 34.0 // what still went on at the end runs on into it
	labelAtMost   = 28   // letters
	headHeight    = 58.0
	levelHeight   = 9.0
	levelsAtMost  = 5
	ownHeight     = 46.0 // a partition and its commits
	ownBareHeight = 30.0
	headingHeight = 30.0
)

// A chart draws a story: time runs to the right; below each other the processes, the broker, and the partitions of each group.
type chart struct {
	*page
	events   []Event
	scale    *timeScale
	calls    []callSpan
	words    *phrasebook
	colours  colours
	concern  *concern
	longest  time.Duration
	decimals int // of times
	left     float64
	y        float64
	body     page            // the lanes, which are drawn above the lines of the evidence
	used     map[string]bool // symbols
}

// A badge is the number of a piece of evidence, and its column.
type badge struct {
	at   float64
	seq  int
	last bool
}

func (p *page) chart(events []Event, breach *Breach) {
	c := &chart{
		page: p, events: events, words: newPhrasebook(events), colours: processColours(events), concern: concernOf(events, breach),
		longest: events[len(events)-1].At, decimals: tableDecimals(events), y: headHeight, used: map[string]bool{},
	}
	c.words.nameTopics(events)
	c.calls = callSpans(events)
	c.left = labelRoom(events)
	c.scale = newTimeScale(events, c.left+16, chartRight-chartTail)
	for _, process := range processesOf(events) {
		c.process(process)
	}
	c.broker()
	c.partitions()
	height := c.y + 10

	p.put("<section id=\"chart\" aria-labelledby=\"whole\">\n<h2 id=\"whole\">The whole story</h2>\n<div class=\"scroll\">\n")
	p.put("<svg viewBox=\"0 0 %.0f %.0f\" role=\"group\" aria-label=\"Timeline of %d events. Left and right arrow keys move from mark to mark.\" tabindex=\"0\">\n", chartWidth, height, len(events))
	p.put("<defs><pattern id=\"hatch\" width=\"6\" height=\"6\" patternUnits=\"userSpaceOnUse\" patternTransform=\"rotate(45)\"><rect class=\"hatch\" width=\"2\" height=\"6\"/></pattern></defs>\n")
	c.gaps(height)
	c.evidence(height)
	c.ticks(height)
	p.WriteString(c.body.String())
	p.put("<line id=\"hair\" class=\"hair\" y1=\"%.0f\" y2=\"%.0f\" x1=\"-9\" x2=\"-9\"/>\n</svg>\n</div>\n", headHeight-10, height)
	c.legend()
	p.put("</section>\n")
}

func (c *chart) x(t time.Duration) float64 {
	if t == forever {
		return chartRight
	}
	return c.scale.column(t)
}

// labelRoom is how far to the right the names of the lanes reach.
func labelRoom(events []Event) float64 {
	longest := 8
	for _, p := range processesOf(events) {
		longest = max(longest, utf8.RuneCountInString(p))
	}
	for _, o := range ownable(events) {
		longest = max(longest, utf8.RuneCountInString(o.TopicPartition.String()))
	}
	return 24 + 7.2*float64(min(longest, labelAtMost))
}

// gaps marks where time is compressed.
func (c *chart) gaps(height float64) {
	for _, g := range c.scale.gaps {
		c.put("<g class=\"gap\"><rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\"/>", g.from+4, headHeight-16, g.to-g.from-8, height-headHeight+16)
		c.put("<text x=\"%.1f\" y=\"%.1f\">%s pass</text></g>\n", (g.from+g.to)/2, headHeight-6, roughly(g.lasts))
	}
}

// ticks writes the times.
func (c *chart) ticks(height float64) {
	for _, t := range c.scale.ticks(74) {
		c.put("<g class=\"tick\"><line x1=\"%.1f\" x2=\"%.1f\" y1=\"%.1f\" y2=\"%.1f\"/><text x=\"%.1f\" y=\"%.1f\">%s</text></g>\n", t.at, t.at, headHeight-20, height, t.at, headHeight-26, t.text)
	}
}

// evidence draws a line with a number for each thing that the breach refers to.
func (c *chart) evidence(height float64) {
	var badges []badge
	for _, e := range c.events {
		if c.concern.seen[e.Seq] {
			badges = append(badges, badge{c.x(e.At), e.Seq, c.concern.last == e.Seq})
		}
	}
	x := -99.0
	for i, b := range badges {
		if i >= 12 && !b.last {
			continue // the table marks them all
		}
		class := "proof"
		if b.last {
			class = "proof last"
		}
		x = max(b.at, x+17)
		c.put("<g class=\"%s\"><line x1=\"%.1f\" x2=\"%.1f\" y1=\"18\" y2=\"%.1f\"/><a href=\"#e%d\" tabindex=\"-1\"><circle cx=\"%.1f\" cy=\"11\" r=\"8\"/><text x=\"%.1f\" y=\"14.5\">%d</text></a></g>\n", class, b.at, b.at, height, b.seq, x, x, i+1)
	}
}

// label names a lane.
func (c *chart) label(y float64, class, text string) {
	if r := []rune(text); len(r) > labelAtMost { // names mostly differ at their ends
		text = "…" + string(r[len(r)-labelAtMost+1:])
	}
	c.body.put("<text class=\"lane %s\" x=\"%.1f\" y=\"%.1f\">%s</text>\n", class, c.left-10, y, text)
}

func (c *chart) heading(text string) {
	c.body.put("<text class=\"heading\" x=\"0\" y=\"%.1f\">%s</text>\n", c.y+19, text)
	c.y += headingHeight
}

func (c *chart) rule() {
	c.body.put("<line class=\"rule\" x1=\"0\" x2=\"%.0f\" y1=\"%.1f\" y2=\"%.1f\"/>\n", chartRight, c.y, c.y)
}

// process draws one process: its life, its calls in as many levels as it works in parallel, and what happened to it.
func (c *chart) process(name string) {
	c.rule()
	class := c.colours.of(name)
	top := c.y + 8
	base := top + 9 // symbols sit above, calls below
	levels := 1
	calls := c.group(c.callMarks(name, base+6, &levels), 1.2)
	height := 8 + 9 + 6 + float64(levels)*levelHeight + 5
	for _, life := range lifeSpans(c.events, name) {
		state := "life"
		if life.isolated {
			state = "life isolated"
		}
		c.body.put("<rect class=\"%s %s\" x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"2\"/>\n", state, class, c.x(life.from), base, max(1, c.x(life.to)-c.x(life.from)))
	}
	c.label(base+4, class, name)
	c.draw(calls)
	c.draw(c.produced(base-3, func(e Event) bool { return e.Process == name }))
	c.draw(c.symbols(base+1, func(e Event) bool {
		return e.Process == name && laneOf(e) == name || e.Process == name && e.Kind == Refused
	}))
	c.y += height
}

// broker draws what the cluster and the story did.
func (c *chart) broker() {
	any := slices.ContainsFunc(c.events, func(e Event) bool { return e.Process == "" || e.Kind == Expired || e.Kind == Produced })
	if !any {
		return
	}
	c.rule()
	base := c.y + 18
	c.label(base+4, "", "broker")
	c.draw(c.produced(base-4, func(Event) bool { return true }))
	c.draw(c.symbols(base, func(e Event) bool { return e.Process == "" || e.Kind == Expired }))
	c.y += 36
}

// produced are the records that were acknowledged.
func (c *chart) produced(y float64, mine func(Event) bool) []chartMark {
	var marks []chartMark
	for _, e := range c.events {
		if e.Kind == Produced && mine(e) {
			marks = append(marks, c.mark(e, "produced "+c.colours.of(e.Process), c.x(e.At)-1.2, c.x(e.At)+1.2, y, 8))
		}
	}
	return c.group(marks, 0.6)
}

// partitions draws for each group who owned what, what was handled and how far it was committed.
func (c *chart) partitions() {
	spans := ownSpans(c.events)
	group, first := "", true
	for _, o := range ownable(c.events) {
		if first || o.group != group {
			group, first = o.group, false
			c.rule()
			if group == "" {
				c.heading("Partitions read without a group")
			} else {
				c.heading("Group " + group + ": who owns what")
			}
		}
		c.partition(o, spans)
	}
}

func (c *chart) partition(o owned, spans []ownSpan) {
	top := c.y
	c.body.put("<rect class=\"bed\" x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"22\"/>\n", c.left, top, chartRight-c.left)
	c.label(top+15, "", o.TopicPartition.String())
	for _, s := range spans {
		if s.owned != o {
			continue
		}
		c.used["own"] = true
		c.used["gone"] = c.used["gone"] || s.gone >= 0
		from, to := c.x(s.from), max(c.x(s.to), c.x(s.from)+1.5)
		e := c.events[s.seq]
		title := fmt.Sprintf("%s owns %s from %s to %s", s.process, o.TopicPartition, c.when(s.from), c.when(s.to))
		if s.gone >= 0 {
			title += ", but is cut off from " + c.when(s.gone)
		}
		c.body.put("<g class=\"own %s\"><g class=\"mark\" data-e=\"%d\" data-x=\"%.1f\"><title>%s</title><rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"22\" rx=\"2\"/>", c.colours.of(s.process), e.Seq, from, title, from, top, to-from)
		if s.gone >= 0 {
			c.body.put("<rect class=\"gone\" fill=\"url(#hatch)\" x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"22\"/>", c.x(s.gone), top, max(0, to-c.x(s.gone)))
		}
		c.body.put("</g><rect class=\"edge\" x=\"%.1f\" y=\"%.1f\" width=\"2\" height=\"22\"/>", from, top)
		if text := fitting(s.process, to-from-8); text != "" {
			c.body.put("<text x=\"%.1f\" y=\"%.1f\">%s</text>", from+6, top+10, text)
		}
		c.body.put("</g>\n")
	}
	var done, commits []chartMark
	for _, e := range c.events {
		if (owned{e.Group, e.TopicPartition()}) != o {
			continue
		}
		x := c.x(e.At)
		switch e.Kind {
		case Handled:
			done = append(done, c.mark(e, "handled "+c.colours.of(e.Process), x-1, x+1, top+12.5, 8))
		case Failed:
			done = append(done, c.mark(e, "failed", x-1.2, x+1.2, top+12.5, 8))
		case Committed:
			commits = append(commits, c.mark(e, "commit "+c.colours.of(e.Process), x-3.2, x+3.2, top+24, 5))
		}
	}
	c.draw(c.group(done, 0.6))
	grouped := c.group(commits, -3)
	c.draw(grouped)
	free := 0.0
	for i, m := range grouped {
		last := m.run[len(m.run)-1]
		text := fmt.Sprint(last.Offset)
		x := (m.x0 + m.x1) / 2
		width := float64(len(text)) * 6
		crowded := x-width/2 < free
		for _, other := range grouped[i+1:] { // what matters is written, what does not makes room
			crowded = crowded || !m.seen && other.seen && (other.x0+other.x1)/2-x < width+2
		}
		if crowded && !m.seen {
			continue
		}
		class := "at " + c.colours.of(last.Process)
		if m.seen {
			class += " seen"
		}
		c.body.put("<text class=\"%s\" x=\"%.1f\" y=\"%.1f\">%s</text>\n", class, x, top+40, text)
		free = x + width/2 + 4
	}
	if c.y += ownHeight; len(commits) == 0 {
		c.y -= ownHeight - ownBareHeight
	}
}

// fitting is a name cut to the room it has.
func fitting(name string, room float64) string {
	n := int(room / 6.2)
	if n < 2 || n < 3 && len(name) > n {
		return ""
	}
	return cut(name, n)
}

func (c *chart) when(t time.Duration) string {
	if t == forever {
		return "the end"
	}
	return clockTime(t, c.longest, c.decimals)
}

// legend explains the marks that were used.
func (c *chart) legend() {
	c.put("<ul class=\"legend\" aria-label=\"Legend\">\n")
	for _, l := range []struct{ class, drawing, text string }{
		{"call", `<rect class="call p0" x="1" y="5" width="20" height="7" rx="1.5"/>`, "a handler's call"},
		{"failed", `<rect class="call failed" x="1" y="5" width="20" height="7" rx="1.5"/>`, "it failed"},
		{"open", `<rect class="call open p0" x="1" y="5" width="20" height="7" rx="1.5"/>`, "it never ended"},
		{"own", `<g class="own p0"><rect x="0" y="1" width="22" height="15" rx="2"/><rect class="edge" x="0" y="1" width="2" height="15"/></g><rect class="handled p0" x="10" y="7" width="2" height="8"/><rect class="handled p0" x="15" y="7" width="2" height="8"/>`, "owner, and records handled"},
		{"gone", `<g class="own p0"><rect x="0" y="1" width="22" height="15" rx="2"/><rect class="gone" fill="url(#hatch)" x="8" y="1" width="14" height="15"/></g>`, "the owner is cut off"},
		{"commit", `<path class="commit p0" d="M11 1l4 6h-8z"/><text class="at p0" x="11" y="17">9</text>`, "committed at 9"},
		{"produced", `<rect class="produced" x="6" y="5" width="2.4" height="8"/><rect class="produced" x="12" y="5" width="2.4" height="8"/>`, "produced"},
	} {
		if c.used[l.class] {
			c.WriteString("<li><svg viewBox=\"0 0 22 18\" aria-hidden=\"true\">" + l.drawing + "</svg>")
			c.put("%s</li>\n", l.text)
		}
	}
	for _, s := range []string{"started", "stopping", "stopped", "crashed", "isolated", "healed", "joined", "left", "expired", "fenced", "refused", "fault", "called", "note"} {
		if c.used[s] {
			c.WriteString("<li><svg viewBox=\"0 0 22 18\" aria-hidden=\"true\">" + symbol(s, 11, 9) + "</svg>")
			c.put("%s</li>\n", strings.Replace(s, "called", "HTTP call", 1))
		}
	}
	c.put("</ul>\n")
}
