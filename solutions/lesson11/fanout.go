package lesson11

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/kafka-katas/kafka-katas/ops"
	"github.com/kafka-katas/kafka-katas/ops/meter"
)

// entry is what the log says of a notification, a digest or a fan-out.
type entry struct {
	State     state     `json:"state"`
	Due       time.Time `json:"due,omitzero"`    // deferred, collected
	Task      *Task     `json:"task,omitempty"`  // deferred, collected; of a sealed digest its first
	Topic     string    `json:"topic,omitempty"` // whose owner has to see to it
	Partition int32     `json:"partition,omitempty"`
	Place     int64     `json:"place,omitempty"`   // the offset of the task
	Members   []string  `json:"members,omitempty"` // sealed
	Tasks     []Task    `json:"tasks,omitempty"`   // sealed, in the order of Members
	After     string    `json:"after,omitempty"`   // paged: the last user that has a task

	at     time.Time
	offset int64
}

type state string

const (
	sent      state = "sent"
	refused   state = "refused"
	dropped   state = "dropped"   // it was parked, and was not to be sent any more
	deferred  state = "deferred"  // until the user's quiet hours are over
	collected state = "collected" // it waits in a digest
	sealed    state = "sealed"    // a digest with these members may have been sent
	paged     state = "paged"     // tasks of an audience are written up to a user
	planned   state = "planned"   // all of them are
)

// final entries are there to recognise what comes again, and need not be kept for ever.
func (e entry) final() bool {
	return slices.Contains([]state{sent, refused, dropped, planned}, e.State)
}

// tables are the compacted topics, in memory, and the producer of everything.
type tables struct {
	s      *Service
	client *kgo.Client
	base   context.Context
	cut    func()
	read   sync.WaitGroup

	looking chan struct{} // one look at a time

	mu      sync.Mutex
	coming  *look                   // has not begun: it will see whatever is there now
	users   map[string]*Preferences // nil value: something that is not preferences
	log     map[string]entry
	aged    []aged // the log's entries by age
	status  map[string]heard
	grown   []aged // the statuses by age
	next    map[partitionID]int64
	changed chan struct{} // closed when next has advanced
	broken  map[partitionID]error
}

type aged struct {
	key string
	at  time.Time
}

type heard struct {
	Receipt
	at time.Time
}

func (s *Service) openTables(base context.Context) (*tables, error) {
	client, err := kgo.NewClient(s.producing()...)
	if err != nil {
		return nil, fmt.Errorf("client: %w", err)
	}
	base, cut := context.WithCancel(base)
	t := &tables{
		s: s, client: client, base: base, cut: cut, looking: make(chan struct{}, 1), users: map[string]*Preferences{}, log: map[string]entry{}, status: map[string]heard{},
		next: map[partitionID]int64{}, changed: make(chan struct{}), broken: map[partitionID]error{},
	}
	t.read.Go(func() {
		for {
			fetches := client.PollFetches(base)
			if fetches.IsClientClosed() || base.Err() != nil {
				return
			}
			t.apply(fetches)
			if fetches.Empty() { // an error: the client asks again at once, as long as it stands
				pause(base, 250*time.Millisecond)
			}
		}
	})
	return t, nil
}

func (t *tables) close() {
	t.cut()
	t.client.Close()
	t.read.Wait()
}

func (t *tables) apply(fetches kgo.Fetches) {
	decoded := map[*kgo.Record]*Preferences{} // before the lock is taken: a time zone may have to be read from disk
	fetches.EachRecord(func(r *kgo.Record) {
		if r.Topic != t.s.cfg.Topics.Preferences {
			return
		}
		prefs := &Preferences{}
		if json.Unmarshal(r.Value, prefs) != nil {
			prefs = nil // what cannot be read is no consent
		} else {
			_, _ = zoneOf(prefs.Zone)
		}
		decoded[r] = prefs
	})
	t.mu.Lock()
	defer t.mu.Unlock()
	fetches.EachPartition(func(f kgo.FetchTopicPartition) {
		delete(t.broken, partitionID{f.Topic, f.Partition})
	})
	fetches.EachError(func(topic string, partition int32, err error) {
		slog.Warn("a table cannot be read", "topic", topic, "partition", partition, "error", err)
		t.broken[partitionID{topic, partition}] = fmt.Errorf("%s/%d cannot be read: %w", topic, partition, err)
	})
	var standing error
	for _, err := range t.broken {
		standing = err
	}
	t.s.meter.Check("tables_read", ops.Readiness, standing)
	fetches.EachRecord(func(r *kgo.Record) {
		t.next[partitionID{r.Topic, r.Partition}] = r.Offset + 1
		if r.Attrs.IsControl() {
			return
		}
		switch key := string(r.Key); r.Topic {
		case t.s.cfg.Topics.Preferences:
			prefs := decoded[r]
			if r.Value == nil {
				delete(t.users, key)
				break
			}
			t.users[key] = prefs
		case t.s.cfg.Topics.Log:
			t.note(r)
		case t.s.cfg.Topics.Status:
			t.advance(r)
		}
	})
	close(t.changed)
	t.changed = make(chan struct{})
}

// note takes an entry of the log in, unless a newer one of its key is known: what this process wrote it knows at once.
func (t *tables) note(r *kgo.Record) {
	key := string(r.Key)
	var e entry
	if old, ok := t.log[key]; ok && old.offset >= r.Offset || json.Unmarshal(r.Value, &e) != nil {
		return
	}
	e.at, e.offset = r.Timestamp, r.Offset
	t.log[key] = e
	t.aged = append(t.aged, aged{key, e.at})
	for len(t.aged) > 0 && time.Since(t.aged[0].at) > t.s.cfg.DedupWindow {
		old := t.aged[0]
		t.aged = t.aged[1:]
		if e := t.log[old.key]; e.final() && !e.at.After(old.at) {
			delete(t.log, old.key)
		}
	}
}

// rank is the order in which a message's status may change. A message that was read was delivered, whatever bounced.
var rank = map[string]int{"accepted": 1, "bounced": 2, "delivered": 3, "read": 4}

func (t *tables) advance(r *kgo.Record) {
	var receipt Receipt
	key := string(r.Key)
	if json.Unmarshal(r.Value, &receipt) == nil && rank[receipt.Status] > rank[t.status[key].Status] {
		t.status[key] = heard{receipt, r.Timestamp}
		t.grown = append(t.grown, aged{key, r.Timestamp})
	}
	for len(t.grown) > 0 && time.Since(t.grown[0].at) > t.s.cfg.DedupWindow {
		old := t.grown[0]
		t.grown = t.grown[1:]
		if !t.status[old.key].at.After(old.at) {
			delete(t.status, old.key)
		}
	}
}

// look is one look at where the topics end, shared by all who asked before it began.
type look struct {
	done chan struct{}
	ends kadm.ListedOffsets
	err  error // the service ends
}

// catchUp waits until the tables hold everything that is in their topics now.
func (t *tables) catchUp(ctx context.Context) error {
	t.mu.Lock()
	l := t.coming
	if l == nil {
		l = &look{done: make(chan struct{})}
		t.coming = l
		t.read.Go(func() { t.look(l) })
	}
	t.mu.Unlock()
	select {
	case <-l.done:
	case <-ctx.Done():
		return ctx.Err()
	}
	if l.err != nil {
		return l.err
	}
	return t.reach(ctx, l.ends)
}

// look asks until it is told.
func (t *tables) look(l *look) {
	defer close(l.done)
	t.looking <- struct{}{}
	defer func() { <-t.looking }()
	t.mu.Lock()
	t.coming = nil
	t.mu.Unlock()
	topics := []string{t.s.cfg.Topics.Preferences, t.s.cfg.Topics.Log, t.s.cfg.Topics.Status}
	for {
		var err error
		l.ends, err = kadm.NewClient(t.client).ListCommittedOffsets(t.base, topics...)
		if err == nil {
			err = l.ends.Error()
		}
		if err == nil && t.behind(l.ends) {
			err = t.skipEmpty(t.base, topics)
		}
		t.s.meter.Check("tables", ops.Readiness, err)
		if err == nil {
			return
		}
		if !pause(t.base, time.Second) {
			l.err = t.base.Err()
			return
		}
	}
}

// skipEmpty notes where the topics begin. Retention may have emptied one: there is no record that leads to its end.
func (t *tables) skipEmpty(ctx context.Context, topics []string) error {
	starts, err := kadm.NewClient(t.client).ListStartOffsets(ctx, topics...)
	if err == nil {
		err = starts.Error()
	}
	if err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	starts.Each(func(o kadm.ListedOffset) {
		id := partitionID{o.Topic, o.Partition}
		t.next[id] = max(t.next[id], o.Offset)
	})
	return nil
}

func (t *tables) behind(ends kadm.ListedOffsets) (behind bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	ends.Each(func(o kadm.ListedOffset) {
		behind = behind || t.next[partitionID{o.Topic, o.Partition}] < o.Offset
	})
	return behind
}

func (t *tables) reach(ctx context.Context, ends kadm.ListedOffsets) error {
	for {
		t.mu.Lock()
		changed := t.changed
		t.mu.Unlock()
		if !t.behind(ends) {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (t *tables) entry(key string) (entry, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	e, ok := t.log[key]
	return e, ok
}

// owing are the entries whose owner has something to do for a partition.
func (t *tables) owing(p *part) map[string]entry {
	t.mu.Lock()
	defer t.mu.Unlock()
	found := map[string]entry{}
	for key, e := range t.log {
		if !e.final() && e.Topic == p.topic && e.Partition == p.number {
			found[key] = e
		}
	}
	return found
}

// put writes an entry. When it returns nil, the entry survives this process.
func (t *tables) put(ctx context.Context, key string, e entry) error {
	value, err := json.Marshal(e)
	if err != nil {
		return err
	}
	r := &kgo.Record{Topic: t.s.cfg.Topics.Log, Key: []byte(key), Value: value}
	if err := t.produce(ctx, r); err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.note(r)
	return nil
}

// produce writes records and waits until all are acknowledged, or it is known that one is not and none is on its way any
// more: a record belongs to the client until its promise is kept. When ctx ends before, nobody knows: the client would not
// take back what is on its way, so it is not asked to.
func (t *tables) produce(ctx context.Context, records ...*kgo.Record) error {
	acknowledged := make(chan error, len(records))
	for _, r := range records {
		t.client.Produce(context.WithoutCancel(ctx), r, func(_ *kgo.Record, err error) { acknowledged <- err })
	}
	var failed error
	for range records {
		select {
		case err := <-acknowledged:
			failed = cmp.Or(failed, err)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if len(records) > 0 {
		t.s.meter.Check("writes", ops.Readiness, failed)
	}
	return failed
}

// bury writes a dead letter: the record as it came, and why. It is acknowledged when bury returns nil.
func (t *tables) bury(ctx context.Context, it *item, cause error) error {
	r := it.subject()
	t.s.meter.Waiting(r, time.Now().Add(patience))
	letter := &kgo.Record{Topic: t.s.cfg.Topics.DeadLetters, Key: r.Key, Value: r.Value, Headers: append(slices.Clone(r.Headers),
		kgo.RecordHeader{Key: "dlt.error", Value: []byte(cause.Error())},
		kgo.RecordHeader{Key: "dlt.origin", Value: fmt.Appendf(nil, "%s/%d/%d", r.Topic, r.Partition, r.Offset)})}
	if it.record == nil {
		value, err := json.Marshal(it.task)
		if err != nil {
			return err
		}
		letter.Key, letter.Value = []byte(it.task.User), value
	}
	return t.produce(ctx, letter)
}

// insist does something with Kafka again until it succeeds or ctx ends.
func (s *Service) insist(ctx context.Context, do func() error) bool {
	for {
		err := do()
		if err == nil {
			return true
		}
		slog.Warn("trying again", "group", s.cfg.Group, "error", err)
		if !pause(ctx, s.cfg.RetryAfter) {
			return false
		}
	}
}

// planner is the stage that turns triggers into tasks.
type planner struct {
	*intake
	singles   chan struct{} // a trigger for one user never waits for one that has a hundred thousand
	audiences chan struct{}
}

func newPlanner(s *Service, t *tables) *intake {
	p := &planner{intake: s.newIntake(t, "planner", s.cfg.Topics.Triggers), singles: make(chan struct{}, 8), audiences: make(chan struct{}, 1)}
	p.take = func(it *item) { p.helpers.Go(func() { p.plan(it) }) }
	return p.intake
}

func (p *planner) plan(it *item) {
	var trigger Trigger
	err := json.Unmarshal(it.record.Value, &trigger)
	if err == nil {
		err = trigger.Validate()
	}
	if err == nil && trigger.Audience != "" && p.parts.Audience == nil {
		err = errors.New("there are no audiences")
	}
	slots := p.singles
	if trigger.Audience != "" {
		slots = p.audiences
	}
	select {
	case slots <- struct{}{}:
		defer func() { <-slots }()
	case <-it.part.ctx.Done():
		return
	}
	if !it.enter() {
		return
	}
	switch {
	case err != nil:
		p.meter.Failed(it.record, err)
		if !p.insist(it.part.ctx, func() error { return p.tables.bury(it.part.ctx, it, err) }) {
			it.leave()
			return
		}
		it.finish(meter.Dead)
	case expired(trigger):
		p.meter.Count("expired", 1)
		it.finish(meter.Filtered)
	case trigger.Audience != "":
		p.page(it, trigger)
	default:
		tasks := p.tasks(trigger)
		if !p.insist(it.part.ctx, func() error { return p.tables.produce(it.part.ctx, tasks...) }) {
			it.leave()
			return
		}
		it.finish(outcome(len(tasks) > 0))
	}
}

// page writes the tasks of an audience, page by page. How far it got is in the log, so that the next owner goes on there.
func (p *planner) page(it *item, trigger Trigger) {
	ctx, key := it.part.ctx, "audience//"+called(trigger.Event, trigger.Audience, trigger.Template)
	progress, _ := p.tables.entry(key)
	for progress.State != planned {
		if p.leaving(it.part) {
			it.leave()
			return
		}
		p.meter.Began(it.record) // each page has its time: a long list is not wedged
		users, err := p.parts.Audience.Page(ctx, trigger.Audience, progress.After, p.cfg.PageSize)
		if err != nil {
			p.meter.Failed(it.record, err)
			if !pause(ctx, p.cfg.RetryAfter) {
				it.leave()
				return
			}
			continue
		}
		p.meter.Waiting(it.record, time.Now().Add(patience))
		var tasks []*kgo.Record
		for _, user := range users {
			one := trigger
			one.User, one.Audience = user, ""
			tasks = append(tasks, p.tasks(one)...)
		}
		progress = entry{State: paged, After: progress.After}
		if len(users) > 0 {
			progress.After = users[len(users)-1]
		}
		if len(users) < p.cfg.PageSize {
			progress.State = planned
		}
		// The tasks before the progress: a crash in between writes a page again, and its tasks are recognised.
		if !p.insist(ctx, func() error { return p.tables.produce(ctx, tasks...) }) ||
			!p.insist(ctx, func() error { return p.tables.put(ctx, key, progress) }) {
			it.leave()
			return
		}
	}
	it.finish(meter.Processed)
}

func (in *intake) leaving(p *part) bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	return p.gone
}

// tasks are the records for one user: one for each channel that is enabled, or the first of them with the others behind.
func (p *planner) tasks(trigger Trigger) (records []*kgo.Record) {
	prefs, reason := p.tables.preferences(trigger.User, trigger.Critical)
	if reason != "" {
		p.meter.Count("skipped_"+reason, 1)
		return nil
	}
	order := []string{Email, SMS, Push}
	if trigger.Fallback {
		order = p.cfg.Fallback
	}
	var enabled []string
	for _, channel := range order {
		if p.parts.Channels[channel] == nil {
			continue
		}
		if reason := p.unwanted(prefs, channel, trigger.Critical); reason != "" {
			p.meter.Count(channel+"_skipped_"+reason, 1)
			continue
		}
		enabled = append(enabled, channel)
	}
	for i, channel := range enabled {
		task := Task{Trigger: trigger, Channel: channel}
		if trigger.Fallback {
			task.Next = enabled[i+1:]
		}
		records = append(records, p.record(task))
		if trigger.Fallback {
			break
		}
	}
	return records
}

// record is a task's. All topics of a user's tasks have the same number of partitions, so that it is always in one owner's.
func (s *Service) record(t Task) *kgo.Record {
	value, _ := json.Marshal(t) // strings and times alone: it cannot fail
	return &kgo.Record{Topic: s.cfg.Topics.Task(t.Channel, t.Critical), Key: []byte(t.User), Value: value}
}

// patience is for how long whatever waits by plan is not taken to be wedged: for Kafka, or for a provider that is down.
const patience = 24 * time.Hour

// preferences are those of a user. Quiet hours that nobody can read are no leave to send at any hour.
func (t *tables) preferences(user string, critical bool) (_ *Preferences, reason string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	prefs, ok := t.users[user]
	switch {
	case !ok:
		return nil, "unknown_user"
	case prefs == nil:
		return nil, "bad_preferences"
	}
	if _, err := prefs.quietUntil(time.Now()); err != nil && !critical {
		return nil, "bad_preferences"
	}
	return prefs, ""
}

// unwanted says why a user is not to be reached by a channel, or nothing.
func (s *Service) unwanted(prefs *Preferences, channel string, critical bool) string {
	contact := prefs.Channels[channel]
	switch {
	case strings.TrimSpace(contact.Address) == "":
		return "no_address"
	case critical:
		return ""
	case contact.Enabled == nil && !s.cfg.Limits(channel).OptIn, contact.Enabled != nil && !*contact.Enabled:
		return "opted_out"
	}
	return ""
}

func expired(t Trigger) bool { return !t.Expires.IsZero() && !time.Now().Before(t.Expires) }

func outcome(processed bool) meter.Outcome {
	if processed {
		return meter.Processed
	}
	return meter.Filtered
}

// newReceiver is the stage that keeps the status of messages. One at a time: the next one is judged by what this one said.
func newReceiver(s *Service, t *tables) *intake {
	in := s.newIntake(t, "receipts", s.cfg.Topics.Receipts)
	var mu sync.Mutex
	var queue []*item
	wake := make(chan struct{}, 1)
	in.take = func(it *item) {
		mu.Lock()
		queue = append(queue, it)
		mu.Unlock()
		poke(wake)
	}
	in.work = func(ctx context.Context, in *intake) {
		for {
			mu.Lock()
			var it *item
			if len(queue) > 0 {
				it, queue = queue[0], queue[1:]
			}
			mu.Unlock()
			if it != nil {
				in.receive(it)
				continue
			}
			select {
			case <-wake:
			case <-ctx.Done():
				return
			}
		}
	}
	return in
}

func poke(wake chan struct{}) {
	select {
	case wake <- struct{}{}:
	default:
	}
}

func (in *intake) receive(it *item) {
	if !it.enter() {
		return
	}
	var receipt Receipt
	err := json.Unmarshal(it.record.Value, &receipt)
	if err == nil && rank[receipt.Status] == 0 {
		err = fmt.Errorf("status %q is not known", receipt.Status)
	}
	in.tables.mu.Lock()
	known := in.tables.status[string(it.record.Key)]
	in.tables.mu.Unlock()
	ctx := it.part.ctx
	switch {
	case err != nil:
		in.meter.Failed(it.record, err)
		if !in.insist(ctx, func() error { return in.tables.bury(ctx, it, err) }) {
			it.leave()
			return
		}
		it.finish(meter.Dead)
	case rank[receipt.Status] <= rank[known.Status]:
		it.finish(meter.Filtered) // late, or again
	default:
		r := &kgo.Record{Topic: in.cfg.Topics.Status, Key: it.record.Key, Value: it.record.Value}
		if !in.insist(ctx, func() error { return in.tables.produce(ctx, r) }) {
			it.leave()
			return
		}
		in.tables.mu.Lock()
		in.tables.advance(r)
		in.tables.mu.Unlock()
		it.finish(meter.Processed)
	}
}
