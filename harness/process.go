package harness

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/kafka-katas/kafka-katas/harness/internal/wire"
)

// A Runner is a program: it runs until its context ends or it cannot go on.
type Runner interface {
	Run(ctx context.Context) error
}

// RunFunc is a function as a [Runner].
type RunFunc func(ctx context.Context) error

// Run calls f.
func (f RunFunc) Run(ctx context.Context) error { return f(ctx) }

// Process is one life of a program in a story: from its start until it stops or crashes. Restart begins another life
// under the same name. The methods that a program is given things by (Options, Handler, Dial, Listen, Dir) are safe for
// concurrent use; the others are for the story's goroutine.
type Process struct {
	Name string

	w      *World
	build  func(*Process) (Runner, error)
	cancel context.CancelFunc
	gone   context.Context // ends when the process can have no effect any more
	vanish context.CancelFunc
	begun  time.Duration // when it was started
	done   chan struct{} // closed when Run has returned

	mu        sync.Mutex
	started   bool
	dead      bool
	crashed   bool
	reviving  bool
	stopping  bool
	mayEnd    bool
	err       error
	cables    map[*cable]struct{}
	listeners []interface{ Close() error }
	healed    chan struct{} // not nil while isolated
	faults    []*Fault
	points    map[Point]int // how often each point was passed; Nth is 0 in the key
	crashAt   []Point
	requests  map[Request]int
	inFlight  inFlight
	members   map[string]*membership // by group
	lastGroup string                 // the one that it joined or rejoined last
	txns      map[string][]Event     // offsets sent in the running transactions, by transactional id
	heard     chan struct{}          // one of the last replies to a crashed process has come
	lingered  chan struct{}          // closed when no more are awaited; nil if it did not crash in the middle of work
	made      []*kgo.Client
	awakening bool
	dir       string

	restartAfter time.Duration // after a crash; 0 is never
}

// life is a process as the harness sees it from within. What only the harness calls is a method of life: the specifications
// embed a Process in types of their own, and the compiler wraps every method of it for each of them, at each edit.
type life Process

// Start builds a program and runs it in the background. build is called in the story's goroutine; an error from it, or
// from Run before anybody asked the process to stop, ends the story as red. In virtual time Kafka can be reached
// an instant later, so that faults and crash points that are set at once miss nothing.
func (w *World) Start(name string, build func(p *Process) (Runner, error)) *Process {
	p := &Process{
		Name: name, w: w, build: build, done: make(chan struct{}),
		cables: map[*cable]struct{}{}, members: map[string]*membership{}, txns: map[string][]Event{}, points: map[Point]int{}, requests: map[Request]int{},
	}
	ctx, cancel := context.WithCancel(context.Background())
	p.cancel = cancel
	p.gone, p.vanish = context.WithCancel(context.Background())
	w.mu.Lock()
	if s := w.schedule; s != nil && s.victim == name && !slices.ContainsFunc(w.processes, func(o *Process) bool { return o.Name == name }) {
		p.crashAt = append(p.crashAt, s.point)
	}
	w.processes = append(w.processes, p)
	w.mu.Unlock()
	p.begun = w.Now()
	w.journal.add(Event{Kind: Started, Process: name})
	within := (*life)(p)
	runner, err := within.construct()
	if err == nil && isNil(runner) {
		err = &Broken{says("", "%s could not start: its constructor returned neither a program nor an error", name)}
	}
	if err != nil {
		within.finish(err)
		w.end(startError(name, err))
	}
	p.mu.Lock()
	p.started = true
	p.mu.Unlock()
	go func() {
		defer func() {
			if r := recover(); r != nil {
				within.finish(panicked(name, r, debug.Stack(), p.w.mine))
			}
		}()
		within.finish(runner.Run(ctx))
	}()
	return p
}

// isNil also knows a nil pointer in an interface, which a constructor with a concrete result easily returns.
func isNil(r Runner) bool {
	v := reflect.ValueOf(r)
	return r == nil || v.Kind() == reflect.Pointer && v.IsNil()
}

func (p *life) construct() (r Runner, err error) {
	defer func() {
		if v := recover(); v != nil {
			if _, ok := v.(storyEnd); ok {
				panic(v)
			}
			err = panicked(p.Name, v, debug.Stack(), p.w.mine)
		}
	}()
	return p.build((*Process)(p))
}

// finish records that the program has returned.
func (p *life) finish(err error) {
	p.mu.Lock()
	p.err = err
	dead := p.dead
	p.mu.Unlock()
	if !dead {
		p.w.journal.add(Event{Kind: Stopped, Process: p.Name, Err: err})
		p.expireUnanswered()
	}
	close(p.done)
}

// isUnwritten says whether err is a stub's own sentence.
func isUnwritten(err error) bool {
	if err == nil {
		return false
	}
	_, unwritten := notWritten(err)
	return unwritten
}

func startError(name string, err error) error {
	if isUnwritten(err) || BreachOf(err) != nil {
		return err
	}
	return &Broken{says("a program that does not start handles nothing", "%s could not start: %v", name, err)}
}

func (p *life) returnedEarly() bool {
	select {
	case <-p.done:
	default:
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.started && !p.dead && !p.stopping && !p.mayEnd
}

func (p *life) endedEarly() error {
	err := (*Process)(p).Err()
	switch {
	case isUnwritten(err) || BreachOf(err) != nil:
		return err
	case err == nil:
		return &Broken{says("a consumer runs until its context ends", "the program of %s returned at once or too soon, without an error, although nobody asked it to stop", p.Name)}
	}
	return &Broken{says("what a program can recover from must not end it", "the program of %s ended with an error although nobody asked it to stop: %v", p.Name, err)}
}

// Err is what Run returned; nil while it runs.
func (p *Process) Err() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.err
}

// Alive says whether the process runs and has not crashed.
func (p *Process) Alive() bool {
	select {
	case <-p.done:
		return false
	default:
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return !p.dead
}

// MayEnd tells the story that this program may return by itself, with or without an error.
func (p *Process) MayEnd() *Process {
	p.mu.Lock()
	p.mayEnd = true
	p.mu.Unlock()
	return p
}

// Wait lets story time pass until the program has returned by itself, and returns what it returned.
func (p *Process) Wait() error {
	p.MayEnd()
	select {
	case <-p.done:
	case <-p.w.ctx.Done():
		p.w.end(&Stuck{says("a program that cannot go on must say so and end", "%s still runs at the end of the story, after %v", p.Name, p.w.o.deadline)})
	}
	return p.Err()
}

// Stop asks the program to end by ending its context, and waits for it to return. An error from it other than its
// context's ends the story as red.
func (p *Process) Stop() {
	p.AskToStop()
	p.AwaitStop()
}

// AskToStop ends the program's context and does not wait.
func (p *Process) AskToStop() {
	p.mu.Lock()
	first := !p.stopping
	p.stopping = true
	p.mu.Unlock()
	if first {
		p.w.journal.add(Event{Kind: Stopping, Process: p.Name})
	}
	p.cancel()
}

// AwaitStop waits for a program that was asked to stop.
func (p *Process) AwaitStop() {
	limit, cancel := context.WithTimeout(p.w.ctx, p.w.o.grace)
	defer cancel()
	select {
	case <-p.done:
	case <-limit.Done():
		p.w.atPlaces(true)
		what := p.w.closing()
		if what == "" {
			what = ": does every wait in it look at the context?"
		}
		p.w.end(&Stuck{says("a program that does not return when its context ends is killed by its platform, in the middle of its work",
			"%s had not returned %v after it was asked to stop%s", p.Name, p.w.o.grace, what)})
	}
	err := p.Err()
	p.mu.Lock()
	quiet := p.dead || p.mayEnd
	p.mu.Unlock()
	switch {
	case err == nil || quiet || errors.Is(err, context.Canceled):
	case isUnwritten(err) || BreachOf(err) != nil:
		p.w.end(err)
	default:
		p.w.end(&Broken{says("a clean stop is no error", "%s was asked to stop and returned an error: %v", p.Name, err)})
	}
}

// Crash cuts the process off in an instant, as kill -9 does: its connections break, nothing that it does has any effect
// from now on, and it leaves no group. Its goroutines are then asked to end, which costs the story nothing.
func (p *Process) Crash() { (*life)(p).crash("") }

func (p *life) crash(where string) {
	if !p.cutOff() {
		return
	}
	p.mu.Lock()
	p.crashed = true
	p.mu.Unlock()
	p.w.journal.add(Event{Kind: Crashed, Process: p.Name, Text: where})
	p.expireLater()
	p.linger(p.unwire)
	p.reviveLater()
}

// kill is a crash that nobody needs to hear of: the story is over.
func (p *life) kill() {
	p.cutOff()
	p.unwire()
}

func (p *life) cutOff() (first bool) {
	p.mu.Lock()
	first = !p.dead
	p.dead = true
	p.mu.Unlock()
	if first {
		p.snapshotDir()
	}
	return first
}

func (p *life) unwire() {
	p.mu.Lock()
	listeners := p.listeners
	p.listeners = nil
	healed := p.healed
	p.healed = nil
	p.mu.Unlock()
	p.vanish()
	for _, l := range listeners {
		l.Close()
	}
	if healed != nil {
		close(healed)
	}
	p.unplugAll()
	p.cancel()
	go p.bury()
}

// witness journals what the process does, unless it is dead: nothing of it may follow its crash. To make that one step,
// it holds the lock that the crash needs.
func (p *life) witness(e Event) (alive bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.dead {
		p.w.journal.add(e)
	}
	return !p.dead
}

func (p *life) isDead() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.dead
}

// Restart begins a new life of the program after the old one stopped or crashed: same name, same build function, same Dir.
func (p *Process) Restart() *Process {
	if p.Alive() {
		p.w.arrange(fmt.Errorf("%s still runs: Stop or Crash it before Restart", p.Name))
	}
	return p.w.Start(p.Name, p.build).RestartAfter(p.restartAfter)
}

// Isolate cuts the process off the network without telling it: what it sends vanishes, what it waits for does not come.
func (p *Process) Isolate() {
	p.mu.Lock()
	if p.dead || p.healed != nil {
		p.mu.Unlock()
		return
	}
	p.healed = make(chan struct{})
	healed := p.healed
	cables := slices.Collect(maps.Keys(p.cables))
	p.mu.Unlock()
	p.w.journal.add(Event{Kind: Isolated, Process: p.Name})
	for _, c := range cables {
		c.isolate(healed)
	}
	(*life)(p).expireLater()
}

// Heal ends an isolation. The old connections turn out to be dead; new ones work.
func (p *Process) Heal() {
	p.mu.Lock()
	healed := p.healed
	p.healed = nil
	p.mu.Unlock()
	if healed == nil {
		return
	}
	p.w.journal.add(Event{Kind: Healed, Process: p.Name})
	close(healed)
}

// Options are what the program must give kgo.NewClient: where the cluster is, and this process's own dialer; on a real
// cluster also the user of the environment.
func (p *Process) Options() []kgo.Opt {
	return append([]kgo.Opt{
		kgo.SeedBrokers(p.w.backend.seeds()...),
		kgo.Dialer(p.DialKafka),
		kgo.ClientID(p.Name),
		kgo.DisableClientMetrics(),
		kgo.WithDecompressor(wire.Decompressor()), // kgo's own zstd decoder does not survive a synctest bubble
		kgo.WithHooks((*clients)(p)),
	}, p.w.o.login...)
}

// Requests is how many requests of that kind the process has sent.
func (p *Process) Requests(r Request) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.requests[r]
}

// panicked is the verdict on a program that panicked where the harness could recover.
func panicked(who string, value any, stack []byte, mine func(string) bool) error {
	if err, ok := value.(error); ok && isUnwritten(err) {
		return err
	}
	return &Broken{says("a panic ends the process and all its work in flight; one bad record would stop every partition",
		"%s panicked: %v%s", who, value, panicSite(stack, mine))}
}
