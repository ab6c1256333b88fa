package lesson12_test

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"testing"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	lesson12 "github.com/kafka-katas/kafka-katas/solutions/lesson12"
)

const benchCommands = 2_000

// BenchmarkCommands states the price of the promises: commands from an in-process cluster over loopback TCP, carried out
// on the embedded store with an event each, against a bare loop that consumes each and produces an answer, one after
// the other in both. "of-raw" is the rate as a part of the bare loop's; what it lacks is three durable updates of the
// store for each command.
//
//	go test -run - -bench Commands -benchtime 3x ./solutions/lesson12
func BenchmarkCommands(b *testing.B) {
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(4, "inventory-commands", "inventory-events"))
	if err != nil {
		b.Fatal(err)
	}
	defer cluster.Close()
	opts := []kgo.Opt{kgo.SeedBrokers(cluster.ListenAddrs()...), kgo.DisableClientMetrics(), kgo.ProducerBatchCompression(kgo.NoCompression())}
	fill(b, opts)
	var raw, service float64
	for i := 0; b.Loop(); i++ {
		began := b.Elapsed()
		loop(b, opts, fmt.Sprintf("raw-%d", i))
		middle := b.Elapsed()
		carryOut(b, opts, fmt.Sprintf("shop-%d", i))
		raw += (middle - began).Seconds()
		service += (b.Elapsed() - middle).Seconds()
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(float64(b.N*benchCommands)/raw, "raw-records/s")
	b.ReportMetric(float64(b.N*benchCommands)/service, "commands/s")
	b.ReportMetric(raw/service, "of-raw")
}

func fill(b *testing.B, opts []kgo.Opt) {
	client, err := kgo.NewClient(opts...)
	if err != nil {
		b.Fatal(err)
	}
	defer client.Close()
	for i := range benchCommands {
		cmd := lesson12.Command{ID: fmt.Sprintf("c-%d", i), Type: "restock", SKU: fmt.Sprintf("sku-%d", i%16), Quantity: 1}
		value, err := json.Marshal(cmd)
		if err != nil {
			b.Fatal(err)
		}
		client.Produce(context.Background(), &kgo.Record{Topic: "inventory-commands", Key: []byte(cmd.SKU), Value: value}, nil)
	}
	if err := client.Flush(context.Background()); err != nil {
		b.Fatal(err)
	}
}

// loop consumes each record and produces an answer to it.
func loop(b *testing.B, opts []kgo.Opt, group string) {
	client, err := kgo.NewClient(append(opts[:len(opts):len(opts)], kgo.ConsumerGroup(group), kgo.ConsumeTopics("inventory-commands"),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.ProducerLinger(0))...)
	if err != nil {
		b.Fatal(err)
	}
	defer client.Close()
	for n := 0; n < benchCommands; {
		client.PollRecords(context.Background(), 1000).EachRecord(func(r *kgo.Record) {
			if err := client.ProduceSync(context.Background(), &kgo.Record{Topic: "inventory-events", Key: r.Key, Value: r.Value}).FirstErr(); err != nil {
				b.Fatal(err)
			}
			n++
		})
	}
}

func carryOut(b *testing.B, opts []kgo.Opt, group string) {
	store, err := lesson12.OpenStore(filepath.Join(b.TempDir(), group+".db"))
	if err != nil {
		b.Fatal(err)
	}
	defer store.Close()
	cfg := lesson12.DefaultConfig()
	cfg.Group, cfg.Workflow.Topic = group, ""
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	done := make(chan struct{}, benchCommands)
	outside := lesson12.Outside{Store: store, Attempt: func(work lesson12.Handler) lesson12.Handler {
		return func(ctx context.Context, r *kgo.Record) error {
			err := work(ctx, r)
			if err == nil {
				done <- struct{}{}
			}
			return err
		}
	}}
	service, err := lesson12.New(cfg, outside, opts...)
	if err != nil {
		b.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- service.Run(ctx) }()
	for range benchCommands {
		<-done
	}
	cancel()
	if err := <-ended; err != nil {
		b.Fatal(err)
	}
}
