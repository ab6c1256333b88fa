// Package heavy links what a lesson's specification links, to measure what supervision costs.
package heavy

import (
	"os"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/kafka-katas/kafka-katas/harness/internal/supervise"
)

var _ = []any{kadm.NewClient, kfake.NewCluster, kgo.NewClient}

func TestMain(m *testing.M) { os.Exit(supervise.Main(m.Run)) }

func TestAFirst(t *testing.T) {}
