package lesson10_test

import (
	"context"
	"encoding/json"
	"fmt"
	"runtime"
	"slices"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/kafka-katas/kafka-katas/internal/against"
	lesson10 "github.com/kafka-katas/kafka-katas/solutions/lesson10"
)

const benchRecords = 100_000

// BenchmarkAgainstRaw states the price of the stages: the same records from the same kind of in-process cluster over
// loopback TCP, in turn through
//
//   - raw: a bare loop that polls, produces a copy of the bytes, waits for the acknowledgements and commits each second;
//     it polls as many records at once as the pipeline, and spreads them over the same topics, so that batches are alike;
//   - plain: the same loop, which normalises nothing but decodes and encodes each value by encoding/json;
//   - the pipeline, with normalising, two filters, a reference table, two routes and a default.
//
// It reports medians; "of-raw" and "of-plain" are the pipeline's throughput as a part of theirs.
//
//	go test -run - -bench AgainstRaw -benchtime 9x ./solutions/lesson10
func BenchmarkAgainstRaw(b *testing.B) {
	for _, partitions := range []int{1, 8} {
		for _, size := range []int{100, 1000} {
			b.Run(fmt.Sprintf("%dB/%d", size, partitions), func(b *testing.B) {
				var raw, plain, pipeline sample
				for b.Loop() {
					raw.take(b, size, partitions, func(opts []kgo.Opt) { copyRaw(b, opts, slices.Clone[[]byte]) })
					plain.take(b, size, partitions, func(opts []kgo.Opt) { copyRaw(b, opts, recode) })
					pipeline.take(b, size, partitions, func(opts []kgo.Opt) { transform(b, opts) })
				}
				b.ReportMetric(0, "ns/op")
				if pipeline.cpu() > 0 { // where it can be measured
					b.ReportMetric(raw.cpu()/pipeline.cpu(), "of-raw-cpu")
					b.ReportMetric(raw.cpu(), "raw-cpu-ns/record")
					b.ReportMetric(pipeline.cpu(), "pipeline-cpu-ns/record")
				}
				b.ReportMetric(raw.time(), "raw-ns/record")
				b.ReportMetric(plain.time(), "plain-ns/record")
				b.ReportMetric(pipeline.time(), "pipeline-ns/record")
				b.ReportMetric(raw.time()/pipeline.time(), "of-raw")
				b.ReportMetric(plain.time()/pipeline.time(), "of-plain")
			})
		}
	}
}

// BenchmarkNormalise is the most of what the stages cost.
func BenchmarkNormalise(b *testing.B) {
	for _, size := range []int{100, 1000} {
		b.Run(fmt.Sprintf("%dB", size), func(b *testing.B) {
			value := event(7, size)
			b.SetBytes(int64(len(value)))
			b.ReportAllocs()
			for b.Loop() {
				e, err := lesson10.Normalise(value)
				if err != nil {
					b.Fatal(err)
				}
				_ = e.Encode()
			}
		})
	}
}

// event is an event of about that many bytes: a login of 100, or an order of 1,000.
func event(i, size int) []byte {
	if size < 500 {
		return fmt.Appendf(nil, `{"id":"e-%06d","type":"login","customer":"c-%03d","at":"2026-03-29T03:30:00Z","channel":"web"}`, i, i%1000)
	}
	return fmt.Appendf(nil, `{"id":"e-%06d","type":"order.placed","customer":"c-%03d","name":"Ada Lovelace","email":"ada@example.com","country":"AT",`+
		`"at":"2026-03-29T03:30:00Z","amount":"112.50","currency":"EUR","items":[{"sku":"kettle-1.7l-steel","quantity":1,"price":"49.90","gift":false},`+
		`{"sku":"tea-assam-500g","quantity":2,"price":"18.40","gift":false},{"sku":"cup-porcelain-white","quantity":4,"price":"6.45","gift":true}],`+
		`"channel":"web","session":"0f8e4c1a-77d2-4b51-9a53-3f5f1c0f2f6e","user_agent":"Mozilla/5.0 (X11; Linux x86_64; rv:142.0) Gecko/20100101 Firefox/142.0",`+
		`"referrer":"https://www.example.com/search?q=kettle+steel+small","address":{"street":"Hauptstrasse 17","zip":"1010","city":"Vienna"},`+
		`"note":"Please leave the parcel with the neighbour on the second floor if nobody opens. The bell at the front door does not work at the moment; knock, or call the number that you have. The cups are a present, so please no invoice inside of the parcel, and thank you."}`, i, i%1000)
}

var topics = []string{"customer-events-audit", "customer-events-dlt", "customer-events-gold", "customer-events-business", "customer-events-other"}

// filled is a cluster with the records, spread over the partitions, and a table with every customer.
func filled(b *testing.B, size, partitions int) (*kfake.Cluster, []kgo.Opt) {
	b.Helper()
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(int32(partitions), append(topics, "customer-events-raw")...), kfake.SeedTopics(1, "segments"))
	if err != nil {
		b.Fatal(err)
	}
	opts := []kgo.Opt{kgo.SeedBrokers(cluster.ListenAddrs()...), kgo.DisableClientMetrics(), kgo.ProducerBatchCompression(kgo.NoCompression())}
	client, err := kgo.NewClient(append(opts, kgo.RecordPartitioner(kgo.ManualPartitioner()))...)
	if err != nil {
		b.Fatal(err)
	}
	defer client.Close()
	produce := func(r *kgo.Record) {
		client.Produce(context.Background(), r, func(_ *kgo.Record, err error) {
			if err != nil {
				b.Error(err)
			}
		})
	}
	for i := range 1000 {
		segment := "silver"
		if gold(i) {
			segment = "gold"
		}
		produce(&kgo.Record{Topic: "segments", Key: fmt.Appendf(nil, "c-%03d", i), Value: []byte(segment)})
	}
	for i := range benchRecords {
		produce(&kgo.Record{Topic: "customer-events-raw", Partition: int32(i % partitions), Key: fmt.Appendf(nil, "c-%03d", i%1000), Value: event(i, size)})
	}
	if err := client.Flush(context.Background()); err != nil {
		b.Fatal(err)
	}
	return cluster, opts
}

// gold says which customers are.
func gold(customer int) bool { return customer%4 == 0 }

// copyRaw copies everything with a bare loop.
func copyRaw(b *testing.B, opts []kgo.Opt, convert func([]byte) []byte) {
	client, err := kgo.NewClient(append(opts, kgo.ConsumerGroup("raw"), kgo.ConsumeTopics("customer-events-raw"),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.DisableAutoCommit(), kgo.ProducerLinger(0))...)
	if err != nil {
		b.Fatal(err)
	}
	defer client.Close()
	ctx := context.Background()
	committed := time.Now()
	for n := 0; n < benchRecords; {
		records := client.PollRecords(ctx, lesson10.DefaultConfig().MaxBatch).Records()
		n += len(records)
		for _, r := range records {
			topic := "customer-events-other"
			if customer, _ := strconv.Atoi(string(r.Key[2:])); gold(customer) {
				topic = "customer-events-gold"
			}
			client.Produce(ctx, &kgo.Record{Topic: topic, Key: r.Key, Value: convert(r.Value), Headers: r.Headers, Timestamp: r.Timestamp}, func(_ *kgo.Record, err error) {
				if err != nil {
					b.Error(err)
				}
			})
		}
		if err := client.Flush(ctx); err != nil {
			b.Fatal(err)
		}
		if time.Since(committed) > time.Second || n == benchRecords {
			committed = time.Now()
			if err := client.CommitUncommittedOffsets(ctx); err != nil {
				b.Fatal(err)
			}
		}
	}
}

// recode decodes and encodes a value as nobody has thought about it much.
func recode(value []byte) []byte {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(value, &members); err != nil {
		panic(err)
	}
	out, err := json.Marshal(members)
	if err != nil {
		panic(err)
	}
	return out
}

// transform takes everything through the pipeline.
func transform(b *testing.B, opts []kgo.Opt) {
	cfg := lesson10.DefaultConfig()
	cfg.Reference = "segments"
	ctx, done := context.WithCancel(context.Background())
	var written atomic.Int64
	p, err := lesson10.New(cfg, lesson10.ShopRules(), nil, append(opts, kgo.WithHooks(&acknowledged{&written, done}))...)
	if err != nil {
		b.Fatal(err)
	}
	if err := p.Run(ctx); err != nil {
		b.Fatal(err)
	}
	if s := p.Stats().Totals; s.Processed != benchRecords {
		b.Fatalf("%+v", s)
	}
}

// acknowledged calls done when everything is acknowledged.
type acknowledged struct {
	n    *atomic.Int64
	done func()
}

func (a *acknowledged) OnProduceRecordUnbuffered(_ *kgo.Record, err error) {
	if err == nil && a.n.Add(1) == benchRecords {
		a.done()
	}
}

// sample is what a run took, time and again: on the clock, and of the processor by this process, which is what a busy
// machine tells most truly.
type sample struct{ took, worked []float64 }

// take measures f on a cluster that nothing else was written to.
func (s *sample) take(b *testing.B, size, partitions int, f func(opts []kgo.Opt)) {
	cluster, opts := filled(b, size, partitions)
	defer cluster.Close()
	runtime.GC()
	start, before := time.Now(), against.ProcessorTime()
	f(opts)
	s.took = append(s.took, float64(time.Since(start)))
	s.worked = append(s.worked, float64(against.ProcessorTime()-before))
}

func (s *sample) time() float64 { return median(s.took) / benchRecords }
func (s *sample) cpu() float64  { return median(s.worked) / benchRecords }

func median(xs []float64) float64 {
	xs = slices.Sorted(slices.Values(xs))
	return xs[len(xs)/2]
}
