package harness

import (
	"context"
	"crypto/rand"
	"encoding/pem"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kfake"
)

// brokers names the real cluster, or else one in this process that is reached as a real one is: over TCP, in real time.
func brokers(t *testing.T, opts ...kfake.Opt) []string {
	t.Helper()
	if names := os.Getenv("KAFKA_BROKERS"); names != "" && len(opts) == 0 {
		return strings.Split(names, ",")
	}
	cluster, err := kfake.NewCluster(append([]kfake.Opt{kfake.NumBrokers(3), kfake.GroupMinSessionTimeout(time.Second)}, opts...)...)
	require.NoError(t, err)
	t.Cleanup(cluster.Close)
	t.Setenv("KAFKA_BROKERS", strings.Join(cluster.ListenAddrs(), ","))
	return cluster.ListenAddrs()
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

	now, err := connect(seeds) // the others answer from what they have just seen
	require.NoError(t, err)
	defer now.client.Close()
	require.Empty(t, left(t, now, mine.mark))
	require.NotEmpty(t, left(t, now, other.mark))
}

// Whoever stops a run by Ctrl-C in the middle of a story, as CI does by SIGTERM, leaves nothing on the cluster: neither
// topics nor a group whose members are alive.
func TestAnInterruptedRunLeavesNothingOnARealCluster(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("a process cannot send an interrupt there")
	}
	seeds := brokers(t)
	r, err := connect(seeds)
	require.NoError(t, err)
	defer r.client.Close()
	self, err := os.Executable()
	require.NoError(t, err)
	for i, sig := range []os.Signal{os.Interrupt, syscall.SIGTERM} {
		run := fmt.Sprintf("ended%d%s", i, strings.ToLower(rand.Text()[:6]))
		cmd := exec.Command(self, "-test.run=^TestAStoryThatWaitsToBeInterrupted$", "-test.timeout=2m")
		cmd.Env = append(os.Environ(), "KAFKA_BROKERS="+strings.Join(seeds, ","), runEnv+"="+run, waitsEnv+"=1")
		var said strings.Builder
		cmd.Stdout, cmd.Stderr = &said, &said
		require.NoError(t, cmd.Start())
		ended := make(chan error, 1)
		go func() { ended <- cmd.Wait() }()
		for len(left(t, r, "-kata-"+run+"-")) < 2 { // a topic and a group, with a member in it
			select {
			case err := <-ended:
				t.Fatalf("it ended by itself: %v\n%s", err, &said)
			case <-time.After(settling):
			}
		}

		require.NoError(t, cmd.Process.Signal(sig))

		require.Error(t, <-ended)
		require.Empty(t, left(t, r, "-kata-"+run+"-"), "%v:\n%s", sig, &said)
	}
}

// waitsEnv marks the run that is there to be interrupted.
const waitsEnv = "KATA_TEST_WAITS"

func TestAStoryThatWaitsToBeInterrupted(t *testing.T) {
	if os.Getenv(waitsEnv) == "" {
		t.Skip("TestAnInterruptedRunLeavesNothingOnARealCluster runs it")
	}
	Run(t, func(w *World) {
		orders, validation := w.Topic("orders", 2), w.Group("validation")
		orders.Fill(1)
		w.Start("p", patient(validation, orders))
		w.Sleep(time.Hour)
	}, Lasts(time.Minute), Deadline(2*time.Hour))
}

// A cluster that asks who one is, and speaks TLS, is told the same stories: the environment says how.
func TestAStoryOnARealClusterWithALogin(t *testing.T) {
	server, _ := certified(t)
	ca := filepath.Join(t.TempDir(), "ca.pem")
	require.NoError(t, os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificates[0].Certificate[0]}), 0o600))
	seeds := brokers(t, kfake.TLS(server), kfake.EnableSASL(), kfake.Superuser("SCRAM-SHA-256", "teller", "secret"))
	for name, value := range map[string]string{
		"KAFKA_BROKERS": strings.Join(seeds, ","), "KAFKA_TLS": "", "KAFKA_TLS_CA_FILE": ca, "KAFKA_TLS_CERT_FILE": "", "KAFKA_TLS_KEY_FILE": "",
		"KAFKA_SASL_MECHANISM": "SCRAM-SHA-256", "KAFKA_SASL_USERNAME": "teller", "KAFKA_SASL_PASSWORD": "secret",
	} {
		t.Setenv(name, value)
	}

	out := verdict(t, func(w *World) {
		orders, bank := w.Topic("orders", 1), w.Group("bank")
		orders.Fill(10)
		w.Start("a", consume(bank, false, orders)).Fault(LoseReply(OffsetCommit))
		w.Until(bank.Drained(orders))
		w.Claim(bank.Handled(orders), bank.CommitSafe(orders))
	})
	require.NoError(t, out.err)

	t.Setenv("KAFKA_SASL_PASSWORD", "")
	out = verdict(t, func(*World) {})
	require.ErrorContains(t, out.err, "KAFKA_SASL_PASSWORD is missing")
}

// What a cluster cannot be asked to do is no verdict on anybody's program, and the skip says what it is.
func TestAStoryThatARealClusterCannotTellIsSkipped(t *testing.T) {
	seeds := brokers(t, kfake.NumBrokers(1))
	t.Setenv("KAFKA_BROKERS", strings.Join(seeds, ","))
	for what, story := range map[string]func(*World){
		"it stops a broker": func(w *World) { w.Kafka().StopBroker(0) },
		"it moves a leader or coordinator, and there the partition has one replica": func(w *World) { w.Topic("orders", 1).MoveLeader(0) },
	} {
		require.Equal(t, "not told on a real cluster: "+what, verdict(t, story).skip)
	}
	out := verdict(t, func(*World) {}, Lasts(6*time.Minute))
	require.Equal(t, "not told on a real cluster: the story lasts 6m0s, longer than 5m0s (KATA_REAL_LIMIT)", out.skip)
}

// A leader has moved when the call returns, also on a real cluster.
func TestARealLeaderMoves(t *testing.T) {
	if os.Getenv("KAFKA_BROKERS") == "" {
		t.Skip("KAFKA_BROKERS names no cluster, and kfake keeps no replicas")
	}
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
