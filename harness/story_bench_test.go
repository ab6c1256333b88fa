package harness

import (
	"context"
	"errors"
	"os"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// The story that the harness is for: a record that is tried again after 1, 2 and 4 seconds, and a crash that is noticed
// when a session of 45 seconds is over. One operation is one telling of it, with a cluster of its own in virtual time;
// with KAFKA_BROKERS it is told on that cluster too, in real time, and what that costs is reported as a ratio.
//
//	KAFKA_BROKERS=127.0.0.1:9092 go test -tags synctests -run '^$' -bench Story ./harness
func BenchmarkStory(b *testing.B) {
	brokers := os.Getenv("KAFKA_BROKERS")
	var virtual, real telling
	b.Run("virtual", func(b *testing.B) {
		b.Setenv("KAFKA_BROKERS", "")
		virtual = tellings(b)
	})
	b.Run("real", func(b *testing.B) {
		if brokers == "" {
			b.Skip("KAFKA_BROKERS names no cluster")
		}
		b.Setenv("KAFKA_BROKERS", brokers)
		real = tellings(b)
		if virtual.wall == 0 {
			return
		}
		b.ReportMetric(float64(real.wall)/float64(virtual.wall), "real/virtual")
		if late := real.story - virtual.story; late < -realHaste || late > realSlack {
			b.Errorf("the story lasts %v on a real cluster and %v in virtual time", real.story, virtual.story)
		}
	})
}

// telling is what one telling took: by the clock on the wall, and by the story's own.
type telling struct{ wall, story time.Duration }

// tellings tells the story again and again. A bubble wants a test, which a benchmark is not: it runs one.
func tellings(b *testing.B) (each telling) {
	ok := testing.RunTests(func(string, string) (bool, error) { return true, nil }, []testing.InternalTest{{
		Name: "Story", F: func(t *testing.T) {
			began, n := time.Now(), 0
			for b.Loop() {
				each.story = crashAndTakeover(t)
				n++
			}
			each.wall = time.Since(began) / time.Duration(n)
		},
	}})
	if !ok {
		b.Fatal("the story is red")
	}
	b.ReportMetric(each.story.Seconds(), "story-s/op")
	return each
}

// crashAndTakeover tells the story and returns how long it took from the first attempt to the last record, in story time.
func crashAndTakeover(t *testing.T) (lasted time.Duration) {
	Run(t, func(w *World) {
		orders, validation := w.Topic("orders", 6), w.Group("validation")
		orders.Fill(10)
		first := w.Start("first", patient(validation, orders))
		began := w.Await("the first attempt", Of(Began)).At
		w.Await("the fourth attempt", Of(Handled))

		first.Crash()
		w.Start("second", patient(validation, orders))

		w.Until(validation.Drained(orders))
		w.Claim(validation.Handled(orders), validation.CommitSafe(orders),
			Times("attempts", func() []Event { return w.journal.Events(By("first"), Of(Began))[:4] }, began, began+time.Second, began+3*time.Second, began+7*time.Second))
		lasted = w.journal.Events(Of(Handled))[60-1].At - began
	})
	return lasted
}

// patient is a consumer that tries its very first record again after 1, 2 and 4 seconds, with success, and commits when
// a poll's records are handled.
func patient(g *Group, topic *Topic) func(p *Process) (Runner, error) {
	return func(p *Process) (Runner, error) {
		client, err := kgo.NewClient(append(p.Options(), kgo.ConsumerGroup(g.Name), kgo.ConsumeTopics(topic.Name), kgo.DisableAutoCommit(),
			kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))...)
		if err != nil {
			return nil, err
		}
		attempts := 0
		handle := p.Handler(func(context.Context, *kgo.Record) error {
			if attempts++; attempts < 4 && p.Name == "first" {
				return errors.New("not yet")
			}
			return nil
		})
		return RunFunc(func(ctx context.Context) error {
			defer client.Close()
			for ctx.Err() == nil {
				records := client.PollFetches(ctx).Records()
				for _, r := range records {
					for wait := time.Second; handle(ctx, r) != nil && ctx.Err() == nil; wait *= 2 {
						select {
						case <-time.After(wait):
						case <-ctx.Done():
						}
					}
				}
				if err := client.CommitRecords(ctx, records...); err != nil && ctx.Err() == nil {
					return err
				}
			}
			return nil
		}), nil
	}
}
