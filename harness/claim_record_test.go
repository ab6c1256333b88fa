package harness

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"
)

func rec(key, value string, headers ...string) *kgo.Record {
	r := &kgo.Record{Key: []byte(key), Value: []byte(value)}
	for i := 0; i < len(headers); i += 2 {
		r.Headers = append(r.Headers, kgo.RecordHeader{Key: headers[i], Value: []byte(headers[i+1])})
	}
	return r
}

func tombstone(key string) *kgo.Record { return &kgo.Record{Key: []byte(key)} }

func dated(r *kgo.Record, at time.Time) *kgo.Record { r.Timestamp = at; return r }

func TestHoldsKnowsWhatIsInATopic(t *testing.T) {
	noon := time.Date(2000, 1, 1, 12, 0, 0, 0, time.UTC)
	is := func(r ...*kgo.Record) []*kgo.Record { return r }
	for _, c := range []struct {
		name      string
		got, want []*kgo.Record
		word      string
		says      string
	}{
		{"nothing", nil, nil, "", ""},
		{"the same, keys in another order", is(rec("a", "1"), rec("b", "1"), rec("a", "2")), is(rec("b", "1"), rec("a", "1"), rec("a", "2")), "", ""},
		{"twice because twice is wanted", is(rec("a", "1"), rec("a", "1")), is(rec("a", "1"), rec("a", "1")), "", ""},
		{"one is missing", is(rec("a", "1")), is(rec("a", "1"), rec("a", "2")), "LOST", `out does not hold "a": "2"`},
		{"one is there again", is(rec("a", "1"), rec("a", "1")), is(rec("a", "1")), "DUPLICATED", `out holds "a": "1" 2 times; it should be 1`},
		{"another value", is(rec("a", "2")), is(rec("a", "1")), "MISROUTED", `in out/0 offset 0 (key a) the value is "2"; it should be "1"`},
		{"a stranger", is(rec("a", "1"), rec("b", "1")), is(rec("a", "1")), "MISROUTED", `"b": "1" is in out/0 offset 1 (key b); nothing in this story asks for it`},
		{"the wrong way round", is(rec("a", "2"), rec("a", "1")), is(rec("a", "1"), rec("a", "2")), "REORDERED", `"a": "2" is in out/0 offset 0 (key a) where "a": "1" should be`},
		{"null is not empty", is(rec("a", "")), is(tombstone("a")), "MISROUTED", `the value is ""; it should be null`},
		{"a tombstone", is(tombstone("a")), is(tombstone("a")), "", ""},
		{"no key", is(&kgo.Record{Value: []byte("1")}), is(&kgo.Record{Value: []byte("1")}), "", ""},
		{"headers that nobody speaks of", is(rec("a", "1", "x", "1")), is(rec("a", "1")), "", ""},
		{"a header is missing", is(rec("a", "1")), is(rec("a", "1", "x", "1")), "MISROUTED", `header x is missing; it should be "1"`},
		{"a header is there again", is(rec("a", "1", "x", "1", "x", "1")), is(rec("a", "1", "x", "1")), "MISROUTED", `header x is "1", "1"; it should be "1"`},
		{"a header has another order", is(rec("a", "1", "x", "2", "x", "1")), is(rec("a", "1", "x", "1", "x", "2")), "MISROUTED", `header x is "2", "1"; it should be "1", "2"`},
		{"another time", is(dated(rec("a", "1"), noon)), is(dated(rec("a", "1"), noon.Add(time.Second))), "MISROUTED", "the timestamp is 2000-01-01 12:00:00.000; it should be 2000-01-01 12:00:01.000"},
		{"any time", is(dated(rec("a", "1"), noon)), is(rec("a", "1")), "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			out := verdict(t, func(w *World) {
				topic := w.Topic("out", 1)
				topic.Produce(c.got...)
				w.Claim(topic.Holds(c.want...))
			})
			require.Equal(t, c.word, Word(out.err), "%v", out.err)
			if c.word != "" {
				require.ErrorContains(t, out.err, c.says)
			}
		})
	}
}

func TestOnlyWhatIsCommittedIsInATopic(t *testing.T) {
	Run(t, func(w *World) {
		out := w.Topic("out", 1)
		client := w.Client(kgo.TransactionalID("writer"), kgo.DefaultProduceTopic(out.Name))
		defer client.Close()
		for key, end := range map[string]kgo.TransactionEndTry{"kept": kgo.TryCommit, "dropped": kgo.TryAbort} {
			require.NoError(w, client.BeginTransaction())
			require.NoError(w, client.ProduceSync(w.Context(), rec(key, "1")).FirstErr())
			require.NoError(w, client.EndTransaction(w.Context(), end))
		}
		w.Claim(out.Holds(rec("kept", "1")))
		require.Len(w, out.RecordsUncommitted(), 2)
	})
}

func TestOnceKnowsAList(t *testing.T) {
	d := newDraft(t, paper{}, 1)
	for _, c := range []struct {
		list []string
		word string
	}{
		{[]string{"b", "a"}, ""},
		{[]string{"a"}, "LOST"},
		{[]string{"a", "b", "a"}, "DUPLICATED"},
		{[]string{"a", "b", "c"}, "MISROUTED"},
	} {
		err := Once("entries", func() []string { return c.list }, "a", "b")(d.World)
		require.Equal(t, c.word, Word(err), "%v", err)
	}
}

func TestAPlatformRestartsWhatCrashes(t *testing.T) {
	Run(t, func(w *World) {
		lives := 0
		p := w.Start("a", func(*Process) (Runner, error) {
			lives++
			return RunFunc(func(ctx context.Context) error { <-ctx.Done(); return nil }), nil
		}).RestartAfter(10 * time.Second)
		at := func(n int) Claim {
			return Reported(func() error {
				if lives != n {
					return errors.New("it has another number of lives")
				}
				return nil
			})
		}
		p.Crash()
		w.Sleep(10*time.Second - 1)
		w.Claim(at(1))
		w.Sleep(1)
		w.Claim(at(2))

		all := w.Processes()
		all[len(all)-1].Crash()
		w.Until(Happened("the crash", Of(Crashed))) // so it has, but the wait is not over before the third life
		w.Claim(at(3))
	})
}
