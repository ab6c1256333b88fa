package opsconfig_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/kafka-katas/kafka-katas/ops"
	"github.com/kafka-katas/kafka-katas/ops/opsconfig"
	"github.com/stretchr/testify/require"
)

// config has a field of every kind.
type config struct {
	Brokers        []string      `doc:"Where to find the cluster; one broker that answers is enough."`
	Group          string        `doc:"The consumer group."`
	SessionTimeout time.Duration `doc:"How long a member may be silent before the group gives its partitions away."`
	Concurrency    int32         `doc:"How many partitions are worked on at once."`
	Ratio          float64
	Strict         bool
	Failures       ops.AlertState `doc:"How failures are looked at in the beginning."`
	Retry          retry          `doc:"What happens when the handler fails."`
	DLTTopic       string         `config:"dead_letter_topic"`
	Delays         []time.Duration
	Limit          uint16
	limits
	Handler func(string) error
	Secret  map[string]string `config:"-"`
	hidden  int
}

type retry struct {
	Attempts int
	Backoff  struct {
		Base, Cap time.Duration
	}
	Fatal []string
}

type limits struct{ MaxBuffered int }

func defaults() config {
	c := config{
		Brokers: []string{"localhost:9092"}, Group: "validation", SessionTimeout: 45 * time.Second, Concurrency: 1,
		Ratio: 0.5, Strict: true, Failures: ops.Pending, DLTTopic: "orders-dlt",
		Delays: []time.Duration{time.Second, time.Minute}, Limit: 10, limits: limits{100}, hidden: 7,
	}
	c.Retry = retry{Attempts: 3, Fatal: []string{}}
	c.Retry.Backoff.Base, c.Retry.Backoff.Cap = time.Second, 24*time.Hour
	return c
}

// write puts text into a file whose name error messages show as "config.yaml".
func write(t testing.TB, text string) {
	t.Chdir(t.TempDir())
	require.NoError(t, os.WriteFile("config.yaml", []byte(text), 0o600))
}

func TestWithoutFileAndEnvironmentTheDefaultsStand(t *testing.T) {
	got, err := opsconfig.Load(defaults(), "", "", []string{"LESSON07_NONSENSE=1"})
	require.NoError(t, err)
	require.Empty(t, diff(defaults(), got))
}

func diff(a, b config) string { return cmp.Diff(a, b, cmp.AllowUnexported(config{}, limits{})) }

func TestTheEnvironmentOverridesTheFileAndTheFileTheDefaults(t *testing.T) {
	write(t, `
# a comment
group: inventory
session_timeout: 30s
brokers: [a:1, "b:2"]
ratio: 1e-3
strict: false
failures: firing
delays:
  - 5s
  - 1m30s
max_buffered: 5
retry:
  backoff:
    base: 2s
dead_letter_topic: 2020-01-01
`)
	got, err := opsconfig.Load(defaults(), "config.yaml", "LESSON07_", []string{
		"HOME=/root", "LESSON07=1", "LESSON07_SESSION_TIMEOUT=10s", "LESSON07_RETRY_BACKOFF_CAP=1h", "LESSON07_BROKERS=c:3, d=4:4",
		"LESSON07_RETRY_FATAL=", "LESSON07_CONCURRENCY=8", "LESSON07_STRICT=TRUE", "LESSON07_LIMIT=65535",
	})
	require.NoError(t, err)

	want := defaults()
	want.Group, want.SessionTimeout, want.Brokers = "inventory", 10*time.Second, []string{"c:3", "d=4:4"}
	want.Ratio, want.Strict, want.Failures = 0.001, true, ops.Firing
	want.Delays = []time.Duration{5 * time.Second, 90 * time.Second}
	want.MaxBuffered, want.Concurrency, want.Limit, want.DLTTopic = 5, 8, 65535, "2020-01-01"
	want.Retry.Backoff.Base, want.Retry.Backoff.Cap = 2*time.Second, time.Hour
	require.Empty(t, diff(want, got))
}

func TestLoadingLeavesTheDefaultsListsAlone(t *testing.T) {
	d := defaults()
	_, err := opsconfig.Load(d, "", "X", []string{"X_BROKERS=other:1"})
	require.NoError(t, err)
	require.Equal(t, []string{"localhost:9092"}, d.Brokers)
}

func TestAFileThatSaysNothingChangesNothing(t *testing.T) {
	for name, text := range map[string]string{
		"empty": "", "comments": "# group: x\n", "an empty document": "---\n", "null": "~", "an empty map": "{}",
		"an empty section": "retry:\n  # attempts: 5\n", "byte order mark": "\ufeffgroup: validation\n", "Windows lines": "group: validation\r\nstrict: true\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			write(t, text)
			got, err := opsconfig.Load(defaults(), "config.yaml", "", nil)
			require.NoError(t, err)
			require.Empty(t, diff(defaults(), got))
		})
	}
}

func TestAMistakeIsNamedWithItsPlace(t *testing.T) {
	for _, tt := range []struct {
		name, yaml string
		env        []string
		want       string
	}{
		{"unknown key", "group: x\nsesion_timeout: 45s", nil, "config.yaml:2: unknown key sesion_timeout; did you mean session_timeout?"},
		{"unknown key in a section", "retry:\n  atempts: 1", nil, "config.yaml:2: unknown key retry.atempts; did you mean retry.attempts?"},
		{"unknown section", "retries:\n  x: 1", nil, "config.yaml:1: unknown key retries; did you mean retry?"},
		{"another case", "Group: x", nil, "config.yaml:1: unknown key Group; did you mean group?"},
		{"a dotted key", "retry.attempts: 1", nil, "config.yaml:1: unknown key retry.attempts"},
		{"a key kept out", "secret: x", nil, "config.yaml:1: unknown key secret"},
		{"a function", "handler: x", nil, "config.yaml:1: unknown key handler"},
		{"nothing near", "zzzzzzzzz: x", nil, "unknown key zzzzzzzzz; known are brokers, group, session_timeout, "},
		{"twice", "group: x\ngroup: y", nil, "config.yaml:2: the key group was given already in line 1"},
		{"unit forgotten", "group: x\n\nsession_timeout: 45", nil, `config.yaml:3: session_timeout = "45": expected a duration with its unit, such as 45s or 1m30s`},
		{"not a bool", "strict: yes", nil, `config.yaml:1: strict = "yes": expected true or false`},
		{"not a number", "concurrency: many", nil, `config.yaml:1: concurrency = "many": expected a whole number from -2147483648 to 2147483647`},
		{"too large", "limit: 65536", nil, `limit = "65536": expected a whole number from 0 to 65535`},
		{"negative", "limit: -1", nil, `limit = "-1": expected a whole number from 0 to 65535`},
		{"a fraction", "concurrency: 1.5", nil, `concurrency = "1.5": expected a whole number`},
		{"not a number, literally", "ratio: NaN", nil, `ratio = "NaN": expected a number`},
		{"enum", "failures: loud", nil, `config.yaml:1: failures = "loud": expected an alert state: "loud" is none of ["inactive" "pending" "firing"]`},
		{"list for one", "group: [a, b]", nil, `config.yaml:1: group = ["a" "b"]: expected one text`},
		{"one for a list", "brokers: a", nil, `config.yaml:1: brokers = "a": expected a list, each item one text`},
		{"bad item", "delays: [5s, 5]", nil, `config.yaml:1: delays = ["5s" "5"]: expected a list, each item a duration with its unit`},
		{"map for one", "group:\n  name: x", nil, "config.yaml:2: group has no keys of its own: expected one text"},
		{"one for a section", "retry: 3", nil, "config.yaml:1: retry is a section"},
		{"no value", "group:\n", nil, "config.yaml:1: group has no value; remove the line to have the default"},
		{"nested list", "brokers: [[a]]", nil, "config.yaml:1: brokers: an item of the list is not a plain value"},
		{"alias", "group: &a x\ndead_letter_topic: *a", nil, "config.yaml:2: dead_letter_topic: anchors and aliases are not supported"},
		{"alias of itself", "brokers: &a [*a]", nil, "config.yaml:1: brokers: an item of the list is not a plain value"},
		{"not a map", "- a\n- b", nil, "config.yaml:1: expected lines of the form key: value"},
		{"two documents", "group: x\n---\ngroup: y", nil, "config.yaml: only one document is read"},
		{"not YAML", "group: x\n\tgroup: y", nil, "config.yaml: yaml: line 2: "},

		{"unknown variable", "", []string{"L_SESION_TIMEOUT=1s"}, "environment: unknown variable L_SESION_TIMEOUT; did you mean L_SESSION_TIMEOUT?"},
		{"lower case", "", []string{"L_group=x"}, "environment: unknown variable L_group; did you mean L_GROUP?"},
		{"bad variable", "", []string{"L_SESSION_TIMEOUT=soon"}, `environment L_SESSION_TIMEOUT: session_timeout = "soon": expected a duration`},
		{"empty variable", "", []string{"L_CONCURRENCY="}, `environment L_CONCURRENCY: concurrency = "": expected a whole number`},
		{"bad item in a variable", "", []string{"L_DELAYS=1s,,2s"}, `environment L_DELAYS: delays = ["1s" "" "2s"]: expected a list`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			write(t, tt.yaml)
			got, err := opsconfig.Load(defaults(), "config.yaml", "L", tt.env)
			require.ErrorContains(t, err, tt.want)
			require.Empty(t, diff(config{}, got), "a configuration with a mistake is none")
		})
	}
}

func TestAllMistakesAreReportedAtOnce(t *testing.T) {
	write(t, "grup: x\nstrict: maybe\n")
	_, err := opsconfig.Load(defaults(), "config.yaml", "L", []string{"L_LIMIT=x", "L_RATION=1"})
	require.Len(t, strings.Split(err.Error(), "\n"), 4)
}

func TestAFileThatIsNamedMustExist(t *testing.T) {
	name := filepath.Join(t.TempDir(), "config.yaml")
	_, err := opsconfig.Load(defaults(), name, "", nil)
	require.ErrorIs(t, err, os.ErrNotExist)
	require.ErrorContains(t, err, name)
}

type validated struct{ Min, Max int }

var errOrder = errors.New("min: must not be above max")

func (v *validated) Validate() error {
	if v.Min > v.Max {
		return errOrder
	}
	return nil
}

func TestValidateHasTheLastWord(t *testing.T) {
	_, err := opsconfig.Load(validated{1, 2}, "", "V", []string{"V_MIN=3"})
	require.ErrorIs(t, err, errOrder)
	_, err = opsconfig.Load(validated{1, 2}, "", "V", []string{"V_MIN=3", "V_MAX=x"})
	require.NotErrorIs(t, err, errOrder, "there is nothing to validate yet")
	_, err = opsconfig.Load(validated{3, 2}, "", "V", []string{"V_MAX=3"})
	require.NoError(t, err, "only the result has to be valid")
}

func TestAStructThatCannotBeConfiguredSaysWhy(t *testing.T) {
	_, err := opsconfig.Load(struct{ Limits map[string]int }{}, "", "", nil)
	require.ErrorContains(t, err, `.Limits: a map[string]int cannot come from a file; tag it config:"-" if it should not`)
	_, err = opsconfig.Load(struct {
		RetryBase int
		Retry     struct{ Base int }
	}{}, "", "", nil)
	require.ErrorContains(t, err, "the keys retry_base and retry.base have the same name RETRY_BASE in the environment")
	_, err = opsconfig.Load(3, "", "", nil)
	require.EqualError(t, err, "a configuration is a struct, not int")
}
