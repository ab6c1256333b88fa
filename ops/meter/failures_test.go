package meter_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/kafka-katas/kafka-katas/ops"
	"github.com/kafka-katas/kafka-katas/ops/meter"
)

func TestErrorsAreGroupedAndBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := meter.New(meter.Config{MaxErrorGroups: 2, MaxErrorSamples: 2})
		began := time.Now()
		for p := range int32(4) {
			rs := records(p, 0, 5)
			m.Polled(fetched(rs))
			for _, r := range rs {
				m.Failed(r, fmt.Errorf("try: %w", context.DeadlineExceeded))
				time.Sleep(time.Second)
			}
		}
		at := func(s int) time.Time { return began.Add(time.Duration(s) * time.Second) }
		sample := func(s int, offset int64) ops.ErrorSample {
			return ops.ErrorSample{At: at(s), Offset: offset, Message: "try: context deadline exceeded"}
		}
		require.Equal(t, []ops.ErrorGroup{
			{Class: "other", Partition: -1, Count: 10, First: at(10), Last: at(19), Samples: []ops.ErrorSample{sample(18, 3), sample(19, 4)}},
			{Class: "timeout", Topic: "orders", Partition: 0, Count: 5, First: at(0), Last: at(4), Samples: []ops.ErrorSample{sample(3, 3), sample(4, 4)}},
			{Class: "timeout", Topic: "orders", Partition: 1, Count: 5, First: at(5), Last: at(9), Samples: []ops.ErrorSample{sample(8, 3), sample(9, 4)}},
		}, m.Stats().Errors)
		require.EqualValues(t, 20, m.Stats().Totals.Failed)
	})
}

type refused struct{}

func (refused) Error() string { return "refused" }

func TestClassesAreFew(t *testing.T) {
	for want, err := range map[string]error{
		"panic":                      fmt.Errorf("handler: %w", &meter.PanicError{Value: "boom 4711"}),
		"timeout":                    &net.OpError{Op: "read", Err: os.ErrDeadlineExceeded},
		"cancelled":                  fmt.Errorf("charge: %w", context.Canceled),
		"topic_authorization_failed": fmt.Errorf("send: %w", kerr.TopicAuthorizationFailed),
		"meter_test.refused":         fmt.Errorf("charge 4711: %w", refused{}),
		"error":                      errors.New("order 4711 is odd"),
	} {
		require.Equal(t, want, meter.ClassOf(err))
	}
}

func TestTheServiceMayKnowMoreClasses(t *testing.T) {
	m := meter.New(meter.Config{Class: func(err error) string {
		if errors.Is(err, refused{}) {
			return "refused"
		}
		return ""
	}})
	rs := records(0, 0, 1)
	m.Polled(fetched(rs))
	m.Failed(rs[0], refused{})
	m.Failed(rs[0], context.Canceled)
	var classes []string
	for _, g := range m.Stats().Errors {
		classes = append(classes, g.Class)
	}
	require.Equal(t, []string{"cancelled", "refused"}, classes)
}

func TestWhatIsInARecordIsNotShown(t *testing.T) {
	r := &kgo.Record{Key: []byte("77"), Value: []byte("Alice Miller, 4111-1111"),
		Headers: []kgo.RecordHeader{{Key: "token", Value: []byte("s3cr3tly")}}}
	for text, want := range map[string]string{
		"the bank is away":                 "the bank is away",
		"order77: the bank is away":        "order…: the bank is away",
		"xalicex has tokens3cr3tly":        "… has tokens…………",
		`cannot parse "{a: 1}": bad a`:     "cannot parse …: bad …",
		"card 4111-1111 of MILLER refused": "card …-… of … refused",
	} {
		require.Equal(t, want, meter.Redact(text, r))
	}
}
