package toolchain

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestTestsGetWhatTheUserHas(t *testing.T) {
	for _, env := range [][]string{{}, {"A=1", "B=2"}, {"GOGC=50"}, {"A=1", "GOMEMLIMIT=1GiB"}, {"GOGC=off", "GOMEMLIMIT=1GiB"}} {
		require.Equal(t, env, Tests(Env(env)))
	}
}

func TestWhatTheUserSaysHolds(t *testing.T) {
	require.Equal(t, []string{"A=1", "GOGC=off", "GOMEMLIMIT=1GiB", "KATA_GC=toolchain"}, Env([]string{"A=1"}))
	for _, env := range [][]string{{"GOGC=50"}, {"GOMEMLIMIT=64MiB"}, {"GOGC="}} {
		require.Equal(t, env, Env(env))
	}
	once := Env(nil)
	require.Equal(t, once, Env(once))
}
