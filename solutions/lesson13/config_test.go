package lesson13_test

import (
	"testing"

	"github.com/kafka-katas/kafka-katas/ops/opsconfig"
	lesson13 "github.com/kafka-katas/kafka-katas/solutions/lesson13"
)

func TestTheExampleOfAConfigurationIsTheDefaults(t *testing.T) {
	if err := opsconfig.Matches(lesson13.DefaultConfig(), "config.yaml"); err != nil {
		t.Fatal(err)
	}
}
