package meter_test

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/kafka-katas/kafka-katas/ops"
	"github.com/kafka-katas/kafka-katas/ops/meter"
)

var orders = map[string][]int32{"orders": {0, 1}}

// records are those of a partition from an offset up to another.
func records(partition int32, from, to int64) []*kgo.Record {
	var out []*kgo.Record
	for offset := from; offset < to; offset++ {
		out = append(out, &kgo.Record{Topic: "orders", Partition: partition, Offset: offset})
	}
	return out
}

// fetched is a poll that returned records of one partition, whose end is after them.
func fetched(rs []*kgo.Record) kgo.Fetches {
	last := rs[len(rs)-1]
	return kgo.Fetches{{Topics: []kgo.FetchTopic{{Topic: last.Topic, Partitions: []kgo.FetchPartition{{
		Partition: last.Partition, HighWatermark: last.Offset + 1, Records: rs,
	}}}}}}
}

func TestEveryRecordIsAccountedFor(t *testing.T) {
	m := meter.New(meter.Config{Group: "g"})
	m.Assigned(orders)
	rs := records(0, 10, 20)
	m.Polled(fetched(rs))
	require.Equal(t, ops.Counts{Received: 10, InFlight: 10}, m.Stats().Totals)
	m.Began(rs[0])
	m.Failed(rs[0], errors.New("no"))
	m.Retried(rs[0])
	for i, o := range []meter.Outcome{meter.Processed, meter.Filtered, meter.Parked, meter.Dead, meter.Released} {
		m.Ended(rs[i], o)
		m.Ended(rs[i], o) // twice is once
	}
	want := ops.Counts{Received: 10, Processed: 1, Filtered: 1, Parked: 1, Dead: 1, Released: 1, InFlight: 5, Failed: 1, Retried: 1}
	require.Equal(t, want, m.Stats().Totals)

	m.Revoked(orders)
	m.Ended(rs[5], meter.Processed) // too late: it is somebody else's
	want.Released, want.InFlight = 6, 0
	require.Equal(t, want, m.Stats().Totals)

	m.Polled(fetched(rs)) // of a partition that is not ours
	require.Equal(t, want, m.Stats().Totals)
	m.Assigned(orders)
	m.Polled(fetched(records(0, 15, 25)))
	want.Received, want.InFlight, want.Redelivered = 20, 10, 5
	require.Equal(t, want, m.Stats().Totals)
	require.Equal(t, 2, m.Stats().Assigned)
}

func TestRecordsMayEndInAnyOrder(t *testing.T) {
	m := meter.New(meter.Config{Group: "g"})
	m.Assigned(orders)
	stuck := records(0, 0, 1)
	m.Polled(fetched(stuck))
	n := int64(1)
	for range 50 { // with gaps, as compaction and transaction markers leave them
		rs := records(0, 3*n, 3*n+200)
		n += 200
		m.Polled(fetched(rs))
		for i := range rs {
			m.Ended(rs[(i*77)%len(rs)], meter.Processed)
		}
	}
	require.Equal(t, ops.Counts{Received: 10001, Processed: 10000, InFlight: 1}, m.Stats().Totals)
	m.Ended(stuck[0], meter.Processed)
	require.Zero(t, m.Stats().Totals.InFlight)
}

func TestAPartitionThatIsReadAgainIsAccountedFor(t *testing.T) {
	m := meter.New(meter.Config{})
	rs := records(0, 0, 10)
	m.Polled(fetched(rs))
	m.Polled(fetched(rs[3:]))
	for _, r := range append(rs, rs[3:]...) {
		m.Ended(r, meter.Processed)
	}
	require.Equal(t, ops.Counts{Received: 17, Processed: 17, Redelivered: 7}, m.Stats().Totals)
}

func TestLatencyIncludesTheQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := meter.New(meter.Config{Group: "g"})
		m.Assigned(orders)
		rs := records(1, 0, 100)
		m.Polled(fetched(rs))
		for _, r := range rs {
			time.Sleep(10 * time.Millisecond)
			m.Ended(r, meter.Processed)
		}
		const ms = time.Millisecond
		require.Equal(t, ops.Latency{Count: 100, Sum: 50500 * ms, P50: 500 * ms, P95: 950 * ms, P99: 990 * ms, Max: 1000 * ms}, m.Stats().Latency)
		require.Equal(t, m.Stats().At, m.Stats().Partitions[1].LastProgress)
	})
}

func TestAWedgedRecordIsNamed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := meter.New(meter.Config{Group: "g", StallAfter: time.Minute})
		m.Started()
		m.Assigned(orders)
		rs := records(1, 7, 9)
		m.Polled(fetched(rs))
		time.Sleep(time.Hour) // queued is not in work
		m.Began(rs[0])
		time.Sleep(time.Minute - 1)
		require.True(t, m.Health().Live)
		time.Sleep(time.Nanosecond)
		require.False(t, m.Health().Live)
		require.Contains(t, m.Health().Cause(), "orders/1: offset 7 has been in work for 1m0s")

		m.Failed(rs[0], errors.New("no"))
		m.Waiting(rs[0], time.Now().Add(time.Hour))
		time.Sleep(time.Hour + time.Minute - 1)
		require.True(t, m.Health().Live)
		time.Sleep(time.Nanosecond)
		require.False(t, m.Health().Live)
		m.Ended(rs[0], meter.Dead)
		require.True(t, m.Health().Live)
	})
}

func TestASnapshotIsOneMoments(t *testing.T) {
	m := meter.New(meter.Config{Group: "g"})
	m.Assigned(orders)
	var work sync.WaitGroup
	for p := range int32(2) {
		work.Go(func() {
			for n := range int64(300) {
				rs := records(p, n*10, n*10+10)
				m.Polled(fetched(rs))
				for _, r := range rs {
					m.Began(r)
					m.Failed(r, errors.New("no"))
					m.Retried(r)
					m.Ended(r, meter.Processed)
				}
				if n%100 == 50 {
					m.Revoked(map[string][]int32{"orders": {p}})
					m.Assigned(map[string][]int32{"orders": {p}})
				}
			}
		})
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		work.Wait()
	}()
	for looking := true; looking; {
		select {
		case <-done:
			looking = false
		default:
		}
		s := m.Stats()
		m.Health()
		var failed int64
		for _, g := range s.Errors {
			failed += g.Count
		}
		require.Zero(t, s.Totals.Unaccounted())
		require.Equal(t, s.Totals.Processed, s.Latency.Count)
		require.Equal(t, s.Totals.Failed, failed)
		if s.Totals.Processed > 4000 {
			m.ResetStats()
		}
	}
	require.Zero(t, m.Stats().Totals.InFlight)
}

func TestAResetCountsWhatIsInWork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := meter.New(meter.Config{Rules: []meter.Rule{meter.DefaultRule("handler_failures")}})
		rs := records(0, 0, 5)
		m.Polled(fetched(rs))
		m.Count("commits", 3)
		m.Count("commits", -1)
		require.EqualValues(t, 3, m.Stats().Extra["commits"])
		m.Failed(rs[0], errors.New("no"))
		m.Ended(rs[0], meter.Dead)
		m.Ended(rs[1], meter.Processed)
		time.Sleep(time.Second)

		m.ResetStats()
		s := m.Stats()
		require.Equal(t, ops.Counts{Received: 3, InFlight: 3}, s.Totals)
		require.Equal(t, ops.Latency{}, s.Latency)
		require.Empty(t, s.Errors)
		require.Empty(t, s.Extra)
		require.Equal(t, s.At, s.Since)
		require.EqualValues(t, 1, s.Alerts[0].Value) // a fact and no count
		require.EqualValues(t, 5, s.Partitions[0].Position)

		m.Ended(rs[2], meter.Processed)
		m.Polled(fetched(rs[4:]))
		require.Equal(t, ops.Counts{Received: 4, Processed: 1, InFlight: 3, Redelivered: 1}, m.Stats().Totals)
		require.Equal(t, ops.Latency{Count: 1, Sum: time.Second, P50: time.Second, P95: time.Second, P99: time.Second, Max: time.Second}, m.Stats().Latency)
	})
}

func TestPercentilesAreOfTheLatest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := meter.New(meter.Config{})
		for n, d := range []time.Duration{time.Hour, time.Second} {
			rs := records(0, int64(n)*4096, int64(n+1)*4096)
			m.Polled(fetched(rs))
			time.Sleep(d)
			for _, r := range rs {
				m.Ended(r, meter.Processed)
			}
		}
		l := m.Stats().Latency
		require.Equal(t, []time.Duration{time.Second, time.Second, time.Hour}, []time.Duration{l.P50, l.P99, l.Max})
		require.EqualValues(t, 8192, l.Count)
	})
}

func TestWhereAPartitionStands(t *testing.T) {
	m := meter.New(meter.Config{Group: "g"})
	stands := func(committed, position, end, lag int64) {
		t.Helper()
		p := m.Stats().Partitions[0]
		require.Equal(t, []int64{committed, position, end, lag}, []int64{p.Committed, p.Position, p.HighWatermark, p.Lag})
	}
	m.Assigned(orders)
	stands(ops.Unknown, ops.Unknown, ops.Unknown, ops.Unknown)
	_, err := m.Placed(t.Context(), map[string]map[int32]kgo.Offset{"orders": {0: kgo.NewOffset().At(3), 1: kgo.NewOffset().AtStart()}})
	require.NoError(t, err)
	require.Equal(t, ops.Unknown, m.Stats().Partitions[1].Committed)
	stands(3, 3, ops.Unknown, ops.Unknown)
	m.Polled(fetched(records(0, 3, 10)))
	stands(3, 10, 10, 7)
	m.HighWatermark("orders", 0, 30)
	m.HighWatermark("orders", 0, 20)
	stands(3, 10, 30, 27)
	m.Committed("orders", 0, 10)
	stands(10, 10, 30, 20)
	m.Polled(fetched(records(0, 0, 5))) // of a topic that was made anew
	stands(ops.Unknown, 5, 5, 0)
	m.Revoked(orders)
	m.Assigned(orders)
	stands(ops.Unknown, ops.Unknown, 5, ops.Unknown)
}

func TestARecordCostsNoAllocation(t *testing.T) {
	m := meter.New(meter.Config{})
	rs := records(0, 0, 100)
	fetches := fetched(rs)
	polled := testing.AllocsPerRun(100, func() {
		for _, r := range rs {
			r.Offset += int64(len(rs))
		}
		m.Polled(fetches)
		for _, r := range rs {
			m.Began(r)
			m.Ended(r, meter.Processed)
		}
	})
	require.LessOrEqual(t, polled, 2.0) // of the poll itself
}

func BenchmarkRecord(b *testing.B) {
	m := meter.New(meter.Config{Group: "g"})
	m.Assigned(orders)
	rs := records(0, 0, 500)
	fetches := fetched(rs)
	b.ReportAllocs()
	for n := 0; n < b.N; n += len(rs) {
		for _, r := range rs {
			r.Offset += int64(len(rs))
		}
		m.Polled(fetches)
		for _, r := range rs {
			m.Began(r)
			m.Ended(r, meter.Processed)
		}
	}
}

func ExampleMeter() {
	m := meter.New(meter.Config{Group: "validation"})
	m.Assigned(map[string][]int32{"orders": {0}}) // in kgo.OnPartitionsAssigned
	rs := records(0, 0, 3)
	m.Polled(fetched(rs)) // what the client's poll returned
	for _, r := range rs[:2] {
		m.Began(r)
		m.Ended(r, meter.Processed)
	}
	m.Committed("orders", 0, 2)

	s := m.Stats()
	fmt.Println(s.Totals.Received, "received,", s.Totals.Processed, "processed,", s.Totals.InFlight, "in flight, lag", s.Partitions[0].Lag)
	// Output: 3 received, 2 processed, 1 in flight, lag 1
}
