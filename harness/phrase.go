package harness

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
)

// A phrasebook turns events into the words of timelines. It leaves the topic out while there is only one.
type phrasebook struct {
	topics bool                  // name topics
	began  map[int]time.Duration // when each call began
	ended  map[int]bool          // which calls have ended
}

func newPhrasebook(events []Event) *phrasebook {
	p := &phrasebook{began: map[int]time.Duration{}, ended: map[int]bool{}}
	for _, e := range events {
		switch e.Kind {
		case Began:
			p.began[e.Call] = e.At
		case Handled, Failed:
			p.ended[e.Call] = true
		}
	}
	return p
}

// nameTopics decides, from the events that are to be shown together, whether topics must be named.
func (p *phrasebook) nameTopics(events []Event) {
	first := ""
	see := func(topic string) {
		if first == "" {
			first = topic
		}
		p.topics = p.topics || topic != "" && topic != first
	}
	for _, e := range events {
		see(e.Topic)
		for _, tp := range e.Partitions {
			see(tp.Topic)
		}
	}
}

// open tells whether e began a call that never ended.
func (p *phrasebook) open(e Event) bool { return e.Kind == Began && !p.ended[e.Call] }

// say is the text of one event, or of a run of events that differ in their offsets alone.
func (p *phrasebook) say(run ...Event) string {
	e, more := run[0], len(run)-1
	switch e.Kind {
	case Began:
		if p.open(e) {
			return "began " + p.records(run) + ", no end"
		}
		return "began " + p.records(run)
	case Handled:
		if took := p.took(e); more == 0 && took > 0 {
			return "handled " + p.records(run) + " after " + lasting(took)
		}
		return "handled " + p.records(run)
	case Failed:
		return "failed " + p.records(run) + because(e.Err)
	case Produced:
		if more == 0 && e.Key != "" {
			return "produced " + p.records(run) + " (" + cut(e.Key, 24) + ")"
		}
		return "produced " + p.records(run)
	case Committed:
		at := strconv.FormatInt(e.Offset, 10)
		switch partitions := partitionsOf(run); {
		case len(partitions) > 1:
			return "committed " + p.partitions(partitions) + andMore(more)
		case more > 0:
			at = fmt.Sprintf("%d … %d", e.Offset, run[more].Offset)
		}
		return "committed " + p.partition(e.TopicPartition()) + " at " + at
	case Assigned:
		if len(e.Partitions) == 0 {
			return "owns nothing"
		}
		return "owns " + p.partitions(e.Partitions)
	case Revoked:
		if len(e.Partitions) == 0 {
			return "gave up nothing"
		}
		return "gave up " + p.partitions(e.Partitions)
	case Expired:
		return "session of " + e.Process + " expired"
	case Refused:
		who := ""
		if e.Process != "" {
			who = " of " + e.Process
		}
		return "refused " + e.Text + who + because(e.Err) + andMore(more)
	case Fenced, Stopped:
		return e.Kind.String() + because(e.Err) + andMore(more)
	case Crashed:
		return strings.TrimRight("crashed "+oneLine(e.Text), " ")
	case Disturbed:
		if e.Process != "" {
			return "fault: " + oneLine(e.Text) + andMore(more)
		}
		return oneLine(e.Text) + andMore(more)
	case Affected:
		if more > 0 {
			return fmt.Sprintf("%s: %s … %s", oneLine(e.Text), cut(e.Key, 24), cut(run[more].Key, 24))
		}
		return oneLine(e.Text) + ": " + cut(e.Key, 24)
	case Called:
		return oneLine(e.Text) + because(e.Err) + andMore(more)
	case Noted:
		return oneLine(e.Text) + andMore(more)
	}
	return e.Kind.String() + andMore(more)
}

// took is how long the call that e ends was under way.
func (p *phrasebook) took(e Event) time.Duration {
	if at, ok := p.began[e.Call]; ok && e.Call != 0 {
		return e.At - at
	}
	return 0
}

// records is "0/5", "0/5-9", "0/5 … 41 more" for offsets that do not follow each other, or "27 of 0-2" for several partitions.
func (p *phrasebook) records(run []Event) string {
	first, last := run[0], run[len(run)-1]
	if partitions := partitionsOf(run); len(partitions) > 1 {
		return fmt.Sprintf("%s of %s", thousands(len(run)), p.partitions(partitions))
	}
	name := p.partition(first.TopicPartition())
	if len(run) == 1 {
		return fmt.Sprintf("%s/%d", name, first.Offset)
	}
	for i, e := range run {
		if e.Offset != first.Offset+int64(i) {
			return fmt.Sprintf("%s/%d … %d more", name, first.Offset, len(run)-1)
		}
	}
	return fmt.Sprintf("%s/%d-%d", name, first.Offset, last.Offset)
}

// partitionsOf are the partitions that a run is about, sorted.
func partitionsOf(run []Event) []TopicPartition {
	var out []TopicPartition
	for _, e := range run {
		if tp := e.TopicPartition(); !slices.Contains(out, tp) {
			out = append(out, tp)
		}
	}
	slices.SortFunc(out, func(a, b TopicPartition) int {
		return cmp.Or(strings.Compare(a.Topic, b.Topic), cmp.Compare(a.Partition, b.Partition))
	})
	return out
}

func (p *phrasebook) partition(tp TopicPartition) string {
	if p.topics {
		return tp.String()
	}
	return strconv.Itoa(int(tp.Partition))
}

// partitions is "0-2 5", or "orders/0-2 5, stock/1" when topics are named.
func (p *phrasebook) partitions(tps []TopicPartition) string {
	var b strings.Builder
	for i := 0; i < len(tps); {
		end := i + 1
		for end < len(tps) && tps[end].Topic == tps[i].Topic && tps[end].Partition == tps[end-1].Partition+1 {
			end++
		}
		switch {
		case i > 0 && tps[i].Topic == tps[i-1].Topic:
			b.WriteString(" ")
		case i > 0:
			b.WriteString(", ")
		}
		if p.topics && (i == 0 || tps[i].Topic != tps[i-1].Topic) {
			b.WriteString(tps[i].Topic + "/")
		}
		switch first, last := tps[i].Partition, tps[end-1].Partition; {
		case end-i == 1:
			fmt.Fprintf(&b, "%d", first)
		case end-i == 2:
			fmt.Fprintf(&b, "%d %d", first, last)
		default:
			fmt.Fprintf(&b, "%d-%d", first, last)
		}
		i = end
	}
	return b.String()
}

// because is the cause, after a colon. Of Kafka's errors the name is enough.
func because(err error) string {
	if err == nil {
		return ""
	}
	if kafka, ok := err.(*kerr.Error); ok {
		return ": " + kafka.Message
	}
	return ": " + oneLine(err.Error())
}

func andMore(more int) string {
	if more == 0 {
		return ""
	}
	return fmt.Sprintf(" … %s more", thousands(more))
}

// thousands is "2,000".
func thousands(n int) string {
	s := strconv.Itoa(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
