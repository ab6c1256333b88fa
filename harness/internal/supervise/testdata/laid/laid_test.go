package empty

import (
	"os"
	"testing"

	"github.com/kafka-katas/kafka-katas/harness/internal/supervise"
)

func TestMain(m *testing.M) { os.Exit(supervise.Main(m.Run)) }

func TestLaidOver(*testing.T) {}

func TestLaidOverAndExits(*testing.T) { os.Exit(3) }
