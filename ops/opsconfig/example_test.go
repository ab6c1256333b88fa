package opsconfig_test

import (
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/kafka-katas/kafka-katas/ops/opsconfig"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestAnExampleLoadsAsTheDefaultsThatItShows(t *testing.T) {
	text, err := opsconfig.Example(defaults(), "LESSON07")
	require.NoError(t, err)
	write(t, text)
	require.NoError(t, opsconfig.Matches(defaults(), "config.yaml"))
	got, err := opsconfig.Load(config{Handler: nil, hidden: 7}, "config.yaml", "", nil)
	require.NoError(t, err)
	require.Empty(t, diff(defaults(), got))
}

func TestAnyValuesSurviveAnExample(t *testing.T) {
	write(t, "")
	text := rapid.StringOf(rapid.OneOf(rapid.RuneFrom([]rune("ab ,:#'\"\\[]{}&*!|>%@`-~0159.\n\t\u00e9\u2028\ufeff\U0001f600")), rapid.Rune()))
	rapid.Check(t, func(t *rapid.T) {
		want := defaults()
		want.Group = text.Draw(t, "group")
		want.Brokers = rapid.SliceOf(text).Draw(t, "brokers")
		want.SessionTimeout = time.Duration(rapid.Int64().Draw(t, "timeout"))
		want.Ratio = rapid.Float64().Draw(t, "ratio")
		out, err := opsconfig.Example(want, "L")
		require.NoError(t, err)
		require.NoError(t, os.WriteFile("config.yaml", []byte(out), 0o600))
		got, err := opsconfig.Load(config{hidden: 7}, "config.yaml", "", nil)
		require.NoError(t, err, out)
		require.Empty(t, diff(want, got), out)
	})
}

func TestAFileThatDiffersFromTheProgramIsFound(t *testing.T) {
	type small struct {
		Group   string
		Timeout time.Duration
		Topics  []string
	}
	d := small{"validation", time.Minute, []string{"orders"}}
	for _, tt := range []struct{ name, yaml, want string }{
		{"same", "topics: [orders]\n# why\ngroup: validation\ntimeout: 60s\n", ""},
		{"missing", "group: validation\ntimeout: 1m\n", "config.yaml: the key topics is missing"},
		{"too many", "group: validation\ntimeout: 1m\ntopics: [orders]\nold: 1\n", "config.yaml:4: unknown key old; known are group, timeout, topics"},
		{"another value", "group: validation\ntimeout: 2m\ntopics: [orders]\n", "config.yaml:2: timeout is 2m, but its default is 1m"},
		{"bad value", "group: validation\ntimeout: 2\ntopics: [orders]\n", `config.yaml:2: timeout = "2": expected a duration with its unit, such as 45s or 1m30s`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			write(t, tt.yaml)
			err := opsconfig.Matches(d, "config.yaml")
			if tt.want == "" {
				require.NoError(t, err)
				return
			}
			require.EqualError(t, err, tt.want)
		})
	}
}

func ExampleLoad() {
	type Config struct {
		Group          string
		SessionTimeout time.Duration
	}
	defaults := Config{Group: "validation", SessionTimeout: 45 * time.Second}

	config, err := opsconfig.Load(defaults, "", "LESSON07", []string{"LESSON07_SESSION_TIMEOUT=10s"})
	fmt.Println(config, err)

	_, err = opsconfig.Load(defaults, "", "LESSON07", []string{"LESSON07_SESION_TIMEOUT=10s"})
	fmt.Println(err)
	// Output:
	// {validation 10s} <nil>
	// environment: unknown variable LESSON07_SESION_TIMEOUT; did you mean LESSON07_SESSION_TIMEOUT?
}

func ExampleExample() {
	type Config struct {
		Brokers        []string      `doc:"Where to find the cluster; one broker that answers is enough."`
		SessionTimeout time.Duration `doc:"How long a member may be silent before the group gives its partitions away."`
		Retry          struct {
			Attempts int `doc:"How often a record is tried before it is given up."`
		} `doc:"What happens when the handler fails."`
	}
	c := Config{Brokers: []string{"localhost:9092"}, SessionTimeout: 45 * time.Second}
	c.Retry.Attempts = 3

	text, _ := opsconfig.Example(c, "LESSON07")
	fmt.Print(text)
	// Output:
	// # Where to find the cluster; one broker that answers is enough.
	// # LESSON07_BROKERS
	// brokers: ['localhost:9092']
	//
	// # How long a member may be silent before the group gives its partitions away.
	// # LESSON07_SESSION_TIMEOUT
	// session_timeout: 45s
	//
	// # What happens when the handler fails.
	// retry:
	//   # How often a record is tried before it is given up.
	//   # LESSON07_RETRY_ATTEMPTS
	//   attempts: 3
}
