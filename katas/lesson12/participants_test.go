package lesson12

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/kafka-katas/kafka-katas/harness"
)

// participants are those who do the steps: warehouse, payment, carrier. They do each task once, whatever the number of
// times that they are asked, and what they have done outlives everything.
type participants struct {
	s       *stage
	effects *harness.Effects
	mu      sync.Mutex
	script  map[string][]conduct // by task: for each attempt that is asked for; then it is done at once
	known   map[string]conduct   // by task and attempt: a repeat is the same to them
	done    map[string]bool
	asked   []Task
	at      []time.Duration
}

// conduct is what a participant does with a task.
type conduct struct {
	fails  bool
	silent bool // does it, if it does not fail, and does not reply
	after  time.Duration
	twice  bool // replies twice
}

func (s *stage) participants() *participants {
	ps := &participants{s: s, effects: s.Effects("task"), script: map[string][]conduct{}, known: map[string]conduct{}, done: map[string]bool{}}
	s.Start("participants", func(p *harness.Process) (harness.Runner, error) {
		client, err := kgo.NewClient(append(p.Options(), kgo.ConsumeTopics(s.tasks.Name), kgo.ProducerLinger(0),
			kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.ProducerBatchCompression(kgo.NoCompression()))...)
		if err != nil {
			return nil, err
		}
		return harness.RunFunc(func(ctx context.Context) error {
			var busy sync.WaitGroup
			for ctx.Err() == nil {
				client.PollFetches(ctx).EachRecord(func(r *kgo.Record) {
					var task Task
					json.Unmarshal(r.Value, &task) //nolint:errcheck // claims judge what was asked
					do := ps.conduct(task)
					busy.Go(func() { ps.play(ctx, p, client, task, do) })
				})
			}
			busy.Wait()
			client.Close()
			return nil
		}), nil
	})
	return ps
}

// on scripts what becomes of a task.
func (ps *participants) on(task string, parts ...conduct) *participants {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	ps.script[task] = append(ps.script[task], parts...)
	return ps
}

func (ps *participants) conduct(task Task) (do conduct) {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	ps.asked, ps.at = append(ps.asked, task), append(ps.at, ps.s.Now())
	attempt := fmt.Sprint(task.Task, " ", task.Attempt)
	do, again := ps.known[attempt]
	if parts := ps.script[task.Task]; !again && len(parts) > 0 {
		do, ps.script[task.Task] = parts[0], parts[1:]
	}
	ps.known[attempt] = do
	return do
}

func (ps *participants) play(ctx context.Context, p *harness.Process, client *kgo.Client, task Task, do conduct) {
	select {
	case <-time.After(do.after):
	case <-ctx.Done():
		return
	}
	ps.mu.Lock()
	first := !do.fails && !ps.done[task.Task]
	if first {
		ps.done[task.Task] = true
	}
	ps.mu.Unlock()
	if first {
		ps.effects.Do(p, task.Task, nil) //nolint:errcheck // nobody refuses it
	}
	if do.silent {
		return
	}
	reply := OrderMessage{Type: "reply", Order: task.Order, Task: task.Task, Attempt: task.Attempt, Status: "done"}
	if do.fails {
		reply.Status, reply.Reason = "failed", "out of luck"
	}
	n := 1
	if do.twice {
		n = 2
	}
	for range n {
		r := asJSON(task.Order, reply)
		r.Topic = ps.s.orders.Name
		client.ProduceSync(ctx, r)
	}
}

// times are when a task was asked for.
func (ps *participants) times(task string) func() []harness.Event {
	return func() (out []harness.Event) {
		ps.mu.Lock()
		defer ps.mu.Unlock()
		for i, t := range ps.asked {
			if t.Task == task {
				out = append(out, harness.Event{Seq: -1, At: ps.at[i], Kind: harness.Noted, Text: "asked for " + task})
			}
		}
		return out
	}
}

// askedFor claims which tasks were asked for, in this order, repeats of the same attempt aside.
//
//go:noinline
func (ps *participants) askedFor(order string, want ...string) harness.Claim {
	return func(*harness.World) error {
		ps.mu.Lock()
		defer ps.mu.Unlock()
		var got []string
		type attempt struct {
			task string
			n    int
		}
		seen := map[attempt]bool{}
		for _, t := range ps.asked {
			if t.Order == order && !seen[attempt{t.Task, t.Attempt}] {
				seen[attempt{t.Task, t.Attempt}] = true
				got = append(got, t.Task)
			}
		}
		diff := cmp.Diff(want, got)
		sorted := func(list []string) []string { return slices.Sorted(slices.Values(list)) }
		switch {
		case diff == "":
			return nil
		case slices.Equal(sorted(got), sorted(want)):
			return harness.Broke[harness.Reordered]("a step must not be undone before what was built on it", "the tasks of order %s were asked for in another order (- should be, + is): %s", order, diff)
		case len(got) > len(want):
			return harness.Broke[harness.Duplicated]("somebody is asked to do what must not be done, or not again", "for order %s too many tasks were asked for (- should be, + is): %s", order, diff)
		case len(got) < len(want):
			return harness.Broke[harness.Lost]("nobody does what nobody asks for", "for order %s a task was never asked for (- should be, + is): %s", order, diff)
		}
		return harness.Broke[harness.Misrouted]("somebody is asked to do the wrong thing", "for order %s other tasks were asked for (- should be, + is): %s", order, diff)
	}
}

// placed is a new order.
func placed(id string) *kgo.Record {
	return asJSON(id, OrderMessage{Type: "placed", Order: id, Details: json.RawMessage(`{"sku":"book"}`)})
}

// ended claims how orders ended: what the outcomes say, each told once if the story is exact about it.
//
//go:noinline
func (s *stage) ended(once bool, want map[string]string) harness.Claim {
	return func(*harness.World) error {
		got, times := map[string]string{}, map[string]int{}
		records, outcomes := both[Outcome](s.outcomes)
		for i, o := range outcomes {
			if string(records[i].Key) != o.Order {
				return harness.Broke[harness.Misrouted]("outcomes are read as a table", "the outcome of %s has the key %q", o.Order, records[i].Key)
			}
			got[o.Order] = o.Status
			times[o.Order+" "+o.Status]++
		}
		for id, status := range want {
			switch {
			case got[id] == "":
				return harness.Broke[harness.Lost]("a customer waits for the outcome", "nobody was told how %s ended; it should be %s", id, status)
			case got[id] != status:
				return harness.Broke[harness.Misrouted]("the customer hears what is not so", "%s ended as %s; it should be %s", id, got[id], status)
			}
		}
		if len(got) > len(want) {
			return harness.Broke[harness.Duplicated]("the customer hears what is not so", "there are outcomes of orders that have not ended: %v", got)
		}
		for what, n := range times {
			if once && n > 1 {
				return harness.Broke[harness.Duplicated]("the customer gets two mails", "%s was told %d times", what, n)
			}
		}
		return nil
	}
}

func (ps *participants) first(task string) time.Duration {
	if times := ps.times(task)(); len(times) > 0 {
		return times[0].At
	}
	return 0
}
