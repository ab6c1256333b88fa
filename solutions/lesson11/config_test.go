package lesson11_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kafka-katas/kafka-katas/ops/opsconfig"
	lesson11 "github.com/kafka-katas/kafka-katas/solutions/lesson11"
)

func TestTheConfigurationFileSaysTheDefaults(t *testing.T) {
	require.NoError(t, opsconfig.Matches(lesson11.DefaultConfig(), "config.yaml"))
}
