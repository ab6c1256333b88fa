package lesson12

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// Config is everything about the service that an operator may want to change. It has four parts, each switched on by the
// topic that it reads; a part without a topic is off and the rest of it is not looked at.
type Config struct {
	Group string `doc:"Consumer group of all parts; its members share the partitions."`

	Commands CommandsConfig `doc:"Commands that change the stock, and the events that say so."`
	API      APIConfig      `doc:"The same commands over HTTP."`
	Outbound OutboundConfig `doc:"What holds for every HTTP call that leaves the service."`
	Calls    CallsConfig    `doc:"Events that call a REST service."`
	Webhooks WebhooksConfig `doc:"Events that partners are told of."`
	Workflow WorkflowConfig `doc:"The way of an order through its steps."`

	DrainTimeout   time.Duration `doc:"How long a partition that is given up, or a stop, waits for the work in hand before it is cancelled; less than 45 s."`
	RetryAfter     time.Duration `doc:"What the store or Kafka refused is tried again after this; its partition waits."`
	CommitInterval time.Duration `doc:"How long progress may stay uncommitted."`
	MaxQueued      int           `doc:"With so many records of one partition in memory it is fetched no further; a poll may bring as many again."`
	StallAfter     time.Duration `doc:"One attempt at a record that takes this long is wedged, and the process not live."`
}

// CommandsConfig is the part that carries out what Topic asks for: each record is a Command, and leads to an Event.
//
// A command is carried out once: the change of the stock, the result under the command's id and the event in the outbox
// are one update of the store. A record that is delivered again finds the result and adds nothing. Another record with
// the same id and the same content (correlation apart) gets the same event once more, byte for byte; with another
// content it is rejected as a conflict, and the first result stays. A command that is rejected is done with: it is not
// tried again. A store or broker that refuses is tried again, and nothing is announced that has not happened.
type CommandsConfig struct {
	Topic  string `doc:"Commands, keyed by sku; empty: no commands, and no API."`
	Events string `doc:"What became of them; another topic than the commands'."`
}

// APIConfig is the HTTP side of the commands.
type APIConfig struct {
	Timeout time.Duration `doc:"A request is answered by then, with 503 if need be."`
}

// OutboundConfig holds for calls and webhooks alike.
type OutboundConfig struct {
	Timeout   time.Duration  `doc:"One attempt takes no longer than this."`
	RetryBase time.Duration  `doc:"The wait after the first failed attempt; it doubles with each further one."`
	RetryCap  time.Duration  `doc:"The wait never gets longer than this."`
	Allow     []netip.Prefix `doc:"Networks that may be called although they are loopback, link-local, private or otherwise not public."`
}

// CallsConfig is the part that calls a REST service for each event.
//
// It POSTs the value of each record of Topic to URL, in which {key} is the record's key, path-escaped,
// with the Content-Type application/json and an Idempotency-Key that is the record's header "event-id", or
// "topic/partition/offset" without one or with an empty one: the same in each attempt and after each crash.
//
// 2xx means done. 408, 429, 5xx and everything that ends without a response, a timeout among them, is tried again
// without end: RetryBase after the first failed attempt, then twice as long each time, at most RetryCap, but not before
// a Retry-After (seconds or a date; a day at most) is over. The partition waits meanwhile. Any other status, a redirect
// under RefuseRedirects, an address that the guard refuses, and a record of which no request can be made (its "event-id"
// has control characters, which no header may have) send the record to DeadLetters, with its key, value and headers and
// a header "reason"; it is done with when that is acknowledged.
type CallsConfig struct {
	Topic       string    `doc:"Events that are to be passed on; empty: none."`
	URL         string    `doc:"Where each is POSTed; {key} stands for the record's key."`
	DeadLetters string    `doc:"Where events go that the service refuses for good."`
	Redirects   Redirects `doc:"What a redirect (3xx) means: refuse (a dead letter) or follow."`
}

// WebhooksConfig is the part that tells partners.
//
// It tells every endpoint of every record of Topic, by POST with the record's value as its body.
//
// A record is done with when a delivery for each endpoint is stored. Each endpoint then gets those of one partition one
// after the other, in order, whatever becomes of the others: a delivery ends with 2xx, and everything else is tried
// again, after the waits of OutboundConfig (no Retry-After changes them), at the same URL with the identical body and
// Webhook-Id and with a fresh timestamp and signature. Redirects are not followed. A crash may repeat a delivery; it
// has the same Webhook-Id then.
//
// After BreakAfter failed attempts in a row, counted over all partitions, an endpoint is left alone for OpenFor since
// the last of them; then one attempt is made, and only if it succeeds do the others go on; if not, that takes OpenFor
// again. After DisableAfter it is disabled, in the store, so that a restart does not forget it; its deliveries are
// kept. An address that the guard refuses disables it at once.
type WebhooksConfig struct {
	Topic        string        `doc:"Events that every endpoint is told of; empty: none."`
	Endpoints    []Endpoint    `doc:"Partners, each as \"name url secret\"."`
	BreakAfter   int           `doc:"Failed attempts in a row after which an endpoint is left alone for a while."`
	OpenFor      time.Duration `doc:"How long it is left alone; then one attempt shows whether it is back."`
	DisableAfter int           `doc:"Failed attempts in a row after which an endpoint is disabled until somebody enables it; more than break_after."`
}

// WorkflowConfig is the part that leads orders through their steps.
//
// A placed order is asked for its first step; each step that is done leads to the next, and the last one to the outcome
// Confirmed. A step that fails has done nothing: the steps before it are compensated, the latest first, each only when
// the one after it is undone, and then the order is Cancelled. A compensation that fails is asked for again UndoRetry
// after its reply, one that is not answered StepTimeout after it was asked for; after UndoAttempts in all the order is
// StuckFast, and what is left is not undone, until a late "done" lets it go on. A "done" counts whichever attempt it
// answers, a "failed" that of the latest alone.
//
// A step that is not answered within StepTimeout has an unknown end. It counts as failed, and is not compensated, until
// its "done" arrives all the same, however late: then it is compensated at once. Each outcome is told once. A reply that
// is not waited for, a second "placed" and a record that is none of these change nothing; they are counted as
// "ignored_replies".
//
// What an order has come to, the times at which something of it is due and the messages that this leads to are one
// update of the store. So a timer fires once, whoever owns the partition by then.
type WorkflowConfig struct {
	Topic        string        `doc:"Orders and the replies of those who do the steps, keyed by order; empty: none."`
	Tasks        string        `doc:"Where the steps are asked for, keyed by order."`
	Outcomes     string        `doc:"How each order ended, keyed by order."`
	Steps        []Step        `doc:"The steps in order, each as \"name/compensation\"."`
	StepTimeout  time.Duration `doc:"A task that is not answered for this long has an unknown end."`
	UndoRetry    time.Duration `doc:"A compensation that failed is asked for again after this."`
	UndoAttempts int           `doc:"So often a compensation is asked for; then the order is stuck."`
}

// Endpoint is a partner that wants to be told. Its text is "name url secret".
type Endpoint struct {
	Name   string
	URL    string
	Secret string
}

// MarshalText is the text of the endpoint.
func (e Endpoint) MarshalText() ([]byte, error) {
	return []byte(e.Name + " " + e.URL + " " + e.Secret), nil
}

// UnmarshalText accepts "name url secret".
func (e *Endpoint) UnmarshalText(text []byte) error {
	words := strings.Fields(string(text))
	if len(words) != 3 {
		return errors.New(`an endpoint is "name url secret"`)
	}
	e.Name, e.URL, e.Secret = words[0], words[1], words[2]
	return nil
}

// Step is one step of the workflow and what undoes it. Its text is "name/compensation".
type Step struct {
	Name         string
	Compensation string
}

// MarshalText is the text of the step.
func (s Step) MarshalText() ([]byte, error) { return []byte(s.Name + "/" + s.Compensation), nil }

// UnmarshalText accepts "name/compensation".
func (s *Step) UnmarshalText(text []byte) error {
	name, compensation, ok := strings.Cut(string(text), "/")
	if !ok {
		return fmt.Errorf(`%q is no step: a step is "name/compensation"`, text)
	}
	s.Name, s.Compensation = name, compensation
	return nil
}

// Redirects is what a redirect of a called service means.
type Redirects uint8

// The policies.
const (
	// RefuseRedirects takes 3xx for a refusal for good: nobody agreed to send the event elsewhere.
	RefuseRedirects Redirects = iota
	// FollowRedirects goes where it is sent, as net/http does. The guard judges every address anew.
	FollowRedirects
)

// String is "refuse" or "follow".
func (r Redirects) String() string {
	switch r {
	case RefuseRedirects:
		return "refuse"
	case FollowRedirects:
		return "follow"
	}
	return fmt.Sprintf("Redirects(%d)", uint8(r))
}

// MarshalText is String.
func (r Redirects) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// UnmarshalText accepts what String returns.
func (r *Redirects) UnmarshalText(text []byte) error {
	for _, one := range []Redirects{RefuseRedirects, FollowRedirects} {
		if one.String() == string(text) {
			*r = one
			return nil
		}
	}
	return fmt.Errorf(`%q is neither "refuse" nor "follow"`, text)
}

// Outside is what a service is given of the world beside Kafka.
type Outside struct {
	// Store is the database of all members of the group: what one of them has written, the next owner of a partition
	// finds there. It must be set.
	Store Store
	// Dial connects to an address that the guard has judged; nil: net.Dialer.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// Resolve finds the addresses of a name; nil: net.DefaultResolver.
	Resolve func(ctx context.Context, host string) ([]netip.Addr, error)
	// Transport, if set, is laid round the transport of every call that leaves the service: traces, metrics.
	Transport func(http.RoundTripper) http.RoundTripper
	// Attempt, if set, is laid round every attempt at a record: what it returns is called for the attempt, and the work
	// for the record is done inside. A nil from it says that the record is done with (carried out, rejected,
	// dead-lettered, or ignored for good) and may be committed; an error, that it is not.
	Attempt func(Handler) Handler
}

// Handler does the work for one record.
type Handler = func(ctx context.Context, r *kgo.Record) error

// Store is a database that changes all at once or not at all. A function that is given to it must not wait for
// anything: no network, no clock, no channel.
type Store interface {
	// Update runs change alone: no other Update runs at the same time. If change returns nil, all that it has put and
	// deleted is durable when Update returns nil. If change or Update returns an error, the caller must reckon with
	// either: nothing has changed, or (Update's own error) everything has.
	Update(change func(tx Tx) error) error
	// View runs look on one state of the database.
	View(look func(tx Tx) error) error
}

// Tx is one state of the database. It must not be used after the function that was given it has returned.
type Tx interface {
	// Get returns a copy of the value of a key, nil for none.
	Get(key string) []byte
	// Put sets the value of a key; within View it is an error.
	Put(key string, value []byte) error
	// Delete removes a key, if it is there; within View it is an error.
	Delete(key string) error
	// Scan calls each for the keys that begin with prefix, in the order of their bytes, until it returns an error, which
	// Scan returns. each must not change the database.
	Scan(prefix string, each func(key string, value []byte) error) error
}

// DefaultConfig is a working configuration: everything but the webhooks' partners and the REST service, which nobody
// can guess.
func DefaultConfig() Config {
	return Config{
		Group:    "shop",
		Commands: CommandsConfig{Topic: "inventory-commands", Events: "inventory-events"},
		API:      APIConfig{Timeout: 5 * time.Second},
		Outbound: OutboundConfig{Timeout: 5 * time.Second, RetryBase: time.Second, RetryCap: time.Minute},
		Calls:    CallsConfig{DeadLetters: "calls-dlt"},
		Webhooks: WebhooksConfig{BreakAfter: 5, OpenFor: 30 * time.Second, DisableAfter: 20},
		Workflow: WorkflowConfig{
			Topic: "orders", Tasks: "order-tasks", Outcomes: "order-outcomes",
			Steps:       []Step{{"reserve", "release"}, {"charge", "refund"}, {"ship", "recall"}},
			StepTimeout: 30 * time.Second, UndoRetry: 10 * time.Second, UndoAttempts: 5,
		},
		DrainTimeout:   10 * time.Second,
		RetryAfter:     time.Second,
		CommitInterval: time.Second,
		MaxQueued:      1000,
		StallAfter:     5 * time.Minute,
	}
}

// Validate reports everything that is wrong with c, joined into one error, so that an operator corrects a file once.
// Each problem names its field as it stands in config.yaml, such as "webhooks.disable_after".
//
// Group is named; at least one part is on; durations and counts are positive; DrainTimeout is below 45 s, the session
// timeout of the group. Of a part that is on: Commands.Events is named and is not Commands.Topic, or the service would
// consume its own events; Calls.URL is an http or https URL with a host and Calls.DeadLetters is named and is not
// Calls.Topic; there is at least one endpoint, each with a name of its own, an http or https URL and a secret;
// DisableAfter is above BreakAfter; Workflow.Tasks and Workflow.Outcomes are named, and both differ from
// Workflow.Topic; there is at least one step, names and compensations are named and all different; Outbound.RetryCap is
// not below RetryBase. No two parts read the same topic.
func (c Config) Validate() error {
	var problems []error
	wrong := func(field, format string, args ...any) {
		problems = append(problems, fmt.Errorf("%s: %s", field, fmt.Sprintf(format, args...)))
	}
	named := func(field, value string) {
		if strings.TrimSpace(value) == "" {
			wrong(field, "must not be empty")
		}
	}
	positive := func(field string, d time.Duration) {
		if d <= 0 {
			wrong(field, "is %v: must be above 0", d)
		}
	}
	atLeast := func(field string, n, least int) {
		if n < least {
			wrong(field, "is %d: must be at least %d", n, least)
		}
	}
	web := func(field, text string) {
		if u, err := url.Parse(text); err != nil || u.Hostname() == "" || u.Scheme != "http" && u.Scheme != "https" {
			wrong(field, "is %q: must be an http or https URL", text)
		}
	}

	named("group", c.Group)
	positive("drain_timeout", c.DrainTimeout)
	if c.DrainTimeout >= sessionTimeout {
		wrong("drain_timeout", "is %v: must be below the session timeout, %v", c.DrainTimeout, sessionTimeout)
	}
	positive("retry_after", c.RetryAfter)
	positive("commit_interval", c.CommitInterval)
	atLeast("max_queued", c.MaxQueued, 1)
	positive("stall_after", c.StallAfter)

	readers := map[string]string{}
	for _, part := range []struct{ field, topic string }{
		{"commands.topic", c.Commands.Topic}, {"calls.topic", c.Calls.Topic}, {"webhooks.topic", c.Webhooks.Topic}, {"workflow.topic", c.Workflow.Topic},
	} {
		if part.topic == "" {
			continue
		}
		if other, taken := readers[part.topic]; taken {
			wrong(part.field, "is %q, as is %s", part.topic, other)
		}
		readers[part.topic] = part.field
	}
	if len(readers) == 0 {
		wrong("commands.topic", "no part is on: set the topic of one at least")
	}
	apart := func(field, topic, own string) {
		named(field, topic)
		if topic != "" && topic == own {
			wrong(field, "is %q, the topic that this part reads: it would consume its own records", topic)
		}
	}
	if c.Commands.Topic != "" {
		apart("commands.events", c.Commands.Events, c.Commands.Topic)
		positive("api.timeout", c.API.Timeout)
	}
	if c.Calls.Topic != "" || c.Webhooks.Topic != "" {
		positive("outbound.timeout", c.Outbound.Timeout)
		positive("outbound.retry_base", c.Outbound.RetryBase)
		positive("outbound.retry_cap", c.Outbound.RetryCap)
		if c.Outbound.RetryCap < c.Outbound.RetryBase {
			wrong("outbound.retry_cap", "is %v: must not be below retry_base (%v)", c.Outbound.RetryCap, c.Outbound.RetryBase)
		}
	}
	if c.Calls.Topic != "" {
		web("calls.url", c.Calls.URL)
		apart("calls.dead_letters", c.Calls.DeadLetters, c.Calls.Topic)
		if c.Calls.Redirects > FollowRedirects {
			wrong("calls.redirects", "is %v: must be refuse or follow", c.Calls.Redirects)
		}
	}
	if c.Webhooks.Topic != "" {
		atLeast("webhooks.endpoints", len(c.Webhooks.Endpoints), 1)
		seen := map[string]bool{}
		for i, e := range c.Webhooks.Endpoints {
			field := fmt.Sprintf("webhooks.endpoints[%d]", i)
			named(field+".name", e.Name)
			named(field+".secret", e.Secret)
			web(field+".url", e.URL)
			if seen[e.Name] {
				wrong(field+".name", "%q is taken", e.Name)
			}
			seen[e.Name] = true
		}
		atLeast("webhooks.break_after", c.Webhooks.BreakAfter, 1)
		positive("webhooks.open_for", c.Webhooks.OpenFor)
		atLeast("webhooks.disable_after", c.Webhooks.DisableAfter, c.Webhooks.BreakAfter+1)
	}
	if c.Workflow.Topic != "" {
		apart("workflow.tasks", c.Workflow.Tasks, c.Workflow.Topic)
		apart("workflow.outcomes", c.Workflow.Outcomes, c.Workflow.Topic)
		atLeast("workflow.steps", len(c.Workflow.Steps), 1)
		seen := map[string]bool{}
		for i, step := range c.Workflow.Steps {
			for _, name := range []string{step.Name, step.Compensation} {
				field := fmt.Sprintf("workflow.steps[%d]", i)
				named(field, name)
				if seen[name] {
					wrong(field, "%q is taken", name)
				}
				seen[name] = true
			}
		}
		positive("workflow.step_timeout", c.Workflow.StepTimeout)
		positive("workflow.undo_retry", c.Workflow.UndoRetry)
		atLeast("workflow.undo_attempts", c.Workflow.UndoAttempts, 1)
	}
	return errors.Join(problems...)
}

// sessionTimeout is the group's: how long a member may be silent.
const sessionTimeout = 45 * time.Second
