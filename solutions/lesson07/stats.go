package lesson07

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"maps"
	"math"
	"net"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/kafka-katas/kafka-katas/ops"
)

// Stats returns a snapshot of what the consumer did. See [ops.Stats] for the laws that it keeps; it answers from
// memory.
//
// Redelivered counts deliveries of offsets that this Consumer received before, also when the partition was elsewhere in
// between. Percentiles are over the latest 4096 records. Errors are failed handler attempts, by class, topic and
// partition, at most MaxErrorGroups of them; what is beyond is counted in one further group of class "other" without
// topic. Their samples keep no word of the record's key, value or header values, nor what the error quotes; forms that a
// handler derived from them (base64, bytes as numbers) are its own to keep out. The one alert is "handler_failures".
func (c *Consumer) Stats() ops.Stats {
	c.mu.Lock()
	now := time.Now()
	c.alarm.advance(now)
	if c.session != nil {
		c.session.countAll()
	}
	s := ops.Stats{
		Since:    c.since,
		At:       now,
		Group:    c.cfg.Group,
		Latency:  ops.Latency{Count: c.latency.count, Sum: c.latency.sum, Max: c.latency.max},
		Errors:   c.failures.snapshot(),
		Alerts:   []ops.Alert{c.alarm.snapshot()},
		Assigned: len(c.owned),
		Paused:   c.paused,
		Extra:    maps.Clone(c.extra),
	}
	window := slices.Clone(c.latency.window)
	for _, t := range c.tallies {
		if t.Assigned || t.Received > 0 {
			s.Partitions = append(s.Partitions, t.snapshot())
		}
	}
	c.mu.Unlock()

	slices.SortFunc(s.Partitions, func(a, b ops.PartitionStats) int {
		return cmp.Or(cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.Partition, b.Partition))
	})
	for _, p := range s.Partitions {
		s.Totals = s.Totals.Add(p.Counts)
	}
	slices.Sort(window)
	s.Latency.P50, s.Latency.P95, s.Latency.P99 = rank(window, 50), rank(window, 95), rank(window, 99)
	return s
}

// ResetStats starts a new period, as [ops.Controls] describes.
func (c *Consumer) ResetStats() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.since = time.Now()
	if c.session != nil {
		c.session.countAll()
	}
	for _, t := range c.tallies {
		t.Counts = ops.Counts{Received: t.InFlight, InFlight: t.InFlight}
	}
	c.latency = latencies{}
	c.failures.groups = map[failure]*ops.ErrorGroup{}
	clear(c.extra)
}

// A tally is what is known of one partition, owned or not. It outlives ownership, so that an offset which comes back is
// recognised.
type tally struct {
	ops.PartitionStats
	seen int64 // the offset after the highest that was ever received
}

func newTally(tp topicPartition) *tally {
	return &tally{PartitionStats: ops.PartitionStats{
		Topic: tp.topic, Partition: tp.partition,
		Committed: ops.Unknown, Position: ops.Unknown, HighWatermark: ops.Unknown,
	}}
}

// received counts records that were just polled; they are in order of offset.
func (t *tally) received(records []*kgo.Record) {
	t.Received += int64(len(records))
	t.InFlight += int64(len(records))
	for _, r := range records {
		if r.Offset >= t.seen {
			break
		}
		t.Redelivered++
	}
	t.Position = records[len(records)-1].Offset + 1
	t.seen = max(t.seen, t.Position)
}

func (t *tally) snapshot() ops.PartitionStats {
	p, from := t.PartitionStats, t.Committed
	if from == ops.Unknown {
		from = t.Position
	}
	p.Lag = ops.Unknown
	if from != ops.Unknown && p.HighWatermark != ops.Unknown {
		p.Lag = max(0, p.HighWatermark-from)
	}
	return p
}

// latencies keeps the latest ones for percentiles that are exact, in memory that does not grow.
type latencies struct {
	count    int64
	sum, max time.Duration
	window   []time.Duration // a ring once it is full
}

const latencyWindow = 4096

func (l *latencies) add(d time.Duration) {
	if len(l.window) < latencyWindow {
		l.window = append(l.window, d)
	} else {
		l.window[l.count%latencyWindow] = d
	}
	l.count++
	l.sum += d
	l.max = max(l.max, d)
}

// rank is the p-th percentile of sorted values by nearest rank.
func rank(sorted []time.Duration, p float64) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[int(math.Ceil(p/100*float64(len(sorted))))-1]
}

// failure is what failed attempts are grouped by.
type failure struct {
	class string
	topicPartition
}

// failures groups failed attempts, bounded in every direction.
type failures struct {
	groups                map[failure]*ops.ErrorGroup
	maxGroups, maxSamples int
}

func (f *failures) add(err error, r *kgo.Record, now time.Time) {
	key := failure{classOf(err), topicPartition{r.Topic, r.Partition}}
	g := f.groups[key]
	if g == nil && len(f.groups) >= f.maxGroups {
		key = failure{"other", topicPartition{"", -1}}
		g = f.groups[key]
	}
	if g == nil {
		g = &ops.ErrorGroup{Class: key.class, Topic: key.topic, Partition: key.partition, First: now}
		f.groups[key] = g
	}
	g.Count++
	g.Last = now
	if len(g.Samples) == f.maxSamples {
		g.Samples = slices.Delete(g.Samples, 0, 1)
	}
	g.Samples = append(g.Samples, ops.ErrorSample{At: now, Offset: r.Offset, Message: redact(err.Error(), r)})
}

func (f *failures) snapshot() []ops.ErrorGroup {
	var out []ops.ErrorGroup
	for _, g := range f.groups {
		group := *g
		group.Samples = slices.Clone(g.Samples)
		out = append(out, group)
	}
	slices.SortFunc(out, func(a, b ops.ErrorGroup) int {
		return cmp.Or(cmp.Compare(a.Class, b.Class), cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.Partition, b.Partition))
	})
	return out
}

// classOf sorts an error into one of few: by meaning where it is known, else by type. Never by text, which has as many
// values as there are records.
func classOf(err error) string {
	var (
		panicked *panicError
		kafka    *kerr.Error
		timeout  net.Error
	)
	switch {
	case errors.As(err, &panicked):
		return "panic"
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return "timeout"
	case errors.Is(err, context.Canceled):
		return "cancelled"
	case errors.As(err, &kafka):
		return strings.ToLower(kafka.Message)
	}
	for ; err != nil; err = errors.Unwrap(err) {
		t := reflect.TypeOf(err)
		for t.Kind() == reflect.Pointer {
			t = t.Elem()
		}
		if t.Name() != "" && t.PkgPath() != "errors" && t.PkgPath() != "fmt" {
			return t.String()
		}
	}
	return "error"
}

const maxMessage = 200 // characters of an error's text that are kept

var quoted = regexp.MustCompile("\"(?:[^\"\\\\]|\\\\.)*\"|`[^`]*`")

// redact takes what may come from the record out of an error's text: whatever is quoted, and every word that is part of
// its key, its value or the value of a header, or has a word of theirs inside it. Words are letters or digits alone: the
// key 77 is found in "order77". That takes innocent words too. Where the record is says enough to look it up.
//
// Nothing that was derived from the content is recognised: base64, hashes, bytes printed as numbers.
func redact(message string, r *kgo.Record) string {
	var inside strings.Builder
	inside.Write(r.Key)
	inside.WriteByte(0)
	inside.Write(r.Value)
	for _, h := range r.Headers {
		inside.WriteByte(0)
		inside.Write(h.Value)
	}
	content := strings.ToLower(inside.String())
	message = quoted.ReplaceAllString(message, "…")
	lower := strings.ToLower(message)
	var shown []string // the words of the content that the message has somewhere
	for word, isWord := range words(content) {
		if isWord && utf8.RuneCountInString(word) >= leastWord && strings.Contains(lower, word) {
			shown = append(shown, word)
		}
	}
	var out strings.Builder
	for text, isWord := range words(message) {
		if isWord {
			w := strings.ToLower(text)
			has := func(word string) bool { return strings.Contains(w, word) }
			if strings.Contains(content, w) || slices.ContainsFunc(shown, has) {
				text = "…"
			}
		}
		out.WriteString(text)
	}
	if text := []rune(out.String()); len(text) > maxMessage {
		return string(text[:maxMessage]) + "…"
	}
	return out.String()
}

const leastWord = 3 // characters of a word of the content that is looked for inside others: "a" would be in most

// words cuts s into words and what is between them, and says which is which. A word is letters alone or digits alone.
func words(s string) iter.Seq2[string, bool] {
	kind := func(r rune) int {
		switch {
		case unicode.IsLetter(r):
			return 1
		case unicode.IsDigit(r):
			return 2
		}
		return 0
	}
	return func(yield func(string, bool) bool) {
		begin, is := 0, 0
		for i, r := range s {
			k := kind(r)
			if i > begin && k != is {
				if !yield(s[begin:i], is != 0) {
					return
				}
				begin = i
			}
			is = k
		}
		if begin < len(s) {
			yield(s[begin:], is != 0)
		}
	}
}

// An alarm watches failed attempts. It is advanced when somebody looks or something fails, and works out what happened
// in between at the time it happened: nothing has to run for it.
type alarm struct {
	rule   Alert
	failed []time.Time // the latest within the window, oldest first
	alert  ops.Alert
	below  time.Time // since when a firing alarm has been below ResolveBelow
}

const alarmMemory = 1024 // failures that Value can tell apart; the state is exact with as few as Threshold

func (a *alarm) fail(now time.Time) {
	a.advance(now)
	if len(a.failed) == max(a.rule.Threshold, alarmMemory) {
		a.failed = slices.Delete(a.failed, 0, 1)
	}
	a.failed = append(a.failed, now)
	a.changed(now)
	a.settle(now)
}

// advance lets the time until now pass: failures leave the window one by one.
func (a *alarm) advance(now time.Time) {
	for len(a.failed) > 0 {
		leaves := a.failed[0].Add(a.rule.Window)
		if leaves.After(now) {
			break
		}
		a.settle(leaves)
		a.failed = slices.Delete(a.failed, 0, 1)
		a.changed(leaves)
	}
	a.settle(now)
}

// settle ends what has lasted long enough by now.
func (a *alarm) settle(now time.Time) {
	if fires := a.alert.Since.Add(a.rule.For); a.alert.State == ops.Pending && !fires.After(now) {
		a.enter(ops.Firing, fires)
		a.alert.FiredAt = fires
		a.alert.Fired++
		a.below = time.Time{}
	}
	if resolves := a.below.Add(a.rule.ResolveAfter); a.alert.State == ops.Firing && !a.below.IsZero() && !resolves.After(now) {
		a.enter(ops.Inactive, resolves)
		a.alert.ResolvedAt = resolves
	}
}

// changed judges a new number of failures in the window.
func (a *alarm) changed(now time.Time) {
	n := len(a.failed)
	switch {
	case a.alert.State == ops.Inactive && n >= a.rule.Threshold:
		a.enter(ops.Pending, now)
	case a.alert.State == ops.Pending && n < a.rule.Threshold:
		a.enter(ops.Inactive, now)
	case a.alert.State == ops.Firing && n >= a.rule.ResolveBelow:
		a.below = time.Time{}
	case a.alert.State == ops.Firing && a.below.IsZero():
		a.below = now
	}
}

func (a *alarm) enter(s ops.AlertState, at time.Time) { a.alert.State, a.alert.Since = s, at }

func (a *alarm) snapshot() ops.Alert {
	s := a.alert
	s.Name, s.Value, s.Threshold = "handler_failures", float64(len(a.failed)), float64(a.rule.Threshold)
	return s
}

// Health says whether the process should live and whether it may be relied on; it answers from memory, also while
// Kafka hangs. The checks are
//
//	"broker"    readiness: a broker is connected and the group's coordinator answers
//	"group"     readiness: the consumer is a member, and no group, authorisation or fetch error stands
//	"progress"  liveness: no handler has worked on one record for StallAfter
//	"run"       liveness: Run has not ended with an error
//
// A member without partitions, an idle topic and a paused consumer are healthy.
func (c *Consumer) Health() ops.Health {
	now := time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	broker, group := errors.New("not running"), errors.New("not running")
	if c.session != nil {
		broker, group = c.session.link.judge(now, c.cfg)
	}
	return ops.HealthOf(
		c.check("broker", ops.Readiness, broker, now),
		c.check("group", ops.Readiness, group, now),
		c.check("progress", ops.Liveness, c.wedged(now), now),
		c.check("run", ops.Liveness, c.failure, now),
	)
}

// checked is what Health last said of a check.
type checked struct {
	ok    bool
	since time.Time
}

func (c *Consumer) check(name string, affects ops.Aspect, err error, now time.Time) ops.Check {
	last, known := c.checks[name]
	switch {
	case !known && err == nil:
		last = checked{true, c.since}
	case !known || last.ok != (err == nil):
		last = checked{err == nil, now}
	}
	c.checks[name] = last
	check := ops.Check{Name: name, Affects: affects, OK: last.ok, Since: last.since}
	if err != nil {
		check.Cause = err.Error()
	}
	return check
}

// wedged names the partition whose handler has been busy with one record for too long. Being a member says nothing of
// it: the client's heartbeats go on without us.
func (c *Consumer) wedged(now time.Time) error {
	if c.session != nil {
		c.session.countAll()
	}
	var worst *partition
	for _, p := range c.owned {
		if p.state == working && p.queued > 0 && (worst == nil || p.busySince().Before(worst.busySince())) {
			worst = p
		}
	}
	if worst == nil {
		return nil
	}
	busy := now.Sub(worst.busySince())
	if busy < c.cfg.StallAfter {
		return nil
	}
	return fmt.Errorf("%s: the handler has been at offset %d for %v", worst, worst.first().Offset, busy)
}

// Pause stops fetching, also of partitions that come later. Membership, the records in hand and their commits go on.
func (c *Consumer) Pause() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.paused = true
	if c.session != nil {
		c.session.client.PauseFetchTopics(c.cfg.Topics...)
	}
}

// Resume ends a pause.
func (c *Consumer) Resume() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.paused = false
	if c.session != nil {
		c.session.client.ResumeFetchTopics(c.cfg.Topics...)
	}
}

// judge says what is wrong with the connection and with the membership.
func (l *link) judge(now time.Time, cfg Config) (broker, group error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	silent := now.Sub(l.answered)
	_, heartbeat := cfg.membership()
	if broker = l.unreachable(); broker == nil {
		if err := l.brokers[l.coordinator]; err != nil {
			broker = fmt.Errorf("the group's coordinator cannot be reached: %w", err)
		} else if !l.answered.IsZero() && !l.waiting && silent > 3*heartbeat {
			broker = fmt.Errorf("the group's coordinator has not answered for %v", silent)
		}
	}
	var failing []topicPartition
	for tp, f := range l.fetches {
		if now.After(f.until) {
			delete(l.fetches, tp)
			continue
		}
		failing = append(failing, tp)
	}
	switch {
	case l.group != nil:
		group = l.group
	case l.commits != nil:
		group = l.commits
	case len(failing) > 0:
		first := slices.MinFunc(failing, func(a, b topicPartition) int {
			return cmp.Or(cmp.Compare(a.topic, b.topic), cmp.Compare(a.partition, b.partition))
		})
		group = fmt.Errorf("fetching %s: %w", first, l.fetches[first].err)
	case !l.member:
		group = errors.New("not a member of the group yet")
	}
	return broker, group
}

// A link is what a session's client knows of the cluster, told by its hooks.
type link struct {
	name        string // of the group
	mu          sync.Mutex
	brokers     map[string]error // by address; nil: the last that was heard of it was good
	coordinator string           // the address where the group's requests went last
	answered    time.Time        // when the coordinator last heard of us for sure; zero: it has not yet
	waiting     bool             // a request to join waits at the coordinator, which counts us as alive meanwhile
	waited      time.Time        // when the coordinator last said that it has us wait
	member      bool
	group       error
	commits     error
	fetches     map[topicPartition]standing
}

// standing is an error that holds until it is disproved, or is not repeated in time.
type standing struct {
	err   error
	until time.Time
}

func newLink(group string) *link {
	return &link{name: group, brokers: map[string]error{}, fetches: map[topicPartition]standing{}}
}

var (
	_ kgo.HookBrokerConnect = (*link)(nil)
	_ kgo.HookBrokerWrite   = (*link)(nil)
	_ kgo.HookBrokerE2E     = (*link)(nil)
)

// OnBrokerConnect notes that a broker was reached, or why not.
func (l *link) OnBrokerConnect(broker kgo.BrokerMetadata, _ time.Duration, _ net.Conn, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.heard(broker, err)
}

// OnBrokerWrite notes a request to join.
func (l *link) OnBrokerWrite(broker kgo.BrokerMetadata, key int16, _ int, _, _ time.Duration, err error) {
	switch kmsg.Key(key) {
	case kmsg.JoinGroup, kmsg.SyncGroup:
		l.mu.Lock()
		defer l.mu.Unlock()
		l.coordinator = address(broker)
		l.waiting = err == nil
	}
}

// OnBrokerE2E notes an answer, or why there is none.
func (l *link) OnBrokerE2E(broker kgo.BrokerMetadata, key int16, e2e kgo.BrokerE2E) {
	l.mu.Lock()
	defer l.mu.Unlock()
	err := e2e.Err()
	l.heard(broker, err)
	switch kmsg.Key(key) {
	case kmsg.JoinGroup, kmsg.SyncGroup:
		l.coordinator = address(broker)
		l.waiting = false
		if err == nil {
			l.answered = time.Now() // its clock starts anew as it answers
		}
	case kmsg.Heartbeat, kmsg.ConsumerGroupHeartbeat:
		l.coordinator = address(broker)
		asked := time.Now().Add(-e2e.DurationE2E()) // its clock started anew no earlier than that
		if err == nil && !l.waiting && asked.After(l.answered) {
			l.answered = asked
		}
	}
}

// heard notes how the latest exchange with a broker ended. Requests that we gave up ourselves say nothing.
func (l *link) heard(broker kgo.BrokerMetadata, err error) {
	if !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded) {
		l.brokers[address(broker)] = err
	}
}

func address(b kgo.BrokerMetadata) string { return net.JoinHostPort(b.Host, strconv.Itoa(int(b.Port))) }

// down is why no broker can be reached; nil if one can.
func (l *link) down() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.unreachable()
}

func (l *link) unreachable() error {
	if len(l.brokers) == 0 {
		return errors.New("no broker has been reached yet")
	}
	var err error
	for _, err = range l.brokers {
		if err == nil {
			return nil
		}
	}
	return fmt.Errorf("no broker can be reached: %w", err)
}

// joined notes that the group has us.
func (l *link) joined() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.member, l.group = true, nil
}

// groupFailed notes why we are no member, and logs it when it is news.
func (l *link) groupFailed(err error) {
	l.mu.Lock()
	news := l.group == nil
	l.member, l.group = false, err
	l.mu.Unlock()
	if news {
		slog.Warn("no member of the group, which is tried again", "group", l.name, "error", err)
	}
}

// fetchFailed notes why a partition cannot be fetched, and logs it when it is news.
func (l *link) fetchFailed(tp topicPartition, err error, stands time.Duration) {
	now := time.Now()
	l.mu.Lock()
	last, known := l.fetches[tp]
	l.fetches[tp] = standing{err, now.Add(stands)}
	l.mu.Unlock()
	if !known || now.After(last.until) {
		slog.Warn("cannot fetch, which is tried again", "group", l.name, "topic", tp.topic, "partition", tp.partition, "error", err)
	}
}

// fetched notes that partitions answer again.
func (l *link) fetched(fetches kgo.Fetches) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.fetches) > 0 {
		fetches.EachPartition(func(p kgo.FetchTopicPartition) {
			if p.Err == nil {
				delete(l.fetches, topicPartition{p.Topic, p.Partition})
			}
		})
	}
}

// committed keeps what somebody has to do something about; anything else is tried again.
func (l *link) committed(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err == nil || errors.Is(err, kerr.GroupAuthorizationFailed) || errors.Is(err, kerr.TopicAuthorizationFailed) {
		l.commits = err
	}
}

// membership is how long a session lasts and how often the client heartbeats. Under the consumer protocol the broker
// decides both and does not hear of ours: a heartbeat every 5 s unless it is configured otherwise, and a session of
// several. So there the configuration can only repeat what the broker's says.
func (c Config) membership() (session, heartbeat time.Duration) {
	if c.Protocol != ProtocolConsumer {
		return c.SessionTimeout, c.HeartbeatInterval
	}
	heartbeat = max(c.HeartbeatInterval, 5*time.Second)
	return max(c.SessionTimeout, 3*heartbeat), heartbeat
}

// lease is how long the coordinator counts us as a member for sure, without hearing of us again. While it has us wait for
// the others it does; but from its answer on our session runs, whether that arrives or not. So then we are safe from when
// it last said that it has us wait.
func (l *link) lease(now time.Time, cfg Config) (left time.Duration, waiting bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	session, heartbeat := cfg.membership()
	if l.answered.IsZero() {
		return heartbeat, false // soon enough, whenever the answer comes
	}
	since := l.answered
	if l.waiting && l.waited.After(since) {
		since = l.waited
	}
	// One heartbeat early, so that handlers are gone when the next owner begins.
	return session - heartbeat - now.Sub(since), l.waiting
}

// watchLease ends a session that the coordinator may have given up. Cut off from the cluster, nobody tells a member that
// it was expelled: it has to stop by its own clock before others begin.
func (s *session) watchLease() {
	for {
		left, waiting := s.link.lease(time.Now(), s.cfg)
		if left <= 0 {
			if len(s.all()) > 0 {
				s.end(fmt.Errorf("%w: the coordinator has not answered for nearly the session timeout", errExpelled))
				for _, p := range s.all() {
					if p.retired.Load() {
						p.cancel(errLost) // what is drained has no longer time than this
					}
				}
				return
			}
			left = s.cfg.HeartbeatInterval
		}
		ctx, cancel := context.WithTimeout(s.owner, min(left, s.cfg.HeartbeatInterval))
		if waiting { // the client does not heartbeat meanwhile
			s.askWhetherWeWait(ctx)
		}
		<-ctx.Done()
		cancel()
		if s.owner.Err() != nil {
			return
		}
	}
}

// askWhetherWeWait heartbeats in the client's place. Kafka answers with a rebalance in progress while others have yet to
// join, and without an error while their leader has yet to assign; if our answer has left, with an error about our
// generation, and if we are out, about our member id.
func (s *session) askWhetherWeWait(ctx context.Context) {
	req := kmsg.NewPtrHeartbeatRequest()
	req.Group = s.cfg.Group
	req.MemberID, req.Generation = s.client.GroupMetadata()
	if s.cfg.InstanceID != "" {
		req.InstanceID = &s.cfg.InstanceID
	}
	asked := time.Now()
	resp, err := req.RequestWith(ctx, s.client)
	if err != nil || resp.ErrorCode != 0 && resp.ErrorCode != kerr.RebalanceInProgress.Code {
		return
	}
	s.link.mu.Lock()
	defer s.link.mu.Unlock()
	s.link.waited = asked
}
