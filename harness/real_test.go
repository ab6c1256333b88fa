package harness

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// brokers names the real cluster, or skips the test.
func brokers(t *testing.T) []string {
	t.Helper()
	names := os.Getenv("KAFKA_BROKERS")
	if names == "" {
		t.Skip("KAFKA_BROKERS names no cluster")
	}
	return strings.Split(names, ",")
}

// left is what a cluster holds with this in its name.
func left(t *testing.T, r *real, mark string) (names []string) {
	t.Helper()
	topics, err := r.admin.ListTopics(t.Context())
	require.NoError(t, err)
	groups, err := r.admin.ListGroups(t.Context())
	require.NoError(t, err)
	return append(marked(mark, topics.Names()), marked(mark, groups.Groups())...)
}

// A story leaves nothing on a cluster that others use too: neither what it made itself nor what its programs did, green or
// red, and although a crashed member's session lasts.
func TestAStoryLeavesNothingOnARealCluster(t *testing.T) {
	seeds := brokers(t)
	r, err := connect(seeds)
	require.NoError(t, err)
	defer r.client.Close()
	mark := ""

	out := verdict(t, func(w *World) {
		mark = w.backend.(*real).mark
		orders, validation := w.Topic("orders", 2), w.Group("validation")
		_, err := r.admin.CreateTopic(w.ctx, 1, -1, nil, orders.Name+"-dead")
		require.NoError(w, err)
		orders.Fill(1)
		p := w.Start("p", patient(validation, orders))
		w.Until(validation.Drained(orders))
		require.Len(t, left(t, r, mark), 3)
		p.Crash()
		w.Claim(func(*World) error { return &Lost{Breach{What: "what is told here is red"}} })
	})

	require.Equal(t, "LOST", Word(out.err))
	require.Empty(t, left(t, r, mark))
}

// What a run leaves when its process dies goes by the run's mark, which all its processes share; another run's stays.
func TestARunRemovesWhatItsProcessesLeft(t *testing.T) {
	seeds := brokers(t)
	t.Setenv(runEnv, "testrun1")
	mine, err := newReal(seeds, t.Logf)
	require.NoError(t, err)
	defer mine.client.Close()
	t.Setenv(runEnv, "testrun2")
	other, err := newReal(seeds, t.Logf)
	require.NoError(t, err)
	defer other.close()
	for _, r := range []*real{mine, other} {
		require.NoError(t, r.createTopic(t.Context(), r.unique("orders"), 1, nil))
	}

	t.Setenv(runEnv, "testrun1")
	removeLeftovers()

	require.Empty(t, left(t, mine, mine.mark))
	require.NotEmpty(t, left(t, other, other.mark))
}

// A leader has moved when the call returns, also on a real cluster.
func TestARealLeaderMoves(t *testing.T) {
	r, err := newReal(brokers(t), t.Logf)
	require.NoError(t, err)
	defer r.close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	all, err := r.admin.ListBrokers(ctx)
	require.NoError(t, err)
	if len(all) < 2 {
		t.Skip("the cluster has one broker")
	}
	name := r.unique("orders")
	require.NoError(t, r.createTopic(ctx, name, 1, nil))
	leader := func() int32 {
		topics, err := r.admin.ListTopics(ctx, name)
		require.NoError(t, err)
		return topics[name].Partitions[0].Leader
	}
	before := leader()
	require.NoError(t, r.moveLeader(ctx, name, 0))
	require.NotEqual(t, before, leader())
}
