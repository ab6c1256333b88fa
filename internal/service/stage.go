package service

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"os"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/kafka-katas/kafka-katas/ops"
)

// Service is what a lesson's New returns. With [ops.Controls] too it can be paused over HTTP.
type Service interface {
	ops.Source
	// Run works until ctx ends.
	Run(ctx context.Context) error
}

// Stage is what a lesson finds when its service is put up.
type Stage struct {
	ctx     context.Context
	options options
	kafka   *kafka
	mux     *http.ServeMux
	traffic []traffic
	also    []task
	notes   []string
	dirs    []string
	failing complaint
	errs    []error
}

type task struct {
	name string
	run  func(ctx context.Context) error
}

// Opts are the options of a client of this cluster.
func (s *Stage) Opts(more ...kgo.Opt) []kgo.Opt { return append(s.kafka.opts(), more...) }

// Topics makes those of the topics that are missing. The name "" is no topic.
func (s *Stage) Topics(partitions int32, names ...string) {
	s.errs = append(s.errs, s.kafka.create(s.ctx, partitions, nil, names...))
}

// CompactedTopics are topics that keep the latest record of each key.
func (s *Stage) CompactedTopics(partitions int32, names ...string) {
	compact := "compact"
	s.errs = append(s.errs, s.kafka.create(s.ctx, partitions, map[string]*string{"cleanup.policy": &compact}, names...))
}

// Produce writes records before the service starts.
func (s *Stage) Produce(records ...*kgo.Record) {
	ctx, cancel := context.WithTimeout(s.ctx, patience)
	defer cancel()
	s.errs = append(s.errs, s.kafka.client.ProduceSync(ctx, records...).FirstErr())
}

// Send writes a record and does not wait for it. While Kafka is away it is lost, rather than kept in a memory that grows.
func (s *Stage) Send(record *kgo.Record) {
	s.kafka.client.TryProduce(context.WithoutCancel(s.ctx), record, func(_ *kgo.Record, err error) { s.failing.about(err) })
}

// Traffic sends what next returns, at the rate that was asked for, all the time. bad says that this record is to be a bad
// one; what that means is the lesson's. Whatever next leaves to chance it takes from r, so that a seed repeats it.
func (s *Stage) Traffic(topic string, next func(r *rand.Rand, bad bool) *kgo.Record) {
	s.Steadily("records to "+topic, func(r *rand.Rand, bad bool) func(context.Context) {
		record := next(r, bad)
		record.Topic = topic
		s.Send(record)
		return nil
	})
}

// Steadily does what next returns, at the rate that was asked for. next is called again and again in the same order;
// what it returns may take its time, runs beside the others, and ends when its context does.
func (s *Stage) Steadily(what string, next func(r *rand.Rand, bad bool) func(ctx context.Context)) {
	source := rand.New(rand.NewPCG(s.options.seed, uint64(len(s.traffic))))
	s.traffic = append(s.traffic, traffic{what: what, rate: s.options.rate, bad: s.options.bad, source: source, next: next})
}

// Also runs beside the service, from before its start until after its end. An error ends everything.
func (s *Stage) Also(name string, run func(ctx context.Context) error) {
	s.also = append(s.also, task{name, run})
}

// Dir is a new directory that is gone when the service has stopped.
func (s *Stage) Dir() string {
	dir, err := os.MkdirTemp("", "kata-serve-")
	s.errs = append(s.errs, err)
	s.dirs = append(s.dirs, dir)
	return dir
}

func (s *Stage) clean() {
	for _, dir := range s.dirs {
		if err := os.RemoveAll(dir); err != nil {
			slog.Warn("a directory stays behind", "error", err)
		}
	}
}

// Handle answers on a path of its own, beside /stats and the others.
func (s *Stage) Handle(pattern string, h http.Handler) { s.mux.Handle(pattern, h) }

// Note is a line for whoever watches: a thing to try. Every %s in it is the address of the HTTP pages.
func (s *Stage) Note(format string) { s.notes = append(s.notes, format) }

func (s *Stage) describe() string {
	if s.options.rate == 0 || len(s.traffic) == 0 {
		return "none"
	}
	out := ""
	for _, t := range s.traffic {
		out += fmt.Sprintf("%g %s a second, ", t.rate, t.what)
	}
	return out + fmt.Sprintf("%g %% of them bad, seed %d", s.options.bad*100, s.options.seed)
}
