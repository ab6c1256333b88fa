//go:build synctests

package meter_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/kafka-katas/kafka-katas/ops"
	"github.com/kafka-katas/kafka-katas/ops/meter"
)

// A service is a client in a bubble with a cluster of its own, where ten records wait.
type service struct {
	*testing.T // of the bubble
	*meter.Meter
	cluster *kfake.Cluster
}

// serve lets a service poll while a story is told. What was polled is done at once and committed.
func serve(t *testing.T, group string, tell func(s *service), prepare ...func(*kfake.Cluster)) {
	synctest.Test(t, func(t *testing.T) {
		var vn kfake.VirtualNetwork
		cluster, err := kfake.NewCluster(kfake.ListenFn(vn.Listen), kfake.Ports(9092), kfake.NumBrokers(1), kfake.SeedTopics(1, "orders"))
		require.NoError(t, err)
		defer cluster.Close()
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		dialled := []kgo.Opt{kgo.SeedBrokers(cluster.ListenAddrs()...), kgo.Dialer(vn.DialContext), kgo.DisableClientMetrics(),
			kgo.ProducerBatchCompression(kgo.NoCompression())}
		producer, err := kgo.NewClient(dialled...)
		require.NoError(t, err)
		for range 10 {
			require.NoError(t, producer.ProduceSync(ctx, &kgo.Record{Topic: "orders"}).FirstErr())
		}
		if group != "" {
			_, err = kadm.NewClient(producer).CommitOffsets(ctx, group, kadm.OffsetsFromRecords(kgo.Record{Topic: "orders", Offset: 2}))
			require.NoError(t, err)
		}
		producer.Close()
		for _, p := range prepare {
			p(cluster)
		}

		m := meter.New(meter.Config{Group: group})
		opts := append(m.Opts(), dialled...)
		if group == "" {
			opts = append(opts, kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{"orders": {0: kgo.NewOffset().AtStart()}}))
		} else {
			revoked := func(_ context.Context, _ *kgo.Client, tps map[string][]int32) { m.Revoked(tps) }
			opts = append(opts, kgo.ConsumerGroup(group), kgo.ConsumeTopics("orders"), kgo.DisableAutoCommit(),
				kgo.OnPartitionsAssigned(func(_ context.Context, _ *kgo.Client, tps map[string][]int32) { m.Assigned(tps) }),
				kgo.OnPartitionsRevoked(revoked), kgo.OnPartitionsLost(revoked))
		}
		client, err := kgo.NewClient(opts...)
		require.NoError(t, err)
		m.Started()
		polled := make(chan struct{})
		go func() {
			defer close(polled)
			for ctx.Err() == nil {
				fetches := client.PollFetches(ctx)
				m.Polled(fetches)
				fetches.EachRecord(func(r *kgo.Record) { m.Ended(r, meter.Processed) })
				if group != "" && !fetches.Empty() {
					client.CommitOffsetsSync(ctx, client.UncommittedOffsets(), m.OnCommit)
				}
				if fetches.Err() != nil {
					time.Sleep(time.Second)
				}
			}
		}()
		defer func() {
			cancel()
			<-polled
			client.Close()
			m.Stopped(nil)
		}()
		tell(&service{t, m, cluster})
	})
}

func TestAMemberIsReady(t *testing.T) {
	serve(t, "g", func(s *service) {
		time.Sleep(10 * time.Second)
		require.Empty(s, s.Health().Cause())
		stats := s.Stats()
		require.Equal(s, ops.Counts{Received: 7, Processed: 7}, stats.Totals)
		p := stats.Partitions[0]
		require.Equal(s, []int64{10, 10, 10, 0}, []int64{p.Committed, p.Position, p.HighWatermark, p.Lag})
		require.Equal(s, map[string]int64{"commits": 1}, stats.Extra)
	})
}

func TestWithoutAGroupABrokerIsEnough(t *testing.T) {
	serve(t, "", func(s *service) {
		time.Sleep(10 * time.Second)
		require.True(s, s.Health().Ready, s.Health().Cause())
		require.Equal(s, "fetch", s.Health().Checks[1].Name)
		require.EqualValues(s, 10, s.Stats().Totals.Processed)
		s.cluster.Close()
		time.Sleep(10 * time.Second)
		require.False(s, s.Health().Ready)
		require.True(s, s.Health().Live)
	})
}

func TestAnOutageIsNoReasonToDie(t *testing.T) {
	serve(t, "g", func(s *service) {
		time.Sleep(10 * time.Second)
		require.True(s, s.Health().Ready)
		s.cluster.Close()
		time.Sleep(10 * time.Second)
		require.False(s, s.Health().Ready)
		require.Contains(s, s.Health().Cause(), "broker: no broker can be reached")
		require.True(s, s.Health().Live)
	})
}

func TestAForbiddenGroupIsReported(t *testing.T) {
	serve(t, "g", func(s *service) {
		time.Sleep(10 * time.Second)
		require.Contains(s, s.Health().Cause(), "group: GROUP_AUTHORIZATION_FAILED")
	}, func(c *kfake.Cluster) {
		c.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.JoinGroup}, Group: "g", Err: kerr.GroupAuthorizationFailed, Count: -1})
	})
}

func TestAForbiddenCommitStandsUntilOneSucceeds(t *testing.T) {
	serve(t, "g", func(s *service) {
		time.Sleep(10 * time.Second)
		require.Contains(s, s.Health().Cause(), "commit of orders/0: GROUP_AUTHORIZATION_FAILED")
		require.Equal(s, map[string]int64{"commits": 1, "commit_failures": 1}, s.Stats().Extra)
		require.EqualValues(s, 7, s.Stats().Partitions[0].Lag)
		s.Committed("orders", 0, 10)
		require.True(s, s.Health().Ready)
	}, func(c *kfake.Cluster) {
		c.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.OffsetCommit}, Group: "g", Err: kerr.GroupAuthorizationFailed, Count: -1})
	})
}

func TestAPartitionThatIsNeverFetchedIsNotForgotten(t *testing.T) {
	serve(t, "g", func(s *service) {
		time.Sleep(10 * time.Minute)
		require.Contains(s, s.Health().Cause(), "group: fetching orders/0: TOPIC_AUTHORIZATION_FAILED")
	}, func(c *kfake.Cluster) {
		c.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.OffsetFetch}, Topic: "orders", Err: kerr.TopicAuthorizationFailed, Count: -1})
	})
}
