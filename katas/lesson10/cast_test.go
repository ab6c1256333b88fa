package lesson10

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strings"
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

// shop is the scene of a story: the topics, the group, and how its pipelines are configured.
type shop struct {
	w                               *harness.World
	raw                             *harness.Topic
	audit, dead, parked, quarantine *harness.Topic
	gold, business, other           *harness.Topic
	group                           *harness.Group
	cfg                             Config
	rules                           Rules
	partner                         *httpfake.Partner
	faults                          []*harness.Fault // of the pipelines that start from now on
	writers                         int              // that wrote in transactions
}

// openShop sets the scene, with that many partitions in the source.
func openShop(w *harness.World, partitions int32) *shop {
	s := &shop{
		w: w, raw: w.Topic("raw", partitions), audit: w.Topic("audit", 1), dead: w.Topic("dead", 1),
		parked: w.Topic("parked", 1), quarantine: w.Topic("quarantine", 1),
		gold: w.Topic("gold", 2), business: w.Topic("business", 2), other: w.Topic("other", 2), group: w.Group("etl"), cfg: DefaultConfig(),
	}
	s.cfg.Group, s.cfg.Source, s.cfg.Audit, s.cfg.DeadLetters = s.group.Name, s.raw.Name, s.audit.Name, s.dead.Name
	s.cfg.Parked, s.cfg.Quarantine = s.parked.Name, s.quarantine.Name
	s.rules = Rules{
		Version: "1",
		Filters: []Filter{
			{"internal", func(e Event) bool { return strings.HasSuffix(e.Email, "@shop.example") }},
			{"test", func(e Event) bool { return strings.HasPrefix(e.ID, "test-") }},
		},
		Routes: []Route{
			{s.gold.Name, func(e Event) bool { return e.Segment == "gold" || e.Type == "gold" }},
			{s.business.Name, func(e Event) bool { return e.Type == "business" || e.Type == "gold" || e.Segment == "business" }},
		},
		Default: s.other.Name,
	}
	return s
}

// member is one pipeline of a story: the process, and the pipeline that runs in it.
type member struct {
	*harness.Process
	*Pipeline
	s *shop
}

// start starts a pipeline as the scene has it configured by now.
func (s *shop) start(name string) *member {
	m := &member{s: s}
	cfg, rules, faults := s.cfg, s.rules, s.faults
	m.Process = s.w.Start(name, func(p *harness.Process) (harness.Runner, error) {
		p.Fault(faults...) // before it sends anything
		var client *http.Client
		if s.partner != nil {
			client = httpfake.Client(p)
		}
		pipeline, err := New(cfg, rules, client, p.Options()...)
		m.Pipeline = pipeline
		if pipeline == nil {
			return nil, err
		}
		return pipeline, err
	})
	return m
}

// disturbed starts a pipeline whose requests meet these faults.
func (s *shop) disturbed(name string, faults ...*harness.Fault) *member {
	s.faults = faults
	defer func() { s.faults = nil }()
	return s.start(name)
}

// service opens the service that knows every customer's risk, and has the pipelines ask it.
func (s *shop) service() *httpfake.Partner {
	s.partner = httpfake.Start(s.w, "risk:80").Always("GET", httpfake.OK("low"))
	s.cfg.Service = s.partner.URL
	return s.partner
}

// customers fills a reference table, one row for each pair of customer and segment.
func (s *shop) customers(pairs ...string) *harness.Topic {
	t := s.w.Topic("customers", 2, "cleanup.policy", "compact")
	for i := 0; i < len(pairs); i += 2 {
		t.Produce(&kgo.Record{Key: []byte(pairs[i]), Value: []byte(pairs[i+1])})
	}
	s.cfg.Reference = t.Name
	return t
}

// transact writes a record in a transaction, each with a writer of its own, and waits for its end: the broker says that
// it is over before the markers are written.
func (s *shop) transact(t *harness.Topic, r *kgo.Record, end kgo.TransactionEndTry) {
	s.writers++
	writer := s.w.Client(kgo.TransactionalID(fmt.Sprintf("%s-%d", t.Name, s.writers)), kgo.DefaultProduceTopic(t.Name), kgo.ProducerLinger(0))
	defer writer.Close()
	if err := writer.BeginTransaction(); err != nil {
		s.w.Errorf("%v", err)
	}
	if err := writer.ProduceSync(s.w.Context(), r).FirstErr(); err != nil {
		s.w.Errorf("%v", err)
	}
	if err := writer.EndTransaction(s.w.Context(), end); err != nil {
		s.w.Errorf("%v", err)
	}
	s.w.Sleep(time.Second)
}

// noon is when an event of a story happened, to its record; the stories begin half a year later.
var noon = time.Date(1999, 6, 1, 12, 0, 0, 0, time.UTC)

// rawEvent is a source record of a customer, with these further members, such as `"name":"Ada"`.
func rawEvent(id, kind, customer string, members ...string) *kgo.Record {
	value := fmt.Sprintf(`{"id":%q,"type":%q,"customer":%q`, id, kind, customer)
	for _, m := range members {
		value += "," + m
	}
	return &kgo.Record{
		Key: []byte(customer), Value: []byte(value + "}"), Timestamp: noon,
		Headers: []kgo.RecordHeader{{Key: "trace", Value: []byte("of " + id)}},
	}
}

// cleanEvent is the event that a raw record becomes: sorted members without white space, such as `"segment":"gold"`.
func cleanEvent(id, kind, customer string, members ...string) *kgo.Record {
	r := rawEvent(id, kind, customer, append(members, `"at":"1999-06-01T12:00:00Z"`)...)
	var all map[string]json.RawMessage
	if err := json.Unmarshal(r.Value, &all); err != nil {
		panic(err)
	}
	r.Value, _ = json.Marshal(all)
	return r
}

// withHeader is the same record with one header more.
func withHeader(r *kgo.Record, key, value string) *kgo.Record {
	again := *r
	again.Headers = append(slices.Clone(r.Headers), kgo.RecordHeader{Key: key, Value: []byte(value)})
	return &again
}

// empty claims that these topics are empty.
//
//go:noinline
func empty(topics ...*harness.Topic) harness.Claim {
	var claims []harness.Claim
	for _, t := range topics {
		claims = append(claims, t.Holds())
	}
	return harness.All(claims...)
}

// numberedEvents are n events of as many customers, each with its own key: c-0, c-1, …
func numberedEvents(from, n int) (records []*kgo.Record) {
	for i := from; i < from+n; i++ {
		records = append(records, rawEvent(fmt.Sprintf("e-%d", i), "login", fmt.Sprintf("c-%d", i)))
	}
	return records
}

// eventsOf are n events of one customer, in order.
func eventsOf(customer string, n int) (records []*kgo.Record) {
	for i := range n {
		records = append(records, rawEvent(fmt.Sprintf("%s-%d", customer, i), "login", customer))
	}
	return records
}

// cleanEvents are what numberedEvents and eventsOf become.
func cleanEvents(records []*kgo.Record, members ...string) (events []*kgo.Record) {
	for _, r := range records {
		var e struct{ ID, Type, Customer string }
		if err := json.Unmarshal(r.Value, &e); err != nil {
			panic(err)
		}
		events = append(events, cleanEvent(e.ID, e.Type, e.Customer, members...))
	}
	return events
}

// outputs are the topics that a pipeline writes to.
func (s *shop) outputs() []*harness.Topic {
	return []*harness.Topic{s.gold, s.business, s.other, s.audit, s.dead, s.parked, s.quarantine}
}

// safe claims that no offset was committed before something was acknowledged for its record. It asks for source records
// whose key is their customer's and nobody else's.
//
//go:noinline
func (s *shop) safe() harness.Claim {
	return func(w *harness.World) error {
		keys := map[harness.TopicPartition]map[int64]string{}
		written := map[string]int{} // the key's first acknowledgement
		for _, e := range w.Journal().Events(harness.Of(harness.Produced)) {
			if tp := e.TopicPartition(); e.Topic == s.raw.Name {
				if keys[tp] == nil {
					keys[tp] = map[int64]string{}
				}
				keys[tp][e.Offset] = e.Key
			} else if _, ok := written[e.Key]; !ok && e.Process != "" {
				written[e.Key] = e.Seq
			}
		}
		for _, e := range w.Journal().Events(harness.Of(harness.Committed)) {
			if e.Topic != s.raw.Name || e.Process == "" {
				continue
			}
			for o := range e.Offset {
				key := keys[e.TopicPartition()][o]
				if seq, ok := written[key]; ok && seq < e.Sent {
					continue
				}
				return harness.Shown(harness.Broke[harness.CommittedTooEarly]("a crash now loses that record: the next owner starts behind it, and nothing was written for it",
					"%s committed %s/%d up to offset %d at %v when no output of offset %d (key %s) had been acknowledged", e.Process, s.raw, e.Partition, e.Offset, e.At, o, key), e)
			}
		}
		return nil
	}
}

// arrived claims that every one of these events is in the topic, and that those of one customer are there in order, each
// time that it was begun anew.
//
//go:noinline
func arrived(t *harness.Topic, records []*kgo.Record) harness.Claim {
	return func(*harness.World) error {
		last, seen := map[string]int{}, map[string]bool{}
		position := map[string]int{}
		for i, r := range records {
			position[idOf(r)] = i
		}
		for _, r := range t.Records() {
			at, ok := position[idOf(r)]
			if !ok {
				return harness.Broke[harness.Misrouted]("", "%s is in %s; nothing in this story asks for it", r.Value, t)
			}
			if !seen[idOf(r)] && at < last[string(r.Key)] {
				return harness.Broke[harness.Reordered]("Kafka keeps the order of a key; who writes out of order takes it away from everyone behind",
					"event %s of customer %s came after a later one", idOf(r), r.Key)
			}
			seen[idOf(r)] = true
			last[string(r.Key)] = max(last[string(r.Key)], at)
		}
		for _, r := range records {
			if !seen[idOf(r)] {
				return harness.Broke[harness.Lost]("what no reader of the topic can see has not been written, however well the offsets look",
					"%s does not hold event %s of customer %s", t, idOf(r), r.Key)
			}
		}
		return nil
	}
}

func idOf(r *kgo.Record) string {
	var e struct{ ID string }
	if json.Unmarshal(r.Value, &e) != nil {
		return string(r.Value)
	}
	return e.ID
}

// becomes claims what Normalise and Encode make of a value.
//
//go:noinline
func becomes(value, want string) harness.Claim {
	return func(*harness.World) error {
		e, err := Normalise([]byte(value))
		if errors.Is(err, ErrUndecodable) {
			return harness.Broke[harness.WronglyDeadLettered]("what can be read must not be given up", "%s is refused: %v", value, err)
		} else if err != nil {
			return err
		}
		if got := string(e.Encode()); got != want {
			return harness.Broke[harness.Misrouted]("readers compare what is written, byte by byte, and act on it", "%s becomes %s; it should be %s", value, got, want)
		}
		return nil
	}
}

// refuses claims that Normalise refuses a value, and does not quote it.
//
//go:noinline
func refuses(value, quotes string) harness.Claim {
	return func(*harness.World) error {
		e, err := Normalise([]byte(value))
		switch {
		case err == nil:
			return harness.Broke[harness.Misrouted]("a guess goes on as if it were a fact", "%q becomes %s; it should be refused", value, e.Encode())
		case !errors.Is(err, ErrUndecodable):
			return fmt.Errorf("the error about %q should wrap ErrUndecodable: %w", value, err)
		case quotes != "" && strings.Contains(err.Error(), quotes):
			return harness.Broke[harness.Misreported]("errors go into headers, logs and statistics, where nobody expects a customer's data", "the error quotes the value: %v", err)
		}
		return nil
	}
}

// reported claims that what a member reports is true.
//
//go:noinline
func (m *member) reported(check func() error) harness.Claim { return harness.Reported(check) }

// ready claims what a member's health says of liveness and readiness.
//
//go:noinline
func (m *member) healthy(live, ready bool) harness.Claim {
	return func(w *harness.World) error {
		return m.reported(func() error {
			if h := m.Health(); h.Live != live || h.Ready != ready {
				return fmt.Errorf("at %v %s says live=%t and ready=%t (%s); it should be live=%t and ready=%t", w.Now(), m.Name, h.Live, h.Ready, h.Cause(), live, ready)
			}
			return nil
		})(w)
	}
}

// counted claims a counter of Extra.
//
//go:noinline
func (m *member) counted(name string, want int64) harness.Claim {
	return m.reported(func() error {
		if got := m.Stats().Extra[name]; got != want {
			return fmt.Errorf("%s reports %s = %d; it should be %d", m.Name, name, got, want)
		}
		return nil
	})
}
