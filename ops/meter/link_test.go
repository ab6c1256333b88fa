package meter

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

func linked(t *testing.T, group string, tell func(m *Meter, l *link, cause func() string)) {
	synctest.Test(t, func(t *testing.T) {
		m := New(Config{Group: group, HeartbeatInterval: 3 * time.Second})
		m.Started()
		tell(m, &m.link, func() string { return m.Health().Cause() })
		require.True(t, m.Health().Live)
	})
}

var (
	one = kgo.BrokerMetadata{NodeID: 1, Host: "one", Port: 9092}
	two = kgo.BrokerMetadata{NodeID: 2, Host: "two", Port: 9092}
)

func TestACoordinatorOutOfReachIsNotReady(t *testing.T) {
	linked(t, "g", func(m *Meter, l *link, cause func() string) {
		require.Equal(t, "broker: no broker has been reached yet; group: not a member of the group yet", cause())
		l.OnBrokerConnect(one, 0, nil, errors.New("refused"))
		require.Contains(t, cause(), "broker: no broker can be reached: refused")
		l.OnBrokerConnect(one, 0, nil, nil)
		require.NotContains(t, cause(), "broker")

		l.OnBrokerWrite(two, kmsg.JoinGroup.Int16(), 0, 0, 0, nil)
		time.Sleep(time.Minute) // a join may wait for others
		l.OnBrokerE2E(two, kmsg.JoinGroup.Int16(), kgo.BrokerE2E{})
		m.Assigned(nil)
		require.Empty(t, cause()) // a member without partitions is healthy

		time.Sleep(9 * time.Second)
		require.Empty(t, cause())
		time.Sleep(time.Nanosecond)
		require.Contains(t, cause(), "broker: the group's coordinator has not answered for 9.000000001s")
		l.OnBrokerE2E(two, kmsg.Heartbeat.Int16(), kgo.BrokerE2E{ReadWait: time.Second})
		require.Empty(t, cause())
		l.OnBrokerE2E(two, kmsg.Heartbeat.Int16(), kgo.BrokerE2E{ReadErr: context.Canceled})
		require.Empty(t, cause()) // the client gave up, not the broker
		l.OnBrokerE2E(two, kmsg.ConsumerGroupHeartbeat.Int16(), kgo.BrokerE2E{ReadErr: errors.New("reset")})
		require.Equal(t, "broker: the group's coordinator cannot be reached: reset", cause())
	})
}

func TestAnErrorOfTheGroupStandsUntilItHasUs(t *testing.T) {
	linked(t, "g", func(m *Meter, l *link, cause func() string) {
		l.OnBrokerConnect(one, 0, nil, nil)
		m.Assigned(nil)
		l.OnGroupManageError(kgo.ErrClientClosed)
		require.Empty(t, cause())
		l.OnGroupManageError(kerr.GroupAuthorizationFailed)
		require.Contains(t, cause(), "group: GROUP_AUTHORIZATION_FAILED")
		m.Assigned(nil)
		require.Empty(t, cause())
	})
}

func TestAFetchErrorStandsUntilItIsDisproved(t *testing.T) {
	linked(t, "", func(m *Meter, l *link, cause func() string) {
		l.OnBrokerConnect(one, 0, nil, nil)
		fetch := func(err error) {
			m.Polled(kgo.Fetches{{Topics: []kgo.FetchTopic{{Topic: "orders", Partitions: []kgo.FetchPartition{{Partition: 3, Err: err}}}}}})
		}
		for _, harmless := range []error{context.Canceled, kgo.ErrClientClosed, &kgo.ErrDataLoss{}} {
			fetch(harmless)
			require.Empty(t, cause())
		}
		fetch(kerr.TopicAuthorizationFailed)
		require.Contains(t, cause(), "fetch: fetching orders/3: TOPIC_AUTHORIZATION_FAILED")
		fetch(nil)
		require.Empty(t, cause())

		fetch(kerr.TopicAuthorizationFailed)
		m.Revoked(map[string][]int32{"orders": {3}})
		require.Empty(t, cause())

		fetch(kerr.TopicAuthorizationFailed)
		time.Sleep(30 * time.Second)
		require.NotEmpty(t, cause())
		time.Sleep(time.Nanosecond) // not told any more
		require.Empty(t, cause())
	})
}

func TestANewClientIsANewMembership(t *testing.T) {
	linked(t, "g", func(m *Meter, l *link, cause func() string) {
		l.OnBrokerConnect(one, 0, nil, nil)
		m.Assigned(nil)
		producer, err := kgo.NewClient(m.Opts()...) // without the group
		require.NoError(t, err)
		defer producer.Close()
		require.Empty(t, cause())
		client, err := kgo.NewClient(append(m.Opts(), kgo.ConsumerGroup("g"))...)
		require.NoError(t, err)
		defer client.Close()
		require.Contains(t, cause(), "group: not a member of the group yet")
	})
}
