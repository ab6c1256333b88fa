package shapes

import (
	"context"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/kafka-katas/kafka-katas/harness"
)

// responder answers where it is asked to.
type responder struct {
	client *kgo.Client
	handle func(context.Context, *kgo.Record) error
}

func priceResponder(g *harness.Group, requests *harness.Topic) func(p *harness.Process) (harness.Runner, error) {
	return func(p *harness.Process) (harness.Runner, error) {
		client, err := kgo.NewClient(append(p.Options(), kgo.ConsumerGroup(g.Name), kgo.ConsumeTopics(requests.Name), kgo.DisableAutoCommit(),
			kgo.BlockRebalanceOnPoll(), kgo.ProducerLinger(0), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.MetadataMinAge(100*time.Millisecond),
			kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))...)
		if err != nil {
			return nil, err
		}
		r := &responder{client: client}
		r.handle = p.Handler(r.reply)
		return r, nil
	}
}

func (r *responder) Run(ctx context.Context) error {
	defer r.client.CloseAllowingRebalance()
	for ctx.Err() == nil {
		for _, request := range r.client.PollRecords(ctx, 10).Records() {
			for r.handle(ctx, request) != nil || r.client.CommitRecords(ctx, request) != nil { // the reply before the commit
				if !waited(ctx, 100*time.Millisecond) {
					return nil
				}
			}
		}
		r.client.AllowRebalance()
	}
	return nil
}

// reply takes a tenth of a second, and is durable when it returns nil.
func (r *responder) reply(ctx context.Context, request *kgo.Record) error {
	if !waited(ctx, 100*time.Millisecond) {
		return ctx.Err()
	}
	if strings.HasPrefix(string(request.Value), "dodo") {
		return nil
	}
	reply := &kgo.Record{Value: append([]byte("price of "), request.Value...)}
	for _, h := range request.Headers {
		switch h.Key {
		case headerCorrelation:
			reply.Headers = append(reply.Headers, h)
		case headerReplyTo:
			topic, partition, _ := strings.Cut(string(h.Value), "/")
			n, err := strconv.ParseInt(partition, 10, 32)
			if err != nil {
				return nil // nobody knows where to
			}
			reply.Topic, reply.Partition = topic, int32(n)
		}
	}
	return r.client.ProduceSync(ctx, reply).FirstErr()
}
