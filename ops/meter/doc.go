// Package meter fills in [ops.Stats] and [ops.Health] for any service that consumes from Kafka.
//
// Lesson 07 teaches how to write one; from lesson 08 on it is given. The service says what happens to its records, and
// the [Meter] answers for it:
//
//	m := meter.New(meter.Config{Group: "validation", Rules: []meter.Rule{meter.DefaultRule("handler_failures")}})
//	client, err := kgo.NewClient(append(m.Opts(),
//		kgo.ConsumerGroup("validation"),
//		kgo.OnPartitionsAssigned(func(_ context.Context, _ *kgo.Client, tps map[string][]int32) { m.Assigned(tps) }),
//		...)...)
//	m.Started()
//	for ... {
//		fetches := client.PollFetches(ctx)
//		m.Polled(fetches)
//		fetches.EachRecord(func(r *kgo.Record) {
//			m.Began(r)
//			...
//			m.Ended(r, meter.Processed)
//		})
//	}
//
// Where a record takes less than a microsecond, the calls for each of them are dear: [Series] says the same of many.
//
// A record is known by its topic, partition and offset, from Polled until it ended or its partition was revoked. What is
// said of any other is ignored, except that attempts are counted whenever they fail or are repeated.
package meter
