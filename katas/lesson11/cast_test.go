package lesson11

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/kafka-katas/kafka-katas/harness"
)

func TestMain(m *testing.M) {
	slog.SetDefault(slog.New(slog.NewTextHandler(io.Discard, nil))) // what a service logs is not judged
	harness.Main(m)
}

// stage is what every story of this lesson has: the topics, the providers, and the texts.
type stage struct {
	w                                                     *harness.World
	cfg                                                   Config
	triggers, preferences, log, receipts, status, letters *harness.Topic
	tasks                                                 map[string]*harness.Topic // by name
	planner, receiver                                     *harness.Group
	senders                                               map[string]*harness.Group // by channel
	email, sms, push                                      *provider                 // nil: not used
	audience                                              *audience
	opts                                                  []kgo.Opt // of every client
}

var texts = map[string]map[string]string{
	"news":   {Email: "{{.Event}} to {{.User}}", SMS: "{{.Event}} to {{.User}}", Push: "{{.Event}} to {{.User}}"},
	"code":   {Email: "Dear {{.User}}, your code is {{.Data.code}}", SMS: "code {{.Data.code}}", Push: "{{.Data.code}}"},
	"offers": {Email: "{{range .Items}}{{.item}} {{end}}to {{.User}}"},
	"mail":   {Email: "{{.Event}} to {{.User}}"},
}

// set sets the stage for these channels. There is no rate limit and one send at a time, unless the story says otherwise.
func set(w *harness.World, channels []string, changes ...func(*Config)) *stage {
	s := &stage{w: w, cfg: DefaultConfig(), tasks: map[string]*harness.Topic{}, senders: map[string]*harness.Group{}}
	s.opts = []kgo.Opt{kgo.FetchMaxWait(5 * time.Second)} // stories in which nothing happens are quick
	for _, l := range []*Limits{&s.cfg.Email, &s.cfg.SMS, &s.cfg.Push} {
		l.PerSecond, l.Concurrency = 0, 1
	}
	names := &s.cfg.Topics
	s.triggers = w.Topic(names.Triggers, 2)
	s.preferences = w.Topic(names.Preferences, 2, "cleanup.policy", "compact")
	s.log = w.Topic(names.Log, 1, "cleanup.policy", "compact,delete")
	s.receipts, s.letters = w.Topic(names.Receipts, 1), w.Topic(names.DeadLetters, 1)
	s.status = w.Topic(names.Status, 1, "cleanup.policy", "compact")
	for _, channel := range channels {
		for _, critical := range []bool{true, false} {
			topic := w.Topic(names.Task(channel, critical), 2)
			s.tasks[topic.Name] = topic
		}
		v := &provider{Effects: w.Effects(channel), name: channel, w: w, accepted: map[string]bool{}}
		switch channel {
		case Email:
			s.email = v
		case SMS:
			s.sms = v
		case Push:
			s.push = v
		}
	}
	for topic, name := range map[*harness.Topic]*string{s.triggers: &names.Triggers, s.preferences: &names.Preferences, s.log: &names.Log,
		s.receipts: &names.Receipts, s.status: &names.Status, s.letters: &names.DeadLetters} {
		*name = topic.Name // on a real cluster it is another one
	}
	mark := strings.TrimPrefix(s.triggers.Name, s.triggers.String())
	names.Tasks, s.cfg.Group = names.Tasks+mark, s.cfg.Group+mark
	s.planner, s.receiver = w.Group("planner-notifications"), w.Group("receipts-notifications")
	for _, channel := range channels {
		s.senders[channel] = w.Group(channel + "-notifications")
	}
	for _, change := range changes {
		change(&s.cfg)
	}
	return s
}

// often is for stories that measure time from their beginning: a partition that is assigned after a fetch was sent waits for it.
func (s *stage) often() { s.opts = []kgo.Opt{kgo.FetchMaxWait(500 * time.Millisecond)} }

// member is one service of a story.
type member struct {
	*harness.Process
	*Service
}

// start starts a service.
func (s *stage) start(name string) *member {
	m := &member{}
	m.Process = s.w.Start(name, func(p *harness.Process) (harness.Runner, error) {
		parts := Parts{Channels: map[string]Channel{}, Templates: texts}
		for _, v := range s.providers() {
			parts.Channels[v.name] = line{v, p}
		}
		if s.audience != nil {
			parts.Audience = desk{s.audience, p}
		}
		service, err := New(s.cfg, parts, append(p.Options(), s.opts...)...)
		m.Service = service
		if service == nil {
			return nil, err
		}
		return service, err
	})
	return m
}

func (s *stage) providers() (used []*provider) {
	for _, v := range []*provider{s.email, s.sms, s.push} {
		if v != nil {
			used = append(used, v)
		}
	}
	return used
}

// user says how a user is reached, by these channels, and that all of them are wanted.
func (s *stage) user(name string, channels ...string) Preferences {
	yes := true
	p := Preferences{Channels: map[string]Contact{}}
	for _, channel := range channels {
		p.Channels[channel] = Contact{Address: name + "'s " + channel, Enabled: &yes}
	}
	s.prefers(name, p)
	return p
}

func (s *stage) prefers(name string, p Preferences) { s.preferences.Produce(record(name, p)) }

// tell writes triggers.
func (s *stage) tell(triggers ...Trigger) {
	var records []*kgo.Record
	for _, t := range triggers {
		records = append(records, record(t.Event, t))
	}
	s.triggers.Produce(records...)
}

// news is a trigger for a user, with a text on each channel that says "event to user".
func news(event, user string, changes ...func(*Trigger)) Trigger {
	t := Trigger{Event: event, Template: "news", User: user}
	for _, change := range changes {
		change(&t)
	}
	return t
}

func critical(t *Trigger) { t.Critical = true }
func fallback(t *Trigger) { t.Fallback = true }

func record(key string, value any) *kgo.Record {
	data, err := json.Marshal(value)
	if err != nil {
		panic(err)
	}
	return &kgo.Record{Key: []byte(key), Value: data}
}

// settled claims that every trigger and every task has been dealt with.
//
//go:noinline
func (s *stage) settled() harness.Claim {
	claims := []harness.Claim{s.planner.Drained(s.triggers)}
	for _, v := range s.providers() {
		claims = append(claims, s.senders[v.name].Drained(s.tasks[s.cfg.Topics.Task(v.name, true)], s.tasks[s.cfg.Topics.Task(v.name, false)]))
	}
	return harness.All(claims...)
}

// A provider is one of the world outside. It accepts a key once, and says so politely when it sees it again.
type provider struct {
	*harness.Effects // the messages that reach users, by their text
	w                *harness.World
	name             string

	mu        sync.Mutex
	answers   []answer
	accepted  map[string]bool
	calls     []call
	takes     time.Duration
	always    *answer // when the script is over
	now, most int
}

type call struct {
	Message
	at time.Duration
	by string
}

// answer is what a provider does with a call.
type answer struct {
	err    error
	silent bool          // it accepts the message, and its answer never comes
	hangs  bool          // it does not even do that
	panics bool          // its client has a bug
	after  time.Duration // how long an error takes to come
}

var (
	accept            = answer{}
	errDown           = errors.New("503 service unavailable")
	fail              = answer{err: errDown}
	hang              = answer{hangs: true}
	acceptThenTimeOut = answer{silent: true}
)

func throttle(d time.Duration) answer { return answer{err: &Throttled{After: d}} }
func refuse(reason string) answer     { return answer{err: &Refused{Reason: reason}} }

// answersNext scripts the next calls; then all are accepted.
func (v *provider) answersNext(answers ...answer) {
	v.mu.Lock()
	v.answers = append(v.answers, answers...)
	v.mu.Unlock()
}

// line is a provider as one process reaches it.
type line struct {
	v *provider
	p *harness.Process
}

func (l line) Send(ctx context.Context, m Message) error {
	v := l.v
	var a answer
	err := l.p.Exchange(v.name+": "+m.Body, func() (string, error) {
		v.mu.Lock()
		defer v.mu.Unlock()
		if len(v.answers) > 0 {
			a, v.answers = v.answers[0], v.answers[1:]
		} else if v.always != nil {
			a = *v.always
		}
		v.calls = append(v.calls, call{m, v.w.Now(), l.p.Name})
		v.now++
		v.most = max(v.most, v.now)
		return "", a.err
	})
	defer v.ended()
	if a.after > 0 {
		select {
		case <-time.After(a.after):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if err != nil {
		return err
	}
	if a.panics {
		panic("index out of range [3] with length 3")
	}
	if a.hangs {
		<-ctx.Done()
		return ctx.Err()
	}
	if v.takes > 0 {
		select {
		case <-time.After(v.takes):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if err := v.accept(l.p, m); err != nil || !a.silent {
		return err
	}
	<-ctx.Done()
	return ctx.Err()
}

func (v *provider) ended() { v.mu.Lock(); v.now--; v.mu.Unlock() }

func (v *provider) accept(p *harness.Process, m Message) error {
	v.mu.Lock()
	again := v.accepted[m.Key]
	v.mu.Unlock()
	if again {
		return nil
	}
	return v.Do(p, m.Body, func() error {
		v.mu.Lock()
		defer v.mu.Unlock()
		v.accepted[m.Key] = true
		return nil
	})
}

func (v *provider) heard() []call {
	v.mu.Lock()
	defer v.mu.Unlock()
	return slices.Clone(v.calls)
}

// called are all calls of a provider, as the journal knows them.
//
//go:noinline
func (v *provider) called() []harness.Event {
	return v.w.Journal().Events(harness.Of(harness.Called), func(e harness.Event) bool { return strings.HasPrefix(e.Text, v.name+": ") })
}

// calledTimes claims that a provider was called that often.
//
//go:noinline
func (v *provider) calledTimes(n int) harness.Claim {
	return func(*harness.World) error {
		calls := v.called()
		switch {
		case len(calls) > n:
			return harness.Shown(harness.Broke[harness.Duplicated]("each call costs money, and whoever the provider does not recognise is told again",
				"%s was called %d times; it should be %d", v.name, len(calls), n), calls...)
		case len(calls) < n:
			return harness.Shown(harness.Broke[harness.Lost]("nobody will ask for it again", "%s was called %d times; it should be %d", v.name, len(calls), n), calls...)
		}
		return nil
	}
}

// keyed claims that each message had one key at each call, and one of its own.
//
//go:noinline
func (v *provider) keyed() harness.Claim {
	return func(*harness.World) error {
		keyOf, bodyOf := map[string]string{}, map[string]string{}
		for _, c := range v.heard() {
			key, again := keyOf[c.Body]
			switch body, used := bodyOf[c.Key]; {
			case c.Key == "":
				return harness.Broke[harness.Duplicated]("a provider recognises a message by its key alone", "%s was called about %q without a key", v.name, c.Body)
			case again && key != c.Key:
				return harness.Broke[harness.Duplicated]("a provider recognises a message by its key alone: under another key it sends it again",
					"%s was called about %q with key %q, and with key %q by %s at %v", v.name, c.Body, key, c.Key, c.by, c.at)
			case used && body != c.Body:
				return harness.Broke[harness.Lost]("a provider takes the second message for the first one again, and does not send it",
					"%s was called with key %q about %q, and about %q", v.name, c.Key, body, c.Body)
			}
			keyOf[c.Body], bodyOf[c.Key] = c.Key, c.Body
		}
		return nil
	}
}

// audience is a list of users that is too long to be read at once.
type audience struct {
	w     *harness.World
	users int
	takes time.Duration // a page
	name  func(i int) string

	mu    sync.Mutex
	fails int // which call fails; 0 is none
	pages []page
}

type page struct {
	by    string
	after string
	n     int
}

// desk is the audience as one process reaches it.
type desk struct {
	a *audience
	p *harness.Process
}

func (d desk) Page(ctx context.Context, list, after string, limit int) (users []string, err error) {
	if d.a.takes > 0 {
		time.Sleep(d.a.takes)
	}
	d.a.mu.Lock()
	d.a.fails--
	down := d.a.fails == 0
	d.a.mu.Unlock()
	if down {
		return nil, errDown
	}
	err = d.p.Exchange(fmt.Sprintf("users after %q, at most %d", after, limit), func() (string, error) {
		a := d.a
		first := 0
		if after != "" {
			if _, err := fmt.Sscanf(after, "u%d", &first); err != nil {
				return "", err
			}
			first++
		}
		for i := first; i < a.users && len(users) < limit; i++ {
			users = append(users, a.name(i))
		}
		a.mu.Lock()
		defer a.mu.Unlock()
		a.pages = append(a.pages, page{d.p.Name, after, limit})
		return fmt.Sprint(len(users)), nil
	})
	return users, err
}

func (a *audience) asked() []page {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.pages)
}

// short are time-outs that make a story short.
func short(c *Config) {
	c.SessionTimeout, c.HeartbeatInterval, c.RebalanceTimeout, c.DrainTimeout = 6*time.Second, 2*time.Second, 10*time.Second, 3*time.Second
	c.Email.Timeout, c.SMS.Timeout, c.Push.Timeout = 2*time.Second, 2*time.Second, 2*time.Second
}

// healthy claims what a service's health says.
//
//go:noinline
func (m *member) healthy(live, ready bool) harness.Claim {
	return harness.Reported(func() error {
		h := m.Health()
		if h.Live == live && h.Ready == ready {
			return nil
		}
		if h.Cause() == "" {
			return fmt.Errorf("%s says live=%t and ready=%t, and no check fails; it should be live=%t and ready=%t", m.Name, h.Live, h.Ready, live, ready)
		}
		return fmt.Errorf("%s says live=%t and ready=%t (%s); it should be live=%t and ready=%t", m.Name, h.Live, h.Ready, h.Cause(), live, ready)
	})
}
