package meter

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/kafka-katas/kafka-katas/ops"
)

// PanicError is a handler's panic, as the failed attempt that it is. Its class is "panic".
type PanicError struct{ Value any }

func (p *PanicError) Error() string { return fmt.Sprintf("panic: %v", p.Value) }

// ClassOf sorts an error into one of few: by meaning where it is known ("panic", "timeout", "cancelled", the name of a
// Kafka error in lower case), else by the type of the first wrapped error that has one of its own, else "error". Never by
// text, which has as many values as there are records.
func ClassOf(err error) string {
	var (
		panicked *PanicError
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

func (m *Meter) class(err error) string {
	if m.cfg.Class != nil {
		if class := m.cfg.Class(err); class != "" {
			return class
		}
	}
	return ClassOf(err)
}

// failure is what failed attempts are grouped by.
type failure struct {
	class string
	topicPartition
}

// failures groups failed attempts, bounded in every direction.
type failures struct {
	mu                    sync.Mutex
	groups                map[failure]*ops.ErrorGroup
	maxGroups, maxSamples int
}

func (f *failures) add(key failure, sample ops.ErrorSample) {
	f.mu.Lock()
	defer f.mu.Unlock()
	sample.At = time.Now()
	g := f.groups[key]
	if g == nil && len(f.groups) >= f.maxGroups {
		key = failure{"other", topicPartition{"", -1}}
		g = f.groups[key]
	}
	if g == nil {
		g = &ops.ErrorGroup{Class: key.class, Topic: key.topic, Partition: key.partition, First: sample.At}
		f.groups[key] = g
	}
	g.Count++
	g.Last = sample.At
	if len(g.Samples) == f.maxSamples {
		g.Samples = slices.Delete(g.Samples, 0, 1)
	}
	g.Samples = append(g.Samples, sample)
}

func (f *failures) reset() {
	f.mu.Lock()
	defer f.mu.Unlock()
	clear(f.groups)
}

func (f *failures) snapshot() []ops.ErrorGroup {
	f.mu.Lock()
	defer f.mu.Unlock()
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
