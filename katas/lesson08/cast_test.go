package lesson08

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/kafka-katas/kafka-katas/harness"
	"github.com/kafka-katas/kafka-katas/ops"
)

func TestMain(m *testing.M) {
	slog.SetDefault(slog.New(slog.NewTextHandler(io.Discard, nil))) // what a service logs is not judged
	harness.Main(m)
}

// shop is the stage of a story: the topics, and the group that is called the desk.
type shop struct {
	w        *harness.World
	payments *harness.Topic
	retries  []*harness.Topic // retry topics; none unless the story opens them
	parked   *harness.Topic   // nil unless the story opens it
	dead     *harness.Topic
	desk     *harness.Group
}

// open sets the stage: payments with that many partitions, and dead letters with one.
func open(w *harness.World, partitions int32) *shop {
	return &shop{w: w, payments: w.Topic("payments", partitions), dead: w.Topic("payments-dlt", 1), desk: w.Group("desk")}
}

// withTiers opens n retry topics of one partition.
func (s *shop) withTiers(n int) *shop {
	for i := range n {
		s.retries = append(s.retries, s.w.Topic(fmt.Sprintf("payments-retry-%d", i+1), 1))
	}
	return s
}

// withParking opens the parking topic.
func (s *shop) withParking() *shop {
	s.parked = s.w.Topic("payments-parked", s.payments.Partitions())
	return s
}

// config is the default configuration on this stage, without jitter, changed as the story needs it.
func (s *shop) config(changes ...func(*Config)) Config {
	cfg := DefaultConfig()
	cfg.Group, cfg.Topics, cfg.DeadLetterTopic = s.desk.Name, []string{s.payments.Name}, s.dead.Name
	cfg.Retry.Jitter = 0
	if len(s.retries) > 0 {
		cfg.Mode, cfg.RetryTopics, cfg.RetryDelays = ModeTiers, nil, nil
		for i, t := range s.retries {
			cfg.RetryTopics = append(cfg.RetryTopics, t.Name)
			cfg.RetryDelays = append(cfg.RetryDelays, []time.Duration{10 * time.Second, 30 * time.Second}[i])
		}
	}
	if s.parked != nil {
		cfg.Mode, cfg.ParkingTopic = ModeOrdered, s.parked.Name
	}
	for _, change := range changes {
		change(&cfg)
	}
	return cfg
}

// topics are all that the desk consumes.
func (s *shop) topics() []*harness.Topic {
	all := append([]*harness.Topic{s.payments}, s.retries...)
	if s.parked != nil {
		all = append(all, s.parked)
	}
	return all
}

// drained claims that nothing is left to do.
//
//go:noinline
func (s *shop) drained() harness.Claim { return s.desk.Drained(s.topics()...) }

// member is one process of the desk, and the service that runs in it.
type member struct {
	*harness.Process
	*Service
}

// often keeps a fetch short. The client adds what was just assigned to its next fetch, and by default one lasts 5 s: too
// long for a story of seconds.
var often = kgo.FetchMaxWait(100 * time.Millisecond)

// start starts a member.
func (s *shop) start(name string, cfg Config, handle Handler, opts ...kgo.Opt) *member {
	m := &member{}
	m.Process = s.w.Start(name, func(p *harness.Process) (harness.Runner, error) {
		svc, err := New(cfg, p.Handler(handle), append(p.Options(), opts...)...)
		m.Service = svc
		if svc == nil {
			return nil, err
		}
		return svc, err
	})
	return m
}

// restart begins the next life of a member.
func (m *member) restart() *member {
	m.Process = m.Process.Restart()
	return m
}

// payment is one as it comes in.
func payment(id string) *kgo.Record {
	return &kgo.Record{Key: []byte(id), Value: []byte("pay " + id)}
}

// with is a record with one more header.
func with(r *kgo.Record, name, value string) *kgo.Record {
	c := *r
	c.Headers = append(r.Headers[:len(r.Headers):len(r.Headers)], kgo.RecordHeader{Key: name, Value: []byte(value)})
	return &c
}

// headerOf is the value of a header, and how often it is there.
func headerOf(r *kgo.Record, name string) (value string, n int) {
	for _, h := range r.Headers {
		if h.Key == name {
			value = string(h.Value)
			n++
		}
	}
	return value, n
}

// atOnce is a handler that is done at once.
func atOnce(context.Context, *kgo.Record) error { return nil }

// takes is a handler that works that long on each record, and gives up when it is told to.
//
//go:noinline
func takes(d time.Duration) Handler {
	return func(ctx context.Context, _ *kgo.Record) error {
		select {
		case <-time.After(d):
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// fails is a handler that fails with err for the first n attempts at each record of that key, at all members together.
//
//go:noinline
func fails(key string, n int, err error) Handler {
	var mu sync.Mutex
	return func(_ context.Context, r *kgo.Record) error {
		mu.Lock()
		defer mu.Unlock()
		if string(r.Key) != key || n == 0 {
			return nil
		}
		n--
		return err
	}
}

// always is more attempts than anybody makes.
const always = 1 << 30

// both is a handler that fails as the first of these that fails.
//
//go:noinline
func both(handlers ...Handler) Handler {
	return func(ctx context.Context, r *kgo.Record) error {
		for _, h := range handlers {
			if err := h(ctx, r); err != nil {
				return err
			}
		}
		return nil
	}
}

// first is when the first attempt at a key was made.
func (s *shop) first(key string) time.Duration {
	return s.w.Await("the first attempt at "+key, harness.Of(harness.Began), harness.Keyed(key)).At
}

// nothingGivenUp claims that there is no dead letter.
//
//go:noinline
func (s *shop) nothingGivenUp() harness.Claim {
	return func(w *harness.World) error {
		for _, r := range s.dead.Records() {
			if _, receipt := headerOf(r, HeaderReceipt); receipt > 0 {
				continue
			}
			class, _ := headerOf(r, HeaderErrorClass)
			text, _ := headerOf(r, HeaderErrorMessage)
			return harness.Shown(harness.Broke[harness.WronglyDeadLettered]("a dead letter is work for a person; what would have succeeded later is none",
				"payment %s was given up (%s: %s)", r.Key, class, text), last(w, 4, harness.Keyed(string(r.Key)))...)
		}
		return nil
	}
}

// settled claims that every payment came to an end: handled, or a dead letter.
//
//go:noinline
func (s *shop) settled() harness.Claim {
	return func(w *harness.World) error {
		done := map[string]bool{}
		for _, e := range w.Journal().Events(harness.Of(harness.Handled)) {
			done[e.Key] = true
		}
		for _, r := range s.dead.Records() {
			done[string(r.Key)] = true
		}
		for _, r := range s.payments.Records() {
			if !done[string(r.Key)] {
				return harness.Shown(harness.Broke[harness.Lost]("every record ends in one of two places: handled, or a dead letter that somebody looks at",
					"payment %s was neither handled nor given up", r.Key), last(w, 6, harness.Keyed(string(r.Key)))...)
			}
		}
		return nil
	}
}

// safe claims that no offset was committed past a record that was not settled when the commit left: handled, or its copy
// acknowledged in the topic where it goes on.
//
//go:noinline
func (s *shop) safe() harness.Claim {
	return func(w *harness.World) error {
		type place struct {
			topic     string
			partition int32
			offset    int64
		}
		settled := map[place]int{} // since which event
		note := func(at place, seq int) {
			if had, ok := settled[at]; !ok || seq < had {
				settled[at] = seq
			}
		}
		produced := map[place]int{}
		for _, e := range w.Journal().Events(harness.Of(harness.Produced, harness.Handled)) {
			at := place{e.Topic, e.Partition, e.Offset}
			if e.Kind == harness.Handled {
				note(at, e.Seq)
			} else if _, ok := produced[at]; !ok {
				produced[at] = e.Seq
			}
		}
		// A copy settles every earlier place of the record: its origin, and the retry topics before.
		copies := map[place][]place{}
		for _, t := range append(s.topics()[1:], s.dead) {
			for _, r := range t.Records() {
				topic, ok := headerOf(r, HeaderOriginTopic)
				p, _ := headerOf(r, HeaderOriginPartition)
				o, _ := headerOf(r, HeaderOriginOffset)
				partition, _ := strconv.Atoi(p)
				offset, err := strconv.ParseInt(o, 10, 64)
				if ok == 0 || err != nil {
					continue
				}
				from, at := place{topic, int32(partition), offset}, place{r.Topic, r.Partition, r.Offset}
				if seq, ok := produced[at]; ok {
					for _, before := range append(copies[from], from) {
						note(before, seq)
					}
				}
				copies[from] = append(copies[from], at)
			}
		}
		from := map[harness.TopicPartition]int64{}
		for _, e := range w.Journal().Events(harness.Of(harness.Committed)) {
			tp := e.TopicPartition()
			if e.Group != s.desk.Name || e.Offset <= from[tp] && from[tp] == 0 {
				continue
			}
			if e.Offset < from[tp] {
				return harness.Shown(harness.Broke[harness.Rewound]("the broker accepts it without an error, and whoever owns the partition next handles those records again",
					"the committed offset of %v went back from %d to %d", tp, from[tp], e.Offset), e)
			}
			for o := from[tp]; o < e.Offset; o++ {
				if seq, ok := settled[place{tp.Topic, tp.Partition, o}]; ok && seq < e.Sent || !s.holds(tp, o) {
					continue
				}
				return harness.Shown(harness.Broke[harness.CommittedTooEarly]("a crash now loses that record: it is neither handled nor written down anywhere else",
					"%s committed %v up to offset %d when offset %d was neither handled nor acknowledged elsewhere", e.Process, tp, e.Offset, o), e)
			}
			from[tp] = e.Offset
		}
		return nil
	}
}

// holds says whether there is a record at an offset; the end of a transaction takes one as well.
func (s *shop) holds(tp harness.TopicPartition, offset int64) bool {
	for _, t := range s.topics() {
		if t.Name != tp.Topic {
			continue
		}
		for _, r := range t.Records() {
			if r.Partition == tp.Partition && r.Offset == offset {
				return true
			}
		}
	}
	return false
}

// keyOrder claims that a record of a key was begun only when the one before it was over, and that nobody went back except
// to a duplicate of what was over.
//
//go:noinline
func (s *shop) keyOrder() harness.Claim {
	type place struct {
		topic     string
		partition int32
		offset    int64
	}
	return func(w *harness.World) error {
		want := map[string][]string{} // by key
		index := map[string]int{}     // of a value in that
		for _, r := range s.payments.Records() {
			index[string(r.Value)] = len(want[string(r.Key)])
			want[string(r.Key)] = append(want[string(r.Key)], string(r.Value))
		}
		values := map[place]string{}
		for _, t := range append(s.topics(), s.dead) {
			for _, r := range t.Records() {
				values[place{r.Topic, r.Partition, r.Offset}] = string(r.Value)
			}
		}
		over := map[string]bool{} // the values that nobody has to try again
		begun := map[string]int{} // how many different values of a key have been begun
		for _, e := range w.Journal().Events(harness.Of(harness.Began, harness.Handled, harness.Failed, harness.Produced)) {
			value := values[place{e.Topic, e.Partition, e.Offset}]
			switch e.Kind {
			case harness.Handled:
				over[value] = true
			case harness.Produced:
				over[value] = over[value] || e.Topic == s.dead.Name
			case harness.Failed:
				over[value] = over[value] || errors.Is(e.Err, ErrDeclined)
			case harness.Began:
				i, n := index[value], begun[e.Key]
				ahead := i > n || i == n && n > 0 && !over[want[e.Key][n-1]]
				back := i < n-1 && !over[value]
				if ahead || back {
					return harness.Shown(harness.Broke[harness.Reordered]("a refund that overtakes its payment is refused; the order of a key is what the key is for",
						"%s began %q of key %s at %v, out of its order %q", e.Process, value, e.Key, e.At, want[e.Key]), last(w, 6, harness.Keyed(e.Key))...)
				}
				begun[e.Key] = max(n, i+1)
			}
		}
		return nil
	}
}

// last are the last n events that match.
func last(w *harness.World, n int, filters ...func(harness.Event) bool) []harness.Event {
	events := w.Journal().Events(filters...)
	return events[max(0, len(events)-n):]
}

// reported claims that what a member reports is true, and shows what it did lately if it is not.
//
//go:noinline
func (m *member) reported(check func() error) harness.Claim {
	return func(w *harness.World) error {
		return harness.Shown(harness.Reported(check)(w), last(w, 6, harness.By(m.Name))...)
	}
}

// accounts claims exact totals, and that they add up. Redeliveries are not looked at.
//
//go:noinline
func (m *member) accounts(want ops.Counts) harness.Claim {
	return m.reported(func() error {
		got := m.Stats().Totals
		if n := got.Unaccounted(); n != 0 {
			return fmt.Errorf("%s received %d records and its other columns add up to %d: %+v", m.Name, got.Received, got.Received-n, got)
		}
		if got.Redelivered = want.Redelivered; got != want {
			return fmt.Errorf("%s reports %+v; it should be %+v", m.Name, got, want)
		}
		return nil
	})
}

// ended claims what became of the records of a member that has stopped; how many more it had received is its own affair.
//
//go:noinline
func (m *member) ended(want ops.Counts) harness.Claim {
	return m.reported(func() error {
		got := m.Stats().Totals
		if n := got.Unaccounted(); n != 0 || got.InFlight != 0 {
			return fmt.Errorf("%s has stopped, with %d records in flight and %d unaccounted for: %+v", m.Name, got.InFlight, n, got)
		}
		if got.Received, got.Redelivered, got.Released = 0, 0, 0; got != want {
			return fmt.Errorf("%s reports, beside what it received and released, %+v; it should be %+v", m.Name, got, want)
		}
		return nil
	})
}

// ready claims what a member's health says of readiness; it must be live in any case.
//
//go:noinline
func (m *member) ready(want bool) harness.Claim {
	return func(w *harness.World) error {
		return m.reported(func() error {
			h := m.Health()
			if h.Live && h.Ready == want {
				return nil
			}
			cause := h.Cause()
			if cause == "" {
				cause = "no check fails"
			}
			return fmt.Errorf("at %v %s says live=%t and ready=%t (%s); it should be live=true and ready=%t", w.Now(), m.Name, h.Live, h.Ready, cause, want)
		})(w)
	}
}

// handled claims how often records of a key were handled to their end.
//
//go:noinline
func handled(w *harness.World, key string, want int) harness.Claim {
	return func(*harness.World) error {
		events := w.Journal().Events(harness.Of(harness.Handled), harness.Keyed(key))
		switch {
		case len(events) < want:
			return harness.Broke[harness.Lost]("what was redriven is to be handled", "records of %s were handled %d times; it should be %d", key, len(events), want)
		case len(events) > want:
			return harness.Shown(harness.Broke[harness.Duplicated]("a payment that is redriven twice is charged twice", "records of %s were handled %d times; it should be %d",
				key, len(events), want), events...)
		}
		return nil
	}
}
