package service

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/kafka-katas/kafka-katas/internal/service/stop"
	"github.com/kafka-katas/kafka-katas/ops"
	"github.com/kafka-katas/kafka-katas/ops/opsconfig"
	"github.com/kafka-katas/kafka-katas/ops/opshttp"
)

// Exit codes. 2 is what Go ends a program with that panics.
const (
	exitStopped = 0 // it ran, and stopped when it was asked to
	exitFailed  = 1 // the service failed, is not written yet, or had to be killed
	exitCall    = 3 // it could not be started: a wrong call, a bad configuration, or the environment lacks something
)

// Main runs the lesson's service until SIGINT or SIGTERM, and ends the process. build puts the service up: New, with a
// handler, after the stage's topics and traffic were named. It must not wait.
func Main[C any](lesson string, defaults C, build func(cfg C, s *Stage) (Service, error)) {
	asked, _ := stop.Signals()
	gently, atOnce := stop.At(context.Background(), asked)
	context.AfterFunc(atOnce, func() {
		fmt.Fprintln(os.Stderr, "killed by the second signal")
		os.Exit(exitFailed)
	})
	start := func(o options, s *Stage) (Service, error) {
		cfg, err := opsconfig.Load(defaults, o.config, strings.ToUpper(lesson), os.Environ())
		if err != nil {
			return nil, o.unwritten(lesson, usage{err})
		}
		service, err := build(cfg, s)
		if err := errors.Join(s.errs...); err != nil {
			return nil, usage{err}
		}
		return service, o.unwritten(lesson, err)
	}
	o, err := parse(lesson, os.Args[1:], os.Stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		os.Exit(exitStopped)
	case err != nil:
		err = usage{err}
	default:
		if o.stdin {
			go func() {
				_, _ = io.Copy(io.Discard, os.Stdin)
				asked <- os.Interrupt
			}()
		}
		err = serve(gently, lesson, o, start, os.Stdout)
	}
	os.Exit(code(err, os.Stderr))
}

// usage is an error that the caller can mend.
type usage struct{ error }

func (u usage) Unwrap() error { return u.error }

func code(err error, out io.Writer) int {
	if err == nil {
		return exitStopped
	}
	fmt.Fprintf(out, "serve: %v\n", err)
	if errors.As(err, new(usage)) {
		return exitCall
	}
	return exitFailed
}

// unwritten says what to do about a stub.
func (o options) unwritten(lesson string, err error) error {
	if err == nil || !o.mine || !strings.Contains(err.Error(), "is not written yet") {
		return err
	}
	return fmt.Errorf("katas/%s is not ready to be served: %s\nwrite it first (go test ./katas/%s/... leads the way), or leave out --mine and watch the solution", lesson, err, lesson)
}

// serve runs a service, and all that it needs around it, until ctx ends; then it stops them in order.
func serve(ctx context.Context, lesson string, o options, start func(options, *Stage) (Service, error), out io.Writer) error {
	listener, err := net.Listen("tcp", o.http)
	if err != nil {
		return usage{fmt.Errorf("%s is not to be had: %w\nstop what holds it, or choose another: --http 127.0.0.1:0 takes any that is free", o.http, err)}
	}
	defer listener.Close()
	k, err := openKafka(ctx)
	if err != nil {
		return usage{err}
	}
	defer k.close()
	stage := &Stage{ctx: ctx, options: o, kafka: k, mux: http.NewServeMux(), failing: complaint{what: "records of the traffic are lost"}}
	defer stage.clean()
	service, err := start(o, stage)
	if err != nil {
		return err
	}

	// Each of these has a context of its own, so that they end one after the other.
	base := context.WithoutCancel(ctx)
	failed := make(chan error, 2+len(stage.also))
	stage.mux.Handle("/", opshttp.Handler(service))
	// A web page that somebody has open must not be able to change anything here.
	pages := http.NewCrossOriginProtection().Handler(stage.mux)
	endPages := running(base, failed, func(ctx context.Context) error { return opshttp.Serve(ctx, listener, pages) })
	endAlso := running(base, failed, func(ctx context.Context) error { return stage.runAlso(ctx) })
	endService := running(base, failed, func(ctx context.Context) error {
		err := service.Run(ctx)
		if err == nil && ctx.Err() == nil {
			return errors.New("the service ended by itself: Run returned nil although its context had not ended")
		}
		return o.unwritten(lesson, err)
	})
	endTraffic := running(base, failed, func(ctx context.Context) error { stage.runTraffic(ctx); return nil })
	stage.announce(out, lesson, listener.Addr(), service)

	var errs []error
	select {
	case <-ctx.Done():
		fmt.Fprintln(out, "stopping; a second signal kills")
	case err := <-failed:
		errs = append(errs, err)
	}
	// No more records first; then the service finishes what it has, and can be watched at it.
	end := time.After(o.grace)
	stops := []struct {
		what string
		end  func(<-chan time.Time) bool
	}{{"the traffic", endTraffic}, {"the service", endService}, {"what runs beside the service", endAlso}, {"the HTTP pages", endPages}}
	for _, s := range stops {
		if !s.end(end) {
			errs = append(errs, fmt.Errorf("%s did not stop within %v (--grace): its context has ended, and Run must return then", s.what, o.grace))
			return errors.Join(errs...)
		}
	}
	for len(failed) > 0 {
		errs = append(errs, <-failed)
	}
	fmt.Fprintf(out, "stopped: %s\n", last(service))
	return errors.Join(errs...)
}

// running runs f until the function that it returns is called: that ends f's context and waits for it.
func running(base context.Context, failed chan<- error, f func(context.Context) error) (end func(<-chan time.Time) bool) {
	ctx, cancel := context.WithCancel(base)
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := f(ctx); err != nil {
			failed <- err
		}
	}()
	return func(late <-chan time.Time) bool {
		cancel()
		select {
		case <-done:
			return true
		case <-late:
			return false
		}
	}
}

func (s *Stage) runTraffic(ctx context.Context) {
	var all sync.WaitGroup
	for _, t := range s.traffic {
		all.Go(func() { t.run(ctx) })
	}
	all.Wait()
}

// runAlso runs what is beside the service, until ctx or one of them ends.
func (s *Stage) runAlso(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	errs := make([]error, len(s.also))
	var all sync.WaitGroup
	for i, t := range s.also {
		all.Go(func() {
			if err := t.run(ctx); err != nil {
				errs[i] = fmt.Errorf("%s: %w", t.name, err)
				cancel()
			}
		})
	}
	all.Wait()
	return errors.Join(errs...)
}

func (s *Stage) announce(out io.Writer, lesson string, addr net.Addr, service Service) {
	url := "http://" + addr.String()
	code, config, kafka := "the solution", "the defaults", "a Kafka of its own, gone when it stops: "
	if s.options.mine {
		code = "your own code, katas/" + lesson
	}
	if s.options.config != "" {
		config = s.options.config
	}
	if s.kafka.own == nil {
		kafka = "KAFKA_BROKERS: "
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s\n\n", lesson, code)
	fmt.Fprintf(&b, "  kafka    %s%s\n", kafka, strings.Join(s.kafka.brokers, ","))
	fmt.Fprintf(&b, "  config   %s, then the environment: %s_...\n", config, strings.ToUpper(lesson))
	fmt.Fprintf(&b, "  traffic  %s\n", s.describe())
	fmt.Fprintf(&b, "  http     %s\n\n", url)
	fmt.Fprintf(&b, "  curl %s/stats         what it did\n", url)
	fmt.Fprintf(&b, "  curl %s/metrics       the same for Prometheus\n", url)
	fmt.Fprintf(&b, "  curl -i %s/readyz     may it be relied on? /healthz: should it live?\n", url)
	if _, ok := service.(ops.Controls); ok {
		fmt.Fprintf(&b, "  curl -X POST %s/pause   and /resume, and /reset for the statistics\n", url)
	}
	for _, n := range s.notes {
		fmt.Fprintf(&b, "  %s\n", strings.ReplaceAll(n, "%s", url))
	}
	fmt.Fprintf(&b, "\nCtrl-C stops it.\n")
	_, _ = io.WriteString(out, b.String())
}

// last is what the service did in all. It may hang: it may be a learner's.
func last(service Service) string {
	said := make(chan string, 1)
	go func() { said <- sum(service.Stats()) }()
	select {
	case s := <-said:
		return s
	case <-time.After(time.Second):
		return "Stats does not answer; it must, from memory"
	}
}

func sum(s ops.Stats) string {
	c := s.Totals
	out := fmt.Sprintf("%d received, %d processed", c.Received, c.Processed)
	for _, x := range []struct {
		n    int64
		what string
	}{{c.Filtered, "filtered"}, {c.Parked, "parked"}, {c.Dead, "dead"}, {c.Released, "handed back"}, {c.InFlight, "still in work"}} {
		if x.n > 0 {
			out += fmt.Sprintf(", %d %s", x.n, x.what)
		}
	}
	return fmt.Sprintf("%s; %d failed attempts", out, c.Failed)
}
