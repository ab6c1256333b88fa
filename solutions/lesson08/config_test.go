package lesson08_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kafka-katas/kafka-katas/ops/opsconfig"
	lesson08 "github.com/kafka-katas/kafka-katas/solutions/lesson08"
)

func TestTheConfigFileHasTheDefaults(t *testing.T) {
	require.NoError(t, opsconfig.Matches(lesson08.DefaultConfig(), "config.yaml"))
}
