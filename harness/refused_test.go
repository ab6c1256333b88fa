package harness

import (
	"errors"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// A client that produces knows what it gets from a crash, and does not spin: it asks for its producer id without a
// pause after an error that it does not know.
func TestADialThatIsRefusedIsTheNetPackagesOwn(t *testing.T) {
	err := refused("broker:9092", "Kafka is down")
	require.ErrorIs(t, err, syscall.ECONNREFUSED)
	require.EqualError(t, err, "dial tcp broker:9092: connect: connection refused (Kafka is down)")
	require.NotErrorIs(t, err, errors.ErrUnsupported)
}
