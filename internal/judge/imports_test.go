package judge

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// The laws hold for the repository itself.
func TestImportLaws(t *testing.T) {
	root, err := FindRoot(".")
	require.NoError(t, err)
	broken, err := Imports(root, "github.com/kafka-katas/kafka-katas")
	require.NoError(t, err)
	for _, b := range broken {
		t.Error(b)
	}
}

func TestABrokenImportLawIsSaidWithItsReason(t *testing.T) {
	root := unpack(t, "testdata/imports.txtar")
	broken, err := Imports(root, "example.test/course")
	require.NoError(t, err)
	require.Equal(t, []string{
		"harness/run.go:3 imports example.test/course/solutions/lesson01: the harness must not know the answers: engineers take it home without the course",
		"katas/lesson01/spec_test.go:5 imports example.test/course/solutions/lesson01: a kata that imports an answer gives it away",
		"katas/lesson01/consumer.go:6 imports example.test/course/harness: katas speak plain kgo, so that what is learnt works on Monday; the harness belongs in _test.go",
		"katas/lesson01/consumer.go:8 imports github.com/twmb/franz-go/pkg/kfake: katas speak plain kgo, so that what is learnt works on Monday; the harness belongs in _test.go",
		"solutions/lesson01/consumer.go:4 imports example.test/course/internal/service: a solution uses what the learner may use, and no more",
		"solutions/lesson01/serve/main.go:4 imports example.test/course/harness: a service's main joins its solution to internal/service; what else it takes to run one belongs there, once",
		"solutions/lesson01/serve/main.go:7 imports github.com/twmb/franz-go/pkg/kfake: a service's main joins its solution to internal/service; what else it takes to run one belongs there, once",
		"internal/service/main.go:5 imports example.test/course/solutions/lesson01: it runs any lesson's service, so it knows none",
	}, broken)
}
