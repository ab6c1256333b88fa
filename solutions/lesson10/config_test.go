package lesson10_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kafka-katas/kafka-katas/ops/opsconfig"
	lesson10 "github.com/kafka-katas/kafka-katas/solutions/lesson10"
)

// config.yaml says what the defaults are, and can be loaded.
func TestTheConfigurationFileIsThatOfTheDefaults(t *testing.T) {
	require.NoError(t, opsconfig.Matches(lesson10.DefaultConfig(), "config.yaml"))
}
