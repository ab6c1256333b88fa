package toolchain

import (
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestNamesAreLookedUpWithCOnlyWhereTheyAreReal(t *testing.T) {
	if runtime.GOOS == "darwin" || runtime.GOOS == "windows" {
		t.Skip("no C either way")
	}
	t.Setenv("KAFKA_BROKERS", "")
	require.Equal(t, "synctests,netgo,osusergo", Tags("synctests"))
	t.Setenv("KAFKA_BROKERS", "broker.local:9092")
	require.Equal(t, "synctests", Tags("synctests"))
}
