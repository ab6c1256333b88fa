package wire

import (
	"context"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// passing is a handler as a harness has it: it looks at commits and lets Fetch replies pass undecoded.
type passing struct{}

func (passing) Request(*Frame) Verdict              { return Pass() }
func (passing) WantReply(f *Frame) bool             { return f.Key != 1 && f.Key != produce }
func (passing) Reply(*Frame, kmsg.Response) Verdict { return Pass() }

// BenchmarkTap produces and consumes 1,000 records on kfake, with and without a tap.
func BenchmarkTap(b *testing.B) {
	for _, c := range []struct {
		name string
		h    Handler
	}{{"none", nil}, {"tap", passing{}}, {"decode", new(quiet)}} {
		b.Run(c.name, func(b *testing.B) {
			n := fake(b)
			topic := n.topic(b, 1)
			cl := n.client(b, c.h, kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
			rs := make([]*kgo.Record, 1000)
			b.ReportAllocs()
			for b.Loop() {
				for i := range rs {
					rs[i] = &kgo.Record{Topic: topic, Key: strconv.AppendInt(nil, int64(i), 10), Value: make([]byte, 100)}
				}
				require.NoError(b, cl.ProduceSync(context.Background(), rs...).FirstErr())
				for got := 0; got < len(rs); {
					got += cl.PollFetches(context.Background()).NumRecords()
				}
			}
		})
	}
}

// quiet decodes everything.
type quiet struct{ passing }

func (quiet) WantReply(*Frame) bool { return true }
