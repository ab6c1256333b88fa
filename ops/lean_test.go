package ops_test

import (
	"go/build"
	"testing"

	"github.com/stretchr/testify/require"
)

// Every kata links this package, in the second between the learner's edit and the verdict: it imports nothing that kgo
// does not link already.
func TestTheTypesCostAKataNothing(t *testing.T) {
	p, err := build.ImportDir(".", 0)
	require.NoError(t, err)
	require.Subset(t, []string{"fmt", "strings", "time"}, p.Imports)
}
