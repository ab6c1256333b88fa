package harness

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/kafka-katas/kafka-katas/harness/internal/wire"
)

// readTimeout bounds what the story itself asks of the cluster.
const readTimeout = time.Minute

// World is the stage of one story: a Kafka cluster, a network, a clock and a journal. Its methods are for the story's
// own goroutine; those of [Process] that programs use are safe for concurrent use.
//
// World implements require.TestingT, so that testify's require can be given it while arranging.
type World struct {
	test    *testing.T
	o       options
	backend backend
	journal *Journal
	mine    func(file string) bool // is a file the learner's?
	began   time.Time
	ctx     context.Context
	cancel  context.CancelFunc

	mu        sync.Mutex
	topics    map[string]*Topic
	topicIDs  map[[16]byte]string
	processes []*Process
	calls     int
	panicked  error // of the first caller who panicked
	verdict   error
	also      []error
	skipped   string
	places    [][2]string // where the program stood when the story ended red
	schedule  *Schedule
	points    []lifePoint
	done      int         // points passed that were no mere reading
	down      bool        // the whole cluster is out of reach
	paced     atomic.Bool // fetches and produces take time

	revivals chan *Process // crashed, and due to begin another life

	hostTable *hostTable

	clients struct{ keyed, manual *kgo.Client }

	lasted time.Duration // until every process had stopped
}

func newWorld(t *testing.T, o options, b backend) *World {
	w := &World{test: t, o: o, backend: b, began: time.Now(), topics: map[string]*Topic{}, topicIDs: map[[16]byte]string{}, revivals: make(chan *Process)}
	w.hostTable = &hostTable{backend: b, real: map[string]string{}, who: map[string]string{}}
	w.journal = newJournal(w.Now)
	w.ctx, w.cancel = context.WithTimeout(context.Background(), o.deadline)
	return w
}

// Now is the time since the story began.
func (w *World) Now() time.Duration { return time.Since(w.began) }

// Journal is what has happened so far.
func (w *World) Journal() *Journal { return w.journal }

// Context ends with the story's deadline.
func (w *World) Context() context.Context { return w.ctx }

// Note writes a line into the journal, and so into the timeline.
func (w *World) Note(format string, args ...any) {
	w.journal.add(Event{Kind: Noted, Text: fmt.Sprintf(format, args...)})
}

// Sleep lets story time pass, and then everything happen that is due by then. In virtual time it takes no time.
func (w *World) Sleep(d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
			w.backend.settle()
			select {
			case p := <-w.revivals: // due at the same moment
				w.revive(p)
			default:
			}
			return
		case p := <-w.revivals:
			w.revive(p)
		case <-w.ctx.Done():
			w.end(&Stuck{says("a story has a deadline, so that nothing waits for ever",
				"the story was not at its end after %v", w.o.deadline)})
		}
	}
}

// SleepUntil lets story time pass until that time since the story's beginning.
func (w *World) SleepUntil(at time.Duration) { w.Sleep(at - w.Now()) }

// A Claim is a promise that can be judged: nil if it holds, otherwise an error in a delivery word.
// It looks at the journal, at the cluster, or at what the program reports; never at private state.
type Claim func(w *World) error

// Claim ends the story as red unless all claims hold now. In real time now lasts as long as the backend's slack: what is
// true may be seen later, while what is broken stays broken.
func (w *World) Claim(claims ...Claim) {
	w.backend.settle()
	failed := w.judge(claims)
	for over := w.Now() + w.backend.slack(); len(failed) > 0 && !isUnwritten(failed[0]) && w.Now() < over; failed = w.judge(claims) {
		time.Sleep(recheck)
	}
	if len(failed) > 0 {
		w.end(failed[0], failed[1:]...)
	}
}

func (w *World) judge(claims []Claim) (failed []error) {
	for _, c := range claims {
		if err := c(w); err != nil {
			failed = append(failed, err)
		}
	}
	return failed
}

// recheck is how often Until looks again when no event has come.
const recheck = 100 * time.Millisecond

// Until lets story time pass until the claim holds. If it does not by the story's deadline, the story is red with what
// the claim last said: as STUCK, or in its own word if it speaks of what is there and wrong.
func (w *World) Until(claim Claim) {
	w.until(claim, w.ctx.Done(), w.o.deadline)
}

// Within is Until with a limit of its own. In real time the limit has the backend's slack.
func (w *World) Within(limit time.Duration, claim Claim) {
	ctx, cancel := context.WithTimeout(w.ctx, limit+w.backend.slack())
	defer cancel()
	w.until(claim, ctx.Done(), limit)
}

func (w *World) until(claim Claim, over <-chan struct{}, limit time.Duration) {
	ticker := time.NewTicker(recheck)
	defer ticker.Stop()
	for {
		changed := w.journal.wait()
		err := claim(w)
		if err == nil && !w.restarting() {
			return
		}
		if p := w.ended(); p != nil { // nobody is left who could make it true
			w.end((*life)(p).endedEarly())
		}
		if err := w.callerPanicked(); err != nil { // what is waited for may be what it would have done
			w.end(err)
		}
		select {
		case <-changed:
		case <-ticker.C:
		case p := <-w.revivals:
			w.revive(p)
		case <-over:
			if err == nil {
				return
			}
			w.atPlaces(false)
			w.end(stuckAfter(limit, err))
		}
	}
}

// stuckAfter is the verdict of a wait that was in vain. What stands there and is wrong keeps its word: waiting longer
// would not make it right. Everything else has not happened yet, and is stuck.
func stuckAfter(limit time.Duration, err error) error {
	b := BreachOf(err)
	if b == nil {
		return err
	}
	after := *b
	after.What = fmt.Sprintf("%s, and this did not change in %v", b.What, limit)
	if b.Why == "" {
		after.Why = "nothing stands in its way any more, so it should have happened by now"
	}
	switch err := split(err)[0]; {
	case as[*Unbalanced](err):
		return &Unbalanced{after}
	case as[*Overlapped](err):
		return &Overlapped{after}
	case as[*Misreported](err):
		return &Misreported{after}
	case as[*Broken](err):
		return &Broken{after}
	}
	return &Stuck{after}
}

// ended returns a process whose program returned although nobody asked it to.
func (w *World) ended() *Process {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, p := range w.processes {
		if (*life)(p).returnedEarly() {
			return p
		}
	}
	return nil
}

// storyEnd unwinds the story's goroutine.
type storyEnd struct{}

// end ends the story as red.
func (w *World) end(err error, also ...error) {
	w.mu.Lock()
	if w.verdict == nil {
		w.verdict, w.also = err, also
	}
	w.mu.Unlock()
	panic(storyEnd{})
}

// arrange ends the story if the stage could not be set.
func (w *World) arrange(err error) {
	var notReal errNotReal
	if errors.As(err, &notReal) {
		w.mu.Lock()
		w.skipped = "not told on a real cluster: " + notReal.what
		w.mu.Unlock()
		panic(storyEnd{})
	}
	if err != nil {
		w.end(fmt.Errorf("the story could not be arranged: %w", err))
	}
}

// Errorf ends the story as red; with FailNow it makes testify's require work on a World.
func (w *World) Errorf(format string, args ...any) {
	w.mu.Lock()
	if w.verdict == nil {
		w.verdict = fmt.Errorf(format, args...)
	}
	w.mu.Unlock()
}

// FailNow ends the story as red.
func (w *World) FailNow() { w.end(errors.New("the story ended itself")) }

// Helper is here for testify.
func (w *World) Helper() {}

// play runs the story to its end, and then ends everything in it.
func (w *World) play(story func(*World)) {
	defer w.cancel()
	w.tell(story)
	w.tell(func(w *World) {
		if w.red() {
			return
		}
		for _, p := range w.live() {
			p.Stop()
		}
	})
	w.killAll()
	w.lasted = w.Now() // what lingers is looked for on the fake alone
	if !w.red() {
		w.backend.linger()
	}
	w.reconnect()
	w.cancel()
	w.backend.settle()
	w.backend.close()
}

// tell runs one part of the story in a goroutine of its own, so that ending it does not end the bubble.
func (w *World) tell(part func(*World)) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer func() {
			r := recover()
			if _, ok := r.(storyEnd); r == nil || ok {
				return
			}
			w.mu.Lock()
			defer w.mu.Unlock()
			if w.verdict == nil {
				w.verdict = storyPanicked(w.test.Name(), r, debug.Stack(), w.mine)
			}
		}()
		part(w)
	}()
	<-done
}

func (w *World) red() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.verdict != nil
}

func (w *World) live() []*Process {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(w.processes), func(p *Process) bool { return !p.Alive() })
}

// killAll cuts off what still runs and waits for it to return. A green story with a program that does not return
// turns red; in a red one it is only a consequence.
func (w *World) killAll() {
	w.mu.Lock()
	all := slices.Clone(w.processes)
	w.mu.Unlock()
	for _, p := range all {
		(*life)(p).kill()
	}
	limit := time.NewTimer(w.o.grace)
	defer limit.Stop()
	for _, p := range all {
		select {
		case <-p.done:
		case <-limit.C:
			w.atPlaces(true)
			w.mu.Lock()
			if w.verdict == nil {
				w.verdict = &Leaked{says("a program must return soon after its context ends, or nothing can ever restart it",
					"%s still ran %v after it was cut off and its context had ended", p.Name, w.o.grace)}
			}
			w.mu.Unlock()
			return
		}
	}
}

// Client returns a client of the story's own, on the story's network, journalled under no process. The story closes it.
func (w *World) Client(opts ...kgo.Opt) *kgo.Client { return w.client(opts...) }

func (w *World) client(opts ...kgo.Opt) *kgo.Client {
	c, err := kgo.NewClient(slices.Concat([]kgo.Opt{
		kgo.SeedBrokers(w.backend.seeds()...), kgo.Dialer(w.dial), kgo.DisableClientMetrics(), kgo.ClientID("story"),
		kgo.WithDecompressor(wire.Decompressor()),
	}, w.o.login, w.o.admin, opts)...)
	w.arrange(err)
	return c
}

// reconnect makes the story's own clients begin anew, so that they know of a change at once.
func (w *World) reconnect() {
	for _, c := range []**kgo.Client{&w.clients.keyed, &w.clients.manual} {
		if *c != nil {
			(*c).Close()
			*c = nil
		}
	}
}

func (w *World) producer() *kgo.Client {
	if w.clients.keyed == nil {
		w.clients.keyed = w.client(kgo.ProducerLinger(0))
	}
	return w.clients.keyed
}

func (w *World) manual() *kgo.Client {
	if w.clients.manual == nil {
		w.clients.manual = w.client(kgo.ProducerLinger(0), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	}
	return w.clients.manual
}

func (w *World) admin() *kadm.Client { return kadm.NewClient(w.producer()) }

// TopicNamed returns the story's topic with that name on the cluster, or nil.
func (w *World) topicNamed(name string) *Topic {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.topics[name]
}

var _ interface {
	Errorf(string, ...any)
	FailNow()
} = (*World)(nil)

// Exact says that story time is virtual, so that instants can be compared to the nanosecond.
func (w *World) Exact() bool { return w.backend.exact() }

// Processes are all lives of all processes so far, in the order in which they began.
func (w *World) Processes() []*Process {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.processes)
}
