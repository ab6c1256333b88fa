package lesson11

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"golang.org/x/time/rate"

	"github.com/kafka-katas/kafka-katas/ops"
	"github.com/kafka-katas/kafka-katas/ops/meter"
)

// sender is the stage that sends by one channel. All partitions share its line, its limits and its breaker.
type sender struct {
	*intake
	name    string
	limits  Limits
	limiter *rate.Limiter
	wake    chan struct{}

	line     sync.Mutex // guards what follows, for work in memory alone
	critical []*item
	bulk     []*item
	credit   int // what bulk has earned while critical items went first
	sending  int
	claims   map[string]*claim
	digests  map[string]*digest // by user and template: those that may grow
	hold     time.Time          // nothing is sent before
	failures int                // in a row
	down     bool               // one send at a time finds out whether it still is
	waiting  int                // who wants to send past the line: it leaves a place to them
	freed    chan struct{}      // a send has ended
}

// A claim is the right to work on a notification. Who has the same one waits until it is settled.
type claim struct {
	owner   *item
	waiting []*item
}

// A digest is several notifications that become one message.
type digest struct {
	group   string
	due     time.Time
	members []*item
	sealed  bool // its members are on record and must stay the same: it may have been sent
}

func newSender(s *Service, t *tables, name string) *intake {
	l := s.cfg.Limits(name)
	limit := rate.Inf
	if l.PerSecond > 0 {
		limit = rate.Limit(l.PerSecond)
	}
	c := &sender{
		intake: s.newIntake(t, name, s.cfg.Topics.Task(name, true), s.cfg.Topics.Task(name, false)),
		name:   name, limits: l, limiter: rate.NewLimiter(limit, l.Burst), wake: make(chan struct{}, 1),
		claims: map[string]*claim{}, digests: map[string]*digest{},
		freed: make(chan struct{}, 1),
	}
	c.take, c.adopt, c.settle, c.work = c.arrive, c.inherit, c.flush, c.dispatch
	s.meter.Check("channel_"+name, ops.Readiness, nil)
	return c.intake
}

// arrive puts a new record's task into the line.
func (c *sender) arrive(it *item) {
	if err := json.Unmarshal(it.record.Value, &it.task); err != nil {
		c.helpers.Go(func() {
			if it.enter() {
				c.bury(it.part.ctx, it, err)
			}
		})
		return
	}
	it.task.Channel = c.name
	it.id = identify(it.task)
	c.push(it)
}

// identify names a notification: the same event may concern a user by several channels and texts. It is the provider's
// key as well, and made of nothing that a crash forgets.
func identify(t Task) string {
	return called(t.Event, t.User, t.Channel, t.Template)
}

// called joins names to one that no others make, whatever characters are in them.
func called(names ...string) string {
	for i, name := range names {
		names[i] = url.PathEscape(name)
	}
	return strings.Join(names, "/")
}

func (c *sender) push(items ...*item) {
	c.line.Lock()
	for _, it := range items {
		if it.task.Critical {
			c.critical = append(c.critical, it)
		} else {
			c.bulk = append(c.bulk, it)
		}
	}
	c.line.Unlock()
	poke(c.wake)
}

// later puts an item into the line at a time, if its partition is still ours then.
func (c *sender) later(it *item, at time.Time) {
	c.meter.Waiting(it.subject(), at.Add(patience)) // by plan, for as long as a provider is down
	in, p := it.part.in, it.part
	in.mu.Lock()
	defer in.mu.Unlock()
	if p.gone {
		return
	}
	p.timers[it] = time.AfterFunc(time.Until(at), func() {
		in.mu.Lock()
		delete(p.timers, it)
		in.mu.Unlock()
		c.push(it)
	})
}

// inherit takes up what an earlier owner of a partition left parked.
func (c *sender) inherit(p *part) {
	owing := c.tables.owing(p)
	for id, e := range owing {
		if e.State != sealed {
			continue
		}
		d := &digest{sealed: true}
		for i, member := range e.Members {
			d.members = append(d.members, &item{part: p, id: member, place: int64(i), task: e.Tasks[i]})
			delete(owing, member)
		}
		c.push(&item{part: p, id: id, task: e.Tasks[0], digest: d})
	}
	for _, id := range slices.SortedFunc(maps.Keys(owing), func(a, b string) int { return owing[a].at.Compare(owing[b].at) }) {
		e := owing[id]
		it := &item{part: p, id: id, place: e.Place}
		if e.Task != nil {
			it.task = *e.Task
		}
		switch e.State {
		case deferred:
			c.later(it, e.Due)
		case collected:
			c.join(it, e.Due, e.Due)
		}
	}
}

// dispatch sends what is next in the line, as soon as it may be sent.
func (c *sender) dispatch(ctx context.Context, _ *intake) {
	for {
		it, v, wait := c.next()
		if it != nil {
			c.helpers.Go(func() { c.carryOut(it, v) })
			continue
		}
		timer := time.NewTimer(wait)
		select {
		case <-c.wake:
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return
		}
		timer.Stop()
	}
}

// next is what to do next, or how long there is nothing to do unless something wakes the line. A token of the rate limit is
// taken before the item is: whatever becomes more important while the token is waited for goes first.
func (c *sender) next() (*item, verdict, time.Duration) {
	const untilWoken = time.Hour
	c.line.Lock()
	defer c.line.Unlock()
	for {
		lane, both := &c.critical, len(c.critical) > 0 && len(c.bulk) > 0
		if len(c.critical) == 0 || both && c.credit+c.cfg.BulkShare >= 100 {
			lane = &c.bulk
		}
		if len(*lane) == 0 {
			return nil, verdict{}, untilWoken
		}
		it := (*lane)[0]
		pop := func() { *lane = (*lane)[1:] }
		if c.leaving(it.part) {
			pop()
			continue
		}
		if cl := c.claims[it.id]; cl != nil && cl.owner != it && !c.leaving(cl.owner.part) {
			cl.waiting = append(cl.waiting, it)
			pop()
			continue
		}
		now := time.Now()
		v := c.judge(it, now)
		if v.what == send {
			if c.sending+c.waiting >= c.limits.Concurrency || c.down && c.sending > 0 {
				return nil, v, untilWoken
			}
			if wait := c.hold.Sub(now); wait > 0 {
				return nil, v, wait
			}
			token := c.limiter.ReserveN(now, 1)
			if wait := token.DelayFrom(now); wait > 0 {
				token.CancelAt(now)
				return nil, v, wait
			}
		}
		pop()
		if !it.enter() {
			continue
		}
		if c.claims[it.id] == nil {
			c.claims[it.id] = &claim{}
		}
		c.claims[it.id].owner = it // and who waited for an owner that has left, waits for this one
		if v.what == send {
			c.sending++
			if both && lane == &c.critical {
				c.credit += c.cfg.BulkShare
			} else if both {
				c.credit += c.cfg.BulkShare - 100
			}
			if d := it.digest; d != nil && c.digests[d.group] == d {
				delete(c.digests, d.group)
			}
		}
		return it, v, 0
	}
}

// A verdict is what is to be done with an item now.
type verdict struct {
	what   what
	reason string    // of drop
	until  time.Time // of postpone
}

type what uint8

const (
	send what = iota
	drop
	postpone
	collect
)

// judge decides by what is known now; it is asked again whenever an item has waited.
func (c *sender) judge(it *item, now time.Time) verdict {
	if it.digest == nil {
		e, ok := c.tables.entry(it.id)
		if ok && (e.final() || it.record != nil && !it.parking(e)) {
			return verdict{what: drop, reason: "deduplicated"}
		}
	}
	t := it.task
	if it.expired() {
		return verdict{what: drop, reason: "expired"}
	}
	prefs, reason := c.tables.preferences(t.User, t.Critical)
	if reason == "" {
		reason = c.unwanted(prefs, c.name, t.Critical)
	}
	if reason != "" {
		return verdict{what: drop, reason: "skipped_" + reason}
	}
	if until, _ := prefs.quietUntil(now); !t.Critical && !until.IsZero() {
		return verdict{what: postpone, until: until}
	}
	if t.Digest && !t.Critical && it.digest == nil {
		return verdict{what: collect}
	}
	return verdict{}
}

// parking says whether an entry was written for this very item, in an attempt to park it that is made again.
func (it *item) parking(e entry) bool {
	return it.collecting && (e.State == deferred || e.State == collected)
}

// zones are those that were read: time.LoadLocation reads the file each time.
var zones sync.Map

func zoneOf(name string) (*time.Location, error) {
	if zone, ok := zones.Load(name); ok {
		return zone.(*time.Location), nil
	}
	zone, err := time.LoadLocation(name)
	if err == nil {
		zones.Store(name, zone)
	}
	return zone, err
}

// quietUntil is when a user's quiet hours end, by the clock on the user's wall; zero if there are none now, an error if
// nobody can say. A night in which the clocks change is an hour shorter or longer, and ends at the same time of the clock.
func (p *Preferences) quietUntil(now time.Time) (time.Time, error) {
	if p.Quiet == nil {
		return time.Time{}, nil
	}
	zone, err := zoneOf(p.Zone)
	from, err1 := time.Parse("15:04", p.Quiet.From)
	to, err2 := time.Parse("15:04", p.Quiet.To)
	if err := errors.Join(err, err1, err2); err != nil {
		return time.Time{}, err
	}
	now = now.In(zone)
	overnight := 0
	if !to.After(from) {
		overnight = 1
	}
	for day := -1; day <= 0; day++ {
		begin := time.Date(now.Year(), now.Month(), now.Day()+day, from.Hour(), from.Minute(), 0, 0, zone)
		end := time.Date(now.Year(), now.Month(), now.Day()+day+overnight, to.Hour(), to.Minute(), 0, 0, zone)
		if !now.Before(begin) && now.Before(end) {
			return end, nil
		}
	}
	return time.Time{}, nil
}

// carryOut does what was decided. Whatever it says of an item is on record before the item is finished.
func (c *sender) carryOut(it *item, v verdict) {
	ctx := it.part.ctx
	switch v.what {
	case send:
		c.deliver(ctx, it)
	case drop:
		if !c.forget(ctx, it) {
			c.giveBack(it)
			return
		}
		// No other channel: it may have been sent before, and nobody heard of it.
		c.meter.Count(c.name+"_"+v.reason, int64(it.size()))
		c.finish(it, meter.Filtered)
	case postpone:
		if it.digest != nil { // its members are on record
			c.later(it, v.until)
			c.giveBack(it)
			return
		}
		if !c.park(ctx, it, entry{State: deferred, Due: v.until}) {
			c.giveBack(it)
			return
		}
		c.meter.Count(c.name+"_deferred", 1)
		c.later(&item{part: it.part, id: it.id, place: it.place, task: it.task}, v.until)
		c.finish(it, meter.Parked)
	case collect:
		c.line.Lock()
		own := time.Now().Add(c.cfg.DigestWindow)
		due := own
		if d := c.digests[group(it.task)]; d != nil && !c.leaving(d.members[0].part) {
			due = d.due
		}
		c.line.Unlock()
		if !c.park(ctx, it, entry{State: collected, Due: due}) {
			c.giveBack(it)
			return
		}
		c.join(&item{part: it.part, id: it.id, place: it.place, task: it.task}, due, own)
		c.finish(it, meter.Parked)
	}
}

// expired says that nothing of an item is worth sending any more.
func (it *item) expired() bool {
	if it.digest == nil {
		return expired(it.task.Trigger)
	}
	return !slices.ContainsFunc(it.digest.members, func(m *item) bool { return !expired(m.task.Trigger) })
}

// prune takes out of a digest what has expired while it waited.
func (c *sender) prune(ctx context.Context, it *item) bool {
	d := it.digest
	if d == nil || d.sealed {
		return true
	}
	var left []*item
	for _, m := range d.members {
		if !expired(m.task.Trigger) || len(left) == 0 && m == d.members[len(d.members)-1] { // the last one expired just now
			left = append(left, m)
			continue
		}
		if !c.insist(ctx, func() error { return c.tables.put(ctx, m.id, entry{State: dropped}) }) {
			return false
		}
		c.meter.Count(c.name+"_expired", 1)
	}
	slices.SortStableFunc(left, func(a, b *item) int { return cmp.Compare(a.place, b.place) })
	d.members, it.task = left, left[0].task
	return true
}

func (it *item) size() int {
	if it.digest == nil {
		return 1
	}
	return len(it.digest.members)
}

func (c *sender) park(ctx context.Context, it *item, e entry) bool {
	e.Task, e.Topic, e.Partition, e.Place = &it.task, it.part.topic, it.part.number, it.place
	it.collecting = true
	return c.insist(ctx, func() error { return c.tables.put(ctx, it.id, e) })
}

// forget takes what was parked off the books. What was not is not on them.
func (c *sender) forget(ctx context.Context, it *item) bool {
	if e, ok := c.tables.entry(it.id); it.record != nil || it.digest == nil && ok && e.final() {
		return true
	}
	return c.record(ctx, it, dropped)
}

func group(t Task) string { return t.User + "/" + t.Template }

// join adds a notification that is on record to its digest, due then, or begins one of its own: what it was to join may
// have gone out while it was put on record.
func (c *sender) join(it *item, due, own time.Time) {
	c.line.Lock()
	defer c.line.Unlock()
	d := c.digests[group(it.task)]
	if d != nil && d.members[0].part == it.part {
		d.members = append(d.members, it)
		return
	}
	if c.leaving(it.part) {
		return // it is on record
	}
	d = &digest{group: group(it.task), due: own, members: []*item{it}}
	c.digests[d.group] = d
	c.later(d.item(), d.due)
}

// item is a digest as an item of the line. Its id is its first member's: an owner to come makes the same one of the log.
func (d *digest) item() *item {
	first := d.members[0]
	return &item{part: first.part, id: "digest/" + first.id, task: first.task, digest: d}
}

// flush sends the digests of partitions that are given up, rather than leave them to wait for another owner. What cannot
// be sent now is on record. Of what else belongs to these partitions nothing is kept.
func (c *sender) flush(ctx context.Context, gone []*part) {
	var due, orphans []*item
	c.line.Lock()
	for id, cl := range c.claims {
		if slices.Contains(gone, cl.owner.part) {
			delete(c.claims, id)
			orphans = append(orphans, cl.waiting...)
		}
	}
	for name, d := range c.digests {
		if slices.Contains(gone, d.members[0].part) {
			due = append(due, d.item())
			delete(c.digests, name)
		}
	}
	c.line.Unlock()
	c.push(orphans...)
	for _, it := range due {
		if !c.place(ctx) {
			return
		}
		if c.judge(it, time.Now()).what != send || c.limiter.Wait(ctx) != nil {
			c.sent(false)
			continue
		}
		it.keep()
		c.deliver(ctx, it)
	}
}

// place waits for a place among the sends under way, past the line. There is none while the provider is left alone.
func (c *sender) place(ctx context.Context) bool {
	c.line.Lock()
	defer c.line.Unlock()
	c.waiting++
	defer func() { c.waiting-- }()
	for ctx.Err() == nil && !c.down && !c.hold.After(time.Now()) {
		if c.sending < c.limits.Concurrency {
			c.sending++
			return true
		}
		c.line.Unlock()
		select {
		case <-c.freed:
		case <-ctx.Done():
		}
		c.line.Lock()
	}
	return false
}

// seal puts on record which notifications a digest has. From then on it is sent with these, under one key: its provider
// may have it already, and would not look at others that come under the same key.
func (c *sender) seal(ctx context.Context, it *item) bool {
	d := it.digest
	if d == nil || d.sealed {
		return true
	}
	e := entry{State: sealed, Topic: it.part.topic, Partition: it.part.number, Place: it.place}
	for _, m := range d.members {
		e.Members = append(e.Members, m.id)
		e.Tasks = append(e.Tasks, m.task)
	}
	d.sealed = c.insist(ctx, func() error { return c.tables.put(ctx, it.id, e) })
	return d.sealed
}

// record notes what became of a message. Of a digest the members first: until all are noted, it is still sealed.
func (c *sender) record(ctx context.Context, it *item, as state) bool {
	c.meter.Waiting(it.subject(), time.Now().Add(patience))
	ids := []string{it.id}
	if it.digest != nil {
		ids = nil
		for _, m := range it.digest.members {
			ids = append(ids, m.id)
		}
		ids = append(ids, it.id)
	}
	for _, id := range ids {
		if !c.insist(ctx, func() error { return c.tables.put(ctx, id, entry{State: as}) }) {
			return false
		}
	}
	if as == sent {
		c.meter.Count(c.name+"_sent", 1)
	}
	return true
}

// message renders a text completely, or not at all.
func (c *sender) message(it *item) (Message, error) {
	t := it.task
	text := c.templates[t.Template+"/"+c.name]
	if text == nil {
		return Message{}, fmt.Errorf("template %s has no text for channel %s", t.Template, c.name)
	}
	prefs, reason := c.tables.preferences(t.User, t.Critical)
	if reason != "" {
		return Message{}, errors.New(reason)
	}
	view := View{User: t.User, Event: t.Event, Data: t.Data, Items: []map[string]string{t.Data}}
	if it.digest != nil {
		view.Items = nil
		for _, m := range it.digest.members {
			view.Items = append(view.Items, m.task.Data)
		}
	}
	var body strings.Builder
	if err := text.Execute(&body, view); err != nil {
		return Message{}, err
	}
	return Message{Key: it.id, To: prefs.Channels[c.name].Address, Body: body.String(), Task: t}, nil
}

// try is one call of the provider.
func (c *sender) try(ctx context.Context, m Message) (err error) {
	ctx, done := context.WithTimeout(ctx, c.limits.Timeout)
	defer done()
	defer func() {
		if r := recover(); r != nil {
			err = &meter.PanicError{Value: r}
		}
	}()
	return c.parts.Channels[c.name].Send(ctx, m)
}

// deliver sends an item, and settles what comes of it.
func (c *sender) deliver(ctx context.Context, it *item) {
	if !c.prune(ctx, it) {
		c.sent(false)
		c.giveBack(it)
		return
	}
	m, err := c.message(it)
	if err != nil {
		c.sent(false)
		c.bury(ctx, it, err)
		return
	}
	if !c.seal(ctx, it) {
		c.sent(false)
		c.giveBack(it)
		return
	}
	c.meter.Began(it.subject())
	if it.attempts > 0 {
		c.meter.Retried(it.subject())
		c.meter.Count(c.name+"_retried", 1)
	}
	err = c.try(ctx, m)
	var throttled *Throttled
	var no *Refused
	switch {
	case err == nil:
		c.sent(true)
		if !c.record(ctx, it, sent) {
			c.giveBack(it)
			return
		}
		c.finish(it, meter.Processed)
	case ctx.Err() != nil: // we gave up, not the provider
		c.sent(false)
		c.giveBack(it)
	case errors.As(err, &throttled):
		c.meter.Count(c.name+"_throttled", 1)
		c.line.Lock()
		if until := time.Now().Add(throttled.After); until.After(c.hold) {
			c.hold = until // the provider counts calls, not messages
		}
		c.line.Unlock()
		c.sent(false)
		c.meter.Waiting(it.subject(), time.Now().Add(throttled.After+patience))
		it.leave()
		c.pushFirst(it)
	case errors.As(err, &no):
		c.sent(true)
		c.meter.Failed(it.subject(), err)
		c.meter.Count(c.name+"_refused", 1)
		// The next channel's task before the mark: a crash in between writes it again, and it is recognised.
		if !c.fallBack(ctx, it) || !c.record(ctx, it, refused) {
			c.giveBack(it)
			return
		}
		c.finish(it, meter.Filtered)
	default:
		c.failed(ctx, it, err)
	}
}

// failed counts a failure against the message, or against a provider that is down.
func (c *sender) failed(ctx context.Context, it *item, err error) {
	c.meter.Failed(it.subject(), err)
	c.line.Lock()
	c.failures++
	probe := c.down
	if !probe {
		it.attempts++
	}
	if c.failures >= c.cfg.BreakerAfter {
		c.down = true
		c.hold = time.Now().Add(c.cfg.BreakerFor)
	}
	down := c.down
	c.line.Unlock()
	if down {
		c.meter.Check("channel_"+c.name, ops.Readiness, fmt.Errorf("the provider is down: %w", err))
	}
	c.sent(false)
	if it.attempts >= c.cfg.MaxAttempts {
		c.bury(ctx, it, err)
		return
	}
	wait := c.cfg.RetryAfter
	for n := 1; n < it.attempts && wait < c.cfg.RetryMax; n++ {
		wait *= 2
	}
	it.leave()
	c.later(it, time.Now().Add(min(wait, c.cfg.RetryMax)))
}

// sent ends a call of the provider; well: it has answered, and is not down.
func (c *sender) sent(well bool) {
	c.line.Lock()
	c.sending--
	recovered := well && c.down
	if well {
		c.failures, c.down = 0, false
	}
	c.line.Unlock()
	if recovered {
		c.meter.Check("channel_"+c.name, ops.Readiness, nil)
	}
	poke(c.freed)
	poke(c.wake)
}

func (c *sender) pushFirst(it *item) {
	c.line.Lock()
	if it.task.Critical {
		c.critical = slices.Insert(c.critical, 0, it)
	} else {
		c.bulk = slices.Insert(c.bulk, 0, it)
	}
	c.line.Unlock()
	poke(c.wake)
}

// fallBack hands tasks on to their next channel, if they have one.
func (c *sender) fallBack(ctx context.Context, it *item) bool {
	c.meter.Waiting(it.subject(), time.Now().Add(patience))
	items := []*item{it}
	if it.digest != nil {
		items = it.digest.members
	}
	var next []*kgo.Record
	for _, m := range items {
		if t := m.task; len(t.Next) > 0 {
			t.Channel, t.Next = t.Next[0], t.Next[1:]
			next = append(next, c.Service.record(t))
		}
	}
	return c.insist(ctx, func() error { return c.tables.produce(ctx, next...) })
}

// bury gives a notification up: the dead letter is acknowledged before the item is finished.
func (c *sender) bury(ctx context.Context, it *item, cause error) {
	c.meter.Failed(it.subject(), cause)
	items := []*item{it}
	if it.digest != nil {
		items = it.digest.members
	}
	for _, m := range items {
		if !c.insist(ctx, func() error { return c.tables.bury(ctx, m, cause) }) {
			c.giveBack(it)
			return
		}
	}
	if it.record == nil && !c.record(ctx, it, dropped) {
		c.giveBack(it)
		return
	}
	c.meter.Count(c.name+"_dead", 1)
	c.finish(it, meter.Dead)
}

// finish is done with an item; others with the same notification learn of it.
func (c *sender) finish(it *item, o meter.Outcome) {
	it.finish(o)
	c.release(it)
}

// giveBack ends work on an item that is not done with: its partition goes away.
func (c *sender) giveBack(it *item) {
	it.leave()
	c.release(it)
}

func (c *sender) release(it *item) {
	c.line.Lock()
	cl := c.claims[it.id]
	if cl == nil || cl.owner != it {
		c.line.Unlock()
		return
	}
	delete(c.claims, it.id)
	c.line.Unlock()
	c.push(cl.waiting...)
}
