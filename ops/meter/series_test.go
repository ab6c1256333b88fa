package meter_test

import (
	"errors"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kafka-katas/kafka-katas/ops"
	"github.com/kafka-katas/kafka-katas/ops/meter"
)

// Whoever looks, and whenever, cannot tell a Series from what it stands for.
func TestASeriesSaysTheSame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		chance := rand.New(rand.NewPCG(1, 1))
		one, many := meter.New(meter.Config{StallAfter: 20 * time.Second}), meter.New(meter.Config{StallAfter: 20 * time.Second})
		series := many.Series()
		look := func() {
			require.Equal(t, one.Stats(), many.Stats())
			require.Equal(t, one.Health(), many.Health())
		}
		for next := int64(0); next < 4000; {
			rs := records(0, next, next+1+chance.Int64N(400))
			next += int64(len(rs)) + chance.Int64N(3) // with gaps
			one.Polled(fetched(rs))
			many.Polled(fetched(rs))
			series.Begin(rs)
			one.Began(rs[0])
			for i, r := range rs {
				time.Sleep(time.Duration(chance.Int64N(int64(time.Second))))
				switch {
				case chance.IntN(50) == 0:
					look()
				case chance.IntN(200) == 0:
					time.Sleep(time.Minute) // wedged
					look()
				case chance.IntN(300) == 0:
					one.ResetStats()
					many.ResetStats()
					look()
				}
				if chance.IntN(150) == 0 {
					series.End()
					for _, m := range []*meter.Meter{one, many} {
						m.Failed(r, errors.New("no"))
						m.Ended(r, meter.Dead)
					}
					series.Begin(rs[i+1:])
				} else {
					one.Ended(r, meter.Processed)
					require.Equal(t, time.Now().UnixNano(), series.Done().UnixNano())
				}
				if i+1 < len(rs) {
					one.Began(rs[i+1])
				}
			}
			look()
			series.Done() // one too many
		}
		series.End()
		look()
		require.Zero(t, many.Stats().Totals.InFlight)
	})
}

func TestRecordsThatEndTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		one, many := meter.New(meter.Config{}), meter.New(meter.Config{})
		rs := records(0, 0, 300)
		one.Polled(fetched(rs))
		many.Polled(fetched(rs))
		series := many.Series()
		series.DoneTogether(3) // of none
		series.Begin(rs)
		for _, n := range []int{0, 200, 1, 99, 1} { // one too many
			time.Sleep(time.Second)
			for range min(n, len(rs)) {
				one.Ended(rs[0], meter.Processed)
				rs = rs[1:]
			}
			series.DoneTogether(n)
			require.Equal(t, one.Stats(), many.Stats())
		}
		series.End()
		require.EqualValues(t, 300, many.Stats().Totals.Processed)
	})
}

func TestASeriesEndsWithItsPartition(t *testing.T) {
	m := meter.New(meter.Config{Group: "g"})
	series := m.Series()
	series.Done()
	series.Begin(records(0, 0, 1)) // of a partition that nobody has heard of
	series.Done()
	m.Assigned(orders)
	rs := records(0, 0, 10)
	m.Polled(fetched(rs))
	series.Begin(rs)
	series.Done()
	m.Revoked(orders)
	want := ops.Counts{Received: 10, Processed: 1, Released: 9}
	require.Equal(t, want, m.Stats().Totals)

	m.Assigned(orders) // back again, with the same records
	m.Polled(fetched(rs))
	require.False(t, series.Done().IsZero()) // of the ownership before
	series.End()
	want.Received, want.InFlight, want.Redelivered = 20, 10, 10
	require.Equal(t, want, m.Stats().Totals)
}

// Two goroutines share a partition, and somebody looks.
func TestSeriesShareAPartition(t *testing.T) {
	m := meter.New(meter.Config{})
	rs := records(0, 0, 20000)
	m.Polled(fetched(rs))
	var work sync.WaitGroup
	for n := range 2 {
		work.Go(func() {
			series := m.Series()
			defer series.End()
			half := rs[n*10000 : (n+1)*10000]
			for len(half) > 0 {
				part := half[:min(300, len(half))]
				half = half[len(part):]
				series.Begin(part)
				for range part {
					series.Done()
				}
			}
		})
	}
	for m.Stats().Totals.InFlight > 0 {
		s := m.Stats()
		m.Health()
		require.Zero(t, s.Totals.Unaccounted())
		require.Equal(t, s.Totals.Processed, s.Latency.Count)
	}
	work.Wait()
	require.EqualValues(t, 20000, m.Stats().Totals.Processed)
}

func BenchmarkSeries(b *testing.B) {
	m := meter.New(meter.Config{Group: "g"})
	m.Assigned(orders)
	rs := records(0, 0, 500)
	fetches := fetched(rs)
	series := m.Series()
	b.ReportAllocs()
	for n := 0; n < b.N; n += len(rs) {
		for _, r := range rs {
			r.Offset += int64(len(rs))
		}
		m.Polled(fetches)
		series.Begin(rs)
		for range rs {
			series.Done()
		}
		series.End()
	}
}
