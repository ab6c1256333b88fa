package harness

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
)

// paper is a backend on which nothing runs: journals are written by hand.
type paper struct {
	backend
	late time.Duration
}

func (paper) unique(name string) string                                           { return name }
func (paper) createTopic(context.Context, string, int32, map[string]string) error { return nil }
func (p paper) exact() bool                                                       { return p.late == 0 }
func (p paper) slack() time.Duration                                              { return p.late }
func (paper) haste() time.Duration                                                { return 0 }

// A draft is a journal that is written by hand, in a line for each event:
//
//	1.5s a began 0/3 k-3     process a began offset 3 of partition 0 of orders
//	2s a committed 0 4 @7    the request left when there were 7 events; without @ just now
//	3s a owns 0 1            a was told that it owns partitions 0 and 1
//	4s - produced 0/5        nobody's event: the cluster's or the story's
//
// The topic is orders and the group bank, unless the line ends with in:<group>.
type draft struct {
	*World
	bank   *Group
	orders *Topic
	now    time.Duration
	calls  map[string]int
}

func newDraft(t *testing.T, b backend, partitions int32) *draft {
	w := newWorld(t, defaults(), b)
	t.Cleanup(w.cancel)
	d := &draft{World: w, calls: map[string]int{}}
	w.journal = newJournal(func() time.Duration { return d.now })
	d.orders, d.bank = w.Topic("orders", partitions), w.Group("bank")
	return d
}

// process is one that exists on paper alone.
func (d *draft) process(name string, alive bool) *Process {
	p := &Process{Name: name, w: d.World, done: make(chan struct{}), requests: map[Request]int{}, points: map[Point]int{}}
	if !alive {
		close(p.done)
	}
	d.World.mu.Lock()
	d.processes = append(d.processes, p)
	d.World.mu.Unlock()
	return p
}

func (d *draft) write(script string) *draft {
	for line := range strings.Lines(script) {
		if words := strings.Fields(line); len(words) > 0 {
			if err := d.line(words); err != nil {
				panic(fmt.Sprintf("%q: %v", line, err))
			}
		}
	}
	return d
}

func (d *draft) line(words []string) (err error) {
	if d.now, err = time.ParseDuration(words[0]); err != nil {
		return err
	}
	e := Event{Process: strings.TrimPrefix(words[1], "-"), Group: d.bank.Name}
	for k := Started; e.Kind == 0; k++ {
		if strings.Contains(k.String(), "(") {
			return fmt.Errorf("no kind %s", words[2])
		}
		if strings.ReplaceAll(k.String(), " ", "-") == words[2] {
			e.Kind = k
		}
	}
	args := words[3:]
	if n := len(args); n > 0 && strings.HasPrefix(args[n-1], "in:") {
		e.Group, args = strings.TrimPrefix(args[n-1], "in:"), args[:n-1]
	}
	switch e.Kind {
	case Produced, Began, Handled, Failed:
		fmt.Sscanf(args[0], "%d/%d", &e.Partition, &e.Offset)
		e.Topic, e.Key = d.orders.Name, fmt.Sprintf("k-%d", e.Offset)
		if len(args) > 1 {
			e.Key = args[1]
		}
		call := e.Process + args[0]
		switch e.Kind {
		case Produced:
			e.Group = ""
			d.orders.produced(e.Partition, e.Offset)
		case Began:
			d.World.calls++
			d.calls[call] = d.World.calls
			fallthrough
		default:
			e.Call = d.calls[call]
		}
	case Committed:
		fmt.Sscan(strings.Join(args, " "), &e.Partition, &e.Offset)
		e.Topic, e.Sent = d.orders.Name, d.journal.len()
		if len(args) > 2 {
			e.Sent, err = strconv.Atoi(strings.TrimPrefix(args[2], "@"))
		}
	case Assigned, Revoked:
		for _, a := range args {
			n, _ := strconv.Atoi(a)
			e.Partitions = append(e.Partitions, TopicPartition{d.orders.Name, int32(n)})
		}
	case Refused:
		e.Err = kerr.UnknownMemberID
	case Crashed, Stopped, Started, Stopping:
		e.Group = ""
	case Affected:
		e.Text, e.Key = args[0], args[1]
	}
	d.journal.add(e)
	return err
}

// A lane's heading must not depend on which group's event came last.
func TestAProcessOfSeveralGroupsHasNoneInItsHeading(t *testing.T) {
	joined := func(process, group string) Event { return Event{Kind: Joined, Process: process, Group: group} }
	events := []Event{joined("a", "triggers"), joined("b", "mails"), joined("a", "mails"), joined("a", "triggers")}

	for range events {
		events = append(events[1:], events[0])
		if got, want := headings([]string{"a", "b", ""}, events), []string{"a", "b (mails)", "broker"}; !slices.Equal(got, want) {
			t.Errorf("the headings are %q; they should be %q", got, want)
		}
	}
}
