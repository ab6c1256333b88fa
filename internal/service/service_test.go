package service

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"net"
	"net/http"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/kafka-katas/kafka-katas/ops"
)

// counter is a service that consumes and counts.
type counter struct {
	opts   []kgo.Opt
	n, bad atomic.Int64
	hangs  chan struct{} // Run does not return before it is closed
	fails  error
}

func (c *counter) Stats() ops.Stats {
	return ops.Stats{Totals: ops.Counts{Received: c.n.Load(), Processed: c.n.Load()}}
}
func (c *counter) Health() ops.Health { return ops.HealthOf() }
func (c *counter) Run(ctx context.Context) error {
	if c.fails != nil {
		return c.fails
	}
	client, err := kgo.NewClient(c.opts...)
	if err != nil {
		return err
	}
	defer client.Close()
	for ctx.Err() == nil {
		for _, r := range client.PollFetches(ctx).Records() {
			c.n.Add(1)
			if string(r.Value) == "bad" {
				c.bad.Add(1)
			}
		}
	}
	if c.hangs != nil {
		<-c.hangs
	}
	return nil
}

func words(r *rand.Rand, bad bool) *kgo.Record {
	if bad {
		return kgo.StringRecord("bad")
	}
	return kgo.StringRecord("good")
}

// output is written by one goroutine and read by another.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

func until(t *testing.T, what string, so func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !so(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			require.FailNow(t, "never: "+what)
		}
	}
}

// ours are the goroutines that stand in this repository's code or the Kafka client's, beside the tests themselves.
func ours() []string {
	all := make([]byte, 1<<20)
	all = all[:runtime.Stack(all, true)]
	var out []string
	for g := range strings.SplitSeq(string(all), "\n\n") {
		if !strings.Contains(g, "testing.tRunner") && !strings.Contains(g, "testing.(*M)") && regexp.MustCompile(`kafka-katas|franz-go|net/http`).MatchString(g) {
			out = append(out, g)
		}
	}
	return out
}

func TestAServiceLeavesNothingBehind(t *testing.T) {
	t.Setenv("KAFKA_BROKERS", "")
	ctx, cancel := context.WithCancel(t.Context())
	c, out, cluster := &counter{}, &output{}, []string(nil)
	o := options{http: "127.0.0.1:0", rate: 500, bad: 0.5, seed: 1, grace: time.Minute}
	ended := make(chan error, 1)
	beside := make(chan struct{})
	var dir string
	go func() {
		ended <- serve(ctx, "lesson99", o, func(_ options, s *Stage) (Service, error) {
			s.Topics(2, "words", "", "words")
			s.Topics(7, "words") // is there: stays as it is
			s.CompactedTopics(1, "table")
			require.NoError(t, errors.Join(s.errs...))
			found, err := kadm.NewClient(s.kafka.client).ListTopics(ctx, "words", "table")
			require.NoError(t, err)
			require.Len(t, found["words"].Partitions, 2)
			require.Len(t, found["table"].Partitions, 1)
			s.Produce(kgo.KeyStringRecord("first", "word"))
			require.Error(t, errors.Join(s.errs...), "it names no topic")
			s.errs = nil
			s.Produce(&kgo.Record{Topic: "words", Value: []byte("bad")})
			require.NoError(t, errors.Join(s.errs...))
			s.Traffic("words", words)
			s.Also("beside", func(ctx context.Context) error { <-ctx.Done(); close(beside); return nil })
			s.Handle("GET /more", http.NotFoundHandler())
			s.Records("/words", "words")
			dir = s.Dir()
			require.DirExists(t, dir)
			s.Note("curl %s/more")
			c.opts, cluster = s.Opts(kgo.ConsumeTopics("words")), s.kafka.brokers
			return c, nil
		}, out)
	}()
	until(t, "traffic, good and bad", func() bool { return c.n.Load() > 20 && c.bad.Load() > 5 && c.bad.Load() < c.n.Load() })
	url := regexp.MustCompile(`http://\S+`).FindString(out.String())
	require.Contains(t, out.String(), "curl "+url+"/more\n")
	require.NotContains(t, out.String(), "/pause", "it has no controls")
	for path, status := range map[string]int{"/readyz": 200, "/stats": 200, "/more": 404} {
		resp, err := http.Get(url + path)
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		require.Equal(t, status, resp.StatusCode, path)
	}

	until(t, "the words on their page", func() bool {
		resp, err := http.Get(url + "/words")
		require.NoError(t, err)
		defer resp.Body.Close()
		var shown []record
		require.NoError(t, json.NewDecoder(resp.Body).Decode(&shown))
		return len(shown) == most && shown[0].Topic == "words"
	})

	cancel()

	require.NoError(t, <-ended)
	<-beside
	require.NoDirExists(t, dir)
	require.Contains(t, out.String(), "processed; 0 failed attempts")
	http.DefaultClient.CloseIdleConnections()
	until(t, "no goroutine left", func() bool { return len(ours()) == 0 })
	for _, addr := range append(cluster, strings.TrimPrefix(url, "http://")) {
		l, err := net.Listen("tcp", addr)
		require.NoError(t, err)
		require.NoError(t, l.Close())
	}
}

func TestOnARealClusterMissingTopicsAreMadeAndNothingIsDeleted(t *testing.T) {
	cluster, err := kfake.NewCluster(kfake.NumBrokers(2), kfake.SeedTopics(5, "there"))
	require.NoError(t, err)
	defer cluster.Close()
	t.Setenv("KAFKA_BROKERS", " "+strings.Join(cluster.ListenAddrs(), ", ")+",")
	ctx, cancel := context.WithCancel(t.Context())
	c, out := &counter{}, &output{}
	ended := make(chan error, 1)
	go func() {
		ended <- serve(ctx, "lesson99", options{http: "127.0.0.1:0", rate: 500, grace: time.Minute}, func(_ options, s *Stage) (Service, error) {
			s.Topics(2, "there", "missing")
			s.Traffic("missing", words)
			c.opts = s.Opts(kgo.ConsumeTopics("missing"))
			return c, errors.Join(s.errs...)
		}, out)
	}()
	until(t, "traffic", func() bool { return c.n.Load() > 20 })

	cancel()

	require.NoError(t, <-ended)
	require.Contains(t, out.String(), "KAFKA_BROKERS: 127.0.0.1:")
	client, err := kgo.NewClient(kgo.SeedBrokers(cluster.ListenAddrs()...))
	require.NoError(t, err)
	defer client.Close()
	found, err := kadm.NewClient(client).ListEndOffsets(t.Context(), "there", "missing")
	require.NoError(t, err)
	require.Len(t, found["there"], 5)
	require.Len(t, found["missing"], 2)
	require.Positive(t, found["missing"][0].Offset+found["missing"][1].Offset)
}

func TestWhatEndsAServiceIsSaid(t *testing.T) {
	t.Setenv("KAFKA_BROKERS", "")
	nothing := func(ctx context.Context) error { <-ctx.Done(); return nil }
	for name, x := range map[string]struct {
		fails  error
		beside func(context.Context) error
		mine   bool
		says   string
	}{
		"fails":          {errors.New("fenced"), nothing, false, "fenced"},
		"is not written": {errors.New("lesson99: Run is not written yet"), nothing, true, "katas/lesson99 is not ready to be served"},
		"beside":         {nil, func(context.Context) error { return errors.New("no price") }, false, "asking: no price"},
	} {
		t.Run(name, func(t *testing.T) {
			o := options{http: "127.0.0.1:0", grace: time.Minute, mine: x.mine}
			err := serve(t.Context(), "lesson99", o, func(_ options, s *Stage) (Service, error) {
				s.Also("asking", x.beside)
				return &counter{opts: s.Opts(), fails: x.fails}, nil
			}, &output{})
			require.ErrorContains(t, err, x.says)
			require.Equal(t, exitFailed, code(err, &output{}))
		})
	}
}

func TestAServiceThatDoesNotStopIsLeftAfterItsGrace(t *testing.T) {
	t.Setenv("KAFKA_BROKERS", "")
	ctx, cancel := context.WithCancel(t.Context())
	hangs := make(chan struct{})
	defer close(hangs)
	err := serve(ctx, "lesson99", options{http: "127.0.0.1:0", grace: 50 * time.Millisecond}, func(_ options, s *Stage) (Service, error) {
		go cancel()
		return &counter{opts: s.Opts(), hangs: hangs}, nil
	}, &output{})
	require.EqualError(t, err, "the service did not stop within 50ms (--grace): its context has ended, and Run must return then")
}

func TestTrafficIsSteadyAndTheSameForItsSeed(t *testing.T) {
	send := func(rate float64, seed uint64) (out []bool) {
		synctest.Test(t, func(t *testing.T) {
			s := &Stage{options: options{rate: rate, bad: 0.25, seed: seed}}
			s.Steadily("things", func(r *rand.Rand, bad bool) func(context.Context) {
				out = append(out, bad, r.IntN(2) == 0)
				return func(ctx context.Context) { <-ctx.Done() } // runTraffic waits for it
			})
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second+time.Millisecond)
			defer cancel()
			s.runTraffic(ctx)
		})
		return out
	}
	for rate, n := range map[float64]int{0: 0, 0.2: 2, 3: 30, 20: 200, 250: 2500, 10_000: 100_000} {
		require.InDelta(t, n, len(send(rate, 1))/2, max(1, float64(n)/1000), "%v a second", rate)
	}
	require.Equal(t, send(20, 1), send(20, 1))
	require.NotEqual(t, send(20, 1), send(20, 2))
	bad := 0
	for i, b := range send(100, 1) {
		if i%2 == 0 && b {
			bad++
		}
	}
	require.InDelta(t, 250, bad, 50)
}

func TestTheCommandLineIsChecked(t *testing.T) {
	for _, x := range []struct {
		args []string
		says string
	}{
		{nil, ""},
		{[]string{"--http", "localhost:0", "--rate", "0", "--bad", "1"}, ""},
		{[]string{"--http", "[::1]:80"}, ""},
		{[]string{"--http", "8080"}, "must be an address and a port"},
		{[]string{"--http", ":8080"}, "must be this machine's own"},
		{[]string{"--http", "192.168.1.1:8080"}, "must be this machine's own"},
		{[]string{"--rate", "NaN"}, "--rate is NaN"},
		{[]string{"--rate", "10001"}, "--rate is 10001"},
		{[]string{"--bad", "1.1"}, "--bad is 1.1"},
		{[]string{"--grace", "0s"}, "--grace is 0s"},
		{[]string{"lesson07"}, "everything is a flag"},
		{[]string{"--port", "1"}, "not defined"},
	} {
		o, err := parse("lesson07", x.args, &output{})
		if x.says == "" {
			require.NoError(t, err)
			continue
		}
		require.ErrorContains(t, err, x.says, "%v", x.args)
		_ = o
	}
	o, err := parse("lesson13", nil, &output{})
	require.NoError(t, err)
	require.Equal(t, "127.0.0.1:8013", o.http)
}
