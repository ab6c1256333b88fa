package lesson12

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/kafka-katas/kafka-katas/harness"
	"github.com/kafka-katas/kafka-katas/harness/httpfake"
)

func TestMain(m *testing.M) {
	slog.SetDefault(slog.New(slog.NewTextHandler(io.Discard, nil))) // what a service logs is not judged
	harness.Main(m)
}

// stage is what the stories of this lesson have in common: the shop's topics, its database, and a network on which
// partners have names and public addresses.
type stage struct {
	*harness.World
	group *harness.Group
	cfg   Config
	db    *database

	commands, events        *harness.Topic
	calls, dead             *harness.Topic
	hooks                   *harness.Topic
	orders, tasks, outcomes *harness.Topic
	customer                *http.Client
	mu                      sync.Mutex
	hosts                   map[string]string // by address, such as 203.0.113.1
	names                   map[string][]netip.Addr
	open                    int    // response bodies
	exchanges               []talk // of customers
}

// set is a stage on which no part is on.
func set(w *harness.World) *stage {
	s := &stage{World: w, group: w.Group("shop"), cfg: DefaultConfig(), db: newDatabase(), hosts: map[string]string{}, names: map[string][]netip.Addr{}}
	s.cfg.Group = s.group.Name
	s.cfg.Commands.Topic, s.cfg.Calls.Topic, s.cfg.Webhooks.Topic, s.cfg.Workflow.Topic = "", "", "", ""
	return s
}

// inventory has the commands on.
func inventory(w *harness.World, partitions int32) *stage {
	s := set(w)
	s.commands, s.events = w.Topic("commands", partitions), w.Topic("events", partitions)
	s.cfg.Commands = CommandsConfig{Topic: s.commands.Name, Events: s.events.Name}
	return s
}

// calling has the calls on, to a partner called shipping.
func calling(w *harness.World, partitions int32) (*stage, *httpfake.Partner) {
	s := set(w)
	s.calls, s.dead = w.Topic("shipments", partitions), w.Topic("shipments-dlt", 1)
	s.cfg.Calls.Topic, s.cfg.Calls.DeadLetters, s.cfg.Calls.URL = s.calls.Name, s.dead.Name, "http://shipping.example/shipments/{key}"
	return s, s.partner("shipping")
}

// telling has the webhooks on, to partners of these names.
func telling(w *harness.World, partitions int32, names ...string) (*stage, []*httpfake.Partner) {
	s := set(w)
	s.hooks = w.Topic("shop-events", partitions)
	s.cfg.Webhooks.Topic = s.hooks.Name
	var partners []*httpfake.Partner
	for _, name := range names {
		partners = append(partners, s.partner(name))
		s.cfg.Webhooks.Endpoints = append(s.cfg.Webhooks.Endpoints, Endpoint{Name: name, URL: "http://" + name + ".example/hooks", Secret: secretOf(name)})
	}
	return s, partners
}

func secretOf(name string) string { return "secret-of-" + name }

// ordering has the workflow on.
func ordering(w *harness.World, partitions int32) *stage {
	s := set(w)
	s.orders, s.tasks, s.outcomes = w.Topic("orders", partitions), w.Topic("order-tasks", 1), w.Topic("order-outcomes", 1)
	s.cfg.Workflow.Topic, s.cfg.Workflow.Tasks, s.cfg.Workflow.Outcomes = s.orders.Name, s.tasks.Name, s.outcomes.Name
	return s
}

// partner is somebody on the public network, at the address 203.0.113.n and by the name name.example.
func (s *stage) partner(name string) *httpfake.Partner {
	s.mu.Lock()
	addr := netip.AddrFrom4([4]byte{203, 0, 113, byte(len(s.hosts) + 1)})
	s.hosts[addr.String()] = name
	s.names[name+".example"] = []netip.Addr{addr}
	s.mu.Unlock()
	return httpfake.Start(s.World, name+":80")
}

// site is a partner that answers as it likes, by the name name.example.
func (s *stage) site(name string, handler http.Handler) {
	s.Start(name, func(p *harness.Process) (harness.Runner, error) {
		l, err := p.Listen(name + ":80")
		if err != nil {
			return nil, err
		}
		return harness.RunFunc(func(ctx context.Context) error {
			server := &http.Server{Handler: handler}
			defer context.AfterFunc(ctx, func() { server.Close() })()
			server.Serve(l) //nolint:errcheck // it ends with the story
			return nil
		}), nil
	})
	s.moveTo(name, "203.0.113.99")
}

// member is one service of a story: the process, and the service that runs in it.
type member struct {
	*harness.Process
	*Service
	address string
}

func (s *stage) start(name string, changes ...func(*Config)) *member {
	m := &member{address: name + ":80"}
	m.Process = s.Start(name, func(p *harness.Process) (harness.Runner, error) {
		cfg := s.cfg
		for _, change := range changes {
			change(&cfg)
		}
		service, err := New(cfg, s.outside(p), p.Options()...)
		m.Service = service
		if err != nil || service == nil {
			return nil, err
		}
		if cfg.Commands.Topic == "" {
			return service, nil
		}
		l, err := p.Listen(m.address)
		if err != nil {
			return nil, err
		}
		return harness.RunFunc(func(ctx context.Context) error {
			server := &http.Server{Handler: service.API()}
			defer server.Close()
			go server.Serve(l) //nolint:errcheck // it ends with the process
			return service.Run(ctx)
		}), nil
	})
	return m
}

// outside is the world as a process sees it.
func (s *stage) outside(p *harness.Process) Outside {
	return Outside{
		Store: &connection{s.db, p},
		Resolve: func(_ context.Context, host string) ([]netip.Addr, error) {
			s.mu.Lock()
			defer s.mu.Unlock()
			if addrs := s.names[host]; addrs != nil {
				return addrs, nil
			}
			return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
		},
		Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
			host, port, err := net.SplitHostPort(address)
			if err != nil {
				return nil, err
			}
			s.mu.Lock()
			name, known := s.hosts[host]
			s.mu.Unlock()
			if !known {
				return nil, &net.OpError{Op: "dial", Net: network, Err: errors.New("no route to " + host)}
			}
			return p.Dial(ctx, network, net.JoinHostPort(name, port))
		},
		Transport: func(next http.RoundTripper) http.RoundTripper { return &traced{s, p, next} },
		Attempt:   func(work Handler) Handler { return p.Handler(work) },
	}
}

// traced journals what leaves a process; each call is a boundary at which it can crash.
type traced struct {
	s    *stage
	p    *harness.Process
	next http.RoundTripper
}

func (t *traced) RoundTrip(r *http.Request) (resp *http.Response, err error) {
	err = t.p.Exchange(r.Method+" "+r.URL.Host+r.URL.RequestURI(), func() (string, error) {
		if resp, err = t.next.RoundTrip(r); err != nil {
			return "", err
		}
		return resp.Status, nil
	})
	if err != nil {
		if resp != nil {
			resp.Body.Close()
		}
		return nil, err
	}
	t.s.mu.Lock()
	t.s.open++
	t.s.mu.Unlock()
	resp.Body = &body{ReadCloser: resp.Body, closed: sync.OnceFunc(func() {
		t.s.mu.Lock()
		t.s.open--
		t.s.mu.Unlock()
	})}
	return resp, nil
}

type body struct {
	io.ReadCloser
	closed func()
}

func (b *body) Close() error {
	b.closed()
	return b.ReadCloser.Close()
}

// bodiesClosed claims that every response's body was closed.
//
//go:noinline
func (s *stage) bodiesClosed() harness.Claim {
	return func(*harness.World) error {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.open == 0 {
			return nil
		}
		return harness.Broke[harness.Leaked]("an open body holds its connection: each call takes another one, until there are none left",
			"%d response bodies were never closed", s.open)
	}
}

// database is the shop's: it outlives every process and changes all at once.
type database struct {
	turn   chan struct{} // one at a time; a channel, so that a program that waits within a change does not stop the clock
	mu     sync.Mutex
	data   map[string][]byte
	delay  time.Duration // until an update begins: the way to the database
	refuse int           // so many updates are refused
	blind  int           // so many views are
}

func newDatabase() *database {
	return &database{turn: make(chan struct{}, 1), data: map[string][]byte{}}
}

var errStore = errors.New("the database refuses for the moment")

// refuses makes the next n updates fail.
func (d *database) refuses(n int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.refuse = n
}

// hides makes the next n views fail.
func (d *database) hides(n int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.blind = n
}

// connection is a process's way to the database. Each update is a boundary at which the process can crash.
type connection struct {
	db *database
	p  *harness.Process
}

func (c *connection) Update(change func(tx Tx) error) error {
	d := c.db
	time.Sleep(d.delay)
	return c.p.Exchange("update of the store", func() (string, error) {
		d.turn <- struct{}{}
		defer func() { <-d.turn }()
		d.mu.Lock()
		refused := d.refuse > 0
		if refused {
			d.refuse--
		}
		tx := &image{data: maps.Clone(d.data), writes: true}
		d.mu.Unlock()
		if refused {
			return "", errStore
		}
		if !c.p.Alive() {
			return "", errors.New("the process has crashed")
		}
		if err := change(tx); err != nil {
			return "", err
		}
		d.mu.Lock()
		d.data = tx.data
		d.mu.Unlock()
		return "ok", nil
	})
}

func (c *connection) View(look func(tx Tx) error) error {
	if !c.p.Alive() {
		return errors.New("the process has crashed")
	}
	time.Sleep(c.db.delay)
	c.db.mu.Lock()
	hidden := c.db.blind > 0
	if hidden {
		c.db.blind--
	}
	tx := &image{data: c.db.data}
	c.db.mu.Unlock()
	if hidden {
		return errStore
	}
	return look(tx)
}

// image is one state of the database; it is never changed once it is the database's.
type image struct {
	data   map[string][]byte
	writes bool
}

func (t *image) Get(key string) []byte { return bytes.Clone(t.data[key]) }

func (t *image) Put(key string, value []byte) error {
	if !t.writes {
		return errors.New("a view changes nothing")
	}
	t.data[key] = append([]byte{}, value...)
	return nil
}

func (t *image) Delete(key string) error {
	if !t.writes {
		return errors.New("a view changes nothing")
	}
	delete(t.data, key)
	return nil
}

func (t *image) Scan(prefix string, each func(key string, value []byte) error) error {
	var keys []string
	for key := range t.data {
		if strings.HasPrefix(key, prefix) {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	for _, key := range keys {
		if err := each(key, bytes.Clone(t.data[key])); err != nil {
			return err
		}
	}
	return nil
}

// asJSON is a record with that key and that value.
func asJSON(key string, value any) *kgo.Record {
	text, err := json.Marshal(value)
	if err != nil {
		panic(err)
	}
	return &kgo.Record{Key: []byte(key), Value: text}
}

// versionOf is for ExpectedVersion.
func versionOf(n int64) *int64 { return &n }

// read decodes the records of a topic; what is no JSON is a zero value.
func read[T any](t *harness.Topic) (values []T) {
	_, values = both[T](t)
	return values
}

// both are the records of a topic and what they say.
func both[T any](t *harness.Topic) (records []*kgo.Record, values []T) {
	records = t.Records()
	for _, r := range records {
		var v T
		json.Unmarshal(r.Value, &v) //nolint:errcheck // what cannot be read is not what is wanted either
		values = append(values, v)
	}
	return records, values
}

func header(key, value string) kgo.RecordHeader {
	return kgo.RecordHeader{Key: key, Value: []byte(value)}
}

// moveTo gives a partner another address.
func (s *stage) moveTo(name, addr string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hosts[addr], s.names[name+".example"] = name, []netip.Addr{netip.MustParseAddr(addr)}
}

// dialled are the addresses that a guard connects to when it is asked for one, with these answers to its looking it up.
func dialled(answers [][]string, address string) (calls []string) {
	guard := Guard{
		Resolve: func(context.Context, string) (addrs []netip.Addr, err error) {
			now := answers[0]
			answers = answers[min(1, len(answers)-1):]
			for _, text := range now {
				addrs = append(addrs, netip.MustParseAddr(text))
			}
			return addrs, nil
		},
		Dial: func(ctx context.Context, _, address string) (net.Conn, error) {
			calls = append(calls, address)
			client, server := net.Pipe()
			server.Close()
			return client, nil
		},
	}
	if conn, err := guard.DialContext(context.Background(), "tcp", address); err == nil {
		conn.Close()
	} else if strings.Contains(err.Error(), "is not written yet") {
		return []string{err.Error()}
	}
	return calls
}

// accepted claims how many commands were handed to the broker.
//
//go:noinline
func (s *stage) accepted(want int) harness.Claim {
	return func(*harness.World) error {
		switch n := len(s.commands.Records()); {
		case n > want:
			return harness.Broke[harness.Duplicated]("each record is somebody's order", "%d commands were handed to the broker; it should be %d", n, want)
		case n < want:
			return harness.Broke[harness.Lost]("who has heard 202 throws his copy away", "%d commands were handed to the broker; it should be %d", n, want)
		}
		return nil
	}
}

// endpoint claims how an endpoint is said to stand. Of one that is disabled, what was counted before is not judged.
//
//go:noinline
func (m *member) endpoint(want EndpointStatus) harness.Claim {
	return harness.Reported(func() error {
		all, err := m.Endpoints()
		if err != nil {
			return err
		}
		for _, e := range all {
			if want.Disabled {
				e.Open, e.Failures = want.Open, want.Failures
			}
			if e.Name == want.Name && e != want {
				return fmt.Errorf("%s says %+v of its endpoint; it should be %+v", m.Name, e, want)
			} else if e.Name == want.Name {
				return nil
			}
		}
		return fmt.Errorf("%s says nothing of the endpoint %s", m.Name, want.Name)
	})
}
