package harness

import (
	"crypto/tls"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
)

// An Option changes how a story is run.
type Option func(*options)

type options struct {
	brokers  int
	deadline time.Duration
	watchdog time.Duration
	grace    time.Duration
	lasts    time.Duration
	cluster  []kfake.Opt
	tls      *tls.Config
	login    []kgo.Opt // everybody's, on a real cluster that asks for one
	admin    []kgo.Opt
	fakeOnly string
	red      string
	begins   time.Time
}

func defaults() options {
	return options{brokers: 3, deadline: 10 * time.Minute, watchdog: 10 * time.Second, grace: 2 * time.Minute}
}

// Brokers sets how many brokers the fake cluster has. The default is 3. A real cluster has what it has.
//
//go:noinline
func Brokers(n int) Option { return func(o *options) { o.brokers = n } }

// Deadline is how long the whole story may last in story time, 10 minutes by default. A story that is not at its end
// by then is STUCK.
//
//go:noinline
func Deadline(d time.Duration) Option { return func(o *options) { o.deadline = d } }

// Watchdog is how long a story may last in real time when its own time is virtual, 10 seconds by default.
// Virtual time stops when a goroutine waits for something that is not in the story: a mutex held across a sleep,
// a real socket, a busy loop. The verdict then names it. On a machine that is busy with other things a story that
// moves is given as much computing as it would have had, and at most six times as long.
//
//go:noinline
func Watchdog(d time.Duration) Option { return func(o *options) { o.watchdog = d } }

// Grace is how long a process may take to end after it was asked to, 2 minutes of story time by default.
//
//go:noinline
func Grace(d time.Duration) Option { return func(o *options) { o.grace = d } }

// perHour is how much real time an hour of a virtual story may take, on a busy machine and under the race detector.
const perHour = 5 * time.Second

// Lasts says how long the story is, for one that would be too long in real time: it is then told on the fake alone. It
// makes deadline and watchdog the longer.
//
//go:noinline
func Lasts(d time.Duration) Option {
	return func(o *options) {
		o.lasts, o.deadline = d, max(o.deadline, d+d/2)
		o.watchdog += time.Duration(d.Hours() * float64(perHour))
	}
}

// Cluster passes options to the fake cluster: broker configs, SASL users, ACLs, TLS. A story with such options
// is about the fake's configuration, so that it is skipped on a real cluster, which has its own.
//
//go:noinline
func Cluster(opts ...kfake.Opt) Option {
	return func(o *options) {
		o.cluster = append(o.cluster, opts...)
		o.fakeOnly = "it configures the cluster itself"
	}
}

// Red turns a story's verdict round: it must break its promise in that delivery word. It is for the tests of claims and
// of the nouns of a lesson's cast, and for showing that a specification catches a wrong answer.
//
//go:noinline
func Red(word string) Option { return func(o *options) { o.red = word } }
