package wire

import (
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

func TestRecordsAreReadWhateverTheirCompression(t *testing.T) {
	for name, codec := range map[string]kgo.CompressionCodec{
		"none": kgo.NoCompression(), "gzip": kgo.GzipCompression(), "snappy": kgo.SnappyCompression(),
		"lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression(),
	} {
		inBubble(t, func(t *testing.T, n network) {
			topic := n.topic(t, 2)
			s := new(spy)
			cl := n.client(t, s, kgo.ProducerBatchCompression(codec), kgo.RecordPartitioner(kgo.ManualPartitioner()))
			sent := []*kgo.Record{
				{Topic: topic, Partition: 0, Key: []byte("k"), Value: make([]byte, 5000), Timestamp: time.UnixMilli(1000),
					Headers: []kgo.RecordHeader{{Key: "a", Value: []byte("1")}, {Key: "a", Value: nil}}},
				{Topic: topic, Partition: 0, Key: nil, Value: nil, Timestamp: time.UnixMilli(500)},
				{Topic: topic, Partition: 1, Key: []byte("z"), Value: []byte("v")},
			}
			require.NoError(t, cl.ProduceSync(t.Context(), sent...).FirstErr())
			got := map[int32][]*kgo.Record{}
			for _, f := range s.of(produce) {
				req := f.Request.(*kmsg.ProduceRequest)
				ps, err := Records(req)
				require.NoError(t, err, name)
				for _, p := range ps {
					require.True(t, p.Topic == topic || p.TopicID != [16]byte{})
					require.False(t, p.Transactional)
					got[p.Partition] = append(got[p.Partition], p.Records...)
				}
			}
			require.Len(t, got[0], 2, name)
			require.Len(t, got[1], 1, name)
			for i, want := range sent[:2] {
				r := got[0][i]
				require.Equal(t, want.Key, r.Key)
				require.Equal(t, want.Value, r.Value)
				require.Equal(t, want.Headers, r.Headers)
				require.Equal(t, want.Timestamp.UnixMilli(), r.Timestamp.UnixMilli())
				require.EqualValues(t, i, r.Offset)
			}
		})
	}
}

// A decoder that a finalizer closes outside its bubble would end the program here.
func TestNothingOfABubbleIsLeftToFinalizers(t *testing.T) {
	inBubble(t, func(t *testing.T, n network) {
		topic := n.topic(t, 1)
		cl := n.client(t, decoder{}, kgo.ConsumeTopics(topic), kgo.WithDecompressor(Decompressor()),
			kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.ProducerBatchCompression(kgo.ZstdCompression()))
		value := make([]byte, 5000)
		require.NoError(t, cl.ProduceSync(t.Context(), &kgo.Record{Topic: topic, Value: value}).FirstErr())
		require.Equal(t, value, poll(t, cl, 1)[0].Value)
	})
	for range 3 { // what a pool holds outlives one collection
		run := make(chan struct{})
		runtime.SetFinalizer(&[64]byte{}, func(*[64]byte) { close(run) })
		runtime.GC()
		<-run
	}
}

func produceRequest(records []byte) *kmsg.ProduceRequest {
	req := kmsg.NewPtrProduceRequest()
	p := kmsg.NewProduceRequestTopicPartition()
	p.Records = records
	t := kmsg.NewProduceRequestTopic()
	t.Topic, t.Partitions = "t", []kmsg.ProduceRequestTopicPartition{p}
	req.Topics = []kmsg.ProduceRequestTopic{t}
	return req
}

// batch is a batch of one record.
func batch(attributes int16) []byte {
	r := kmsg.NewRecord()
	r.Key, r.Value = []byte("k"), []byte("v")
	r.Length = int32(len(r.AppendTo(nil)) - 1)
	b := kmsg.RecordBatch{Magic: 2, Attributes: attributes, FirstTimestamp: 5, MaxTimestamp: 9, NumRecords: 1, Records: r.AppendTo(nil)}
	b.Length = int32(len(b.AppendTo(nil)) - 12)
	return b.AppendTo(nil)
}

func TestControlBatchesHoldNoRecords(t *testing.T) {
	ps, err := Records(produceRequest(append(batch(attrControl|attrTransactional), batch(attrTransactional)...)))
	require.NoError(t, err)
	require.Len(t, ps[0].Records, 1)
	require.True(t, ps[0].Transactional)
	require.Equal(t, "k", string(ps[0].Records[0].Key))
}

func TestATimeOfTheLogIsTheBatchs(t *testing.T) {
	ps, err := Records(produceRequest(batch(attrLogAppendTime)))
	require.NoError(t, err)
	require.EqualValues(t, 9, ps[0].Records[0].Timestamp.UnixMilli())
}

func TestBrokenRecordsAreAnErrorAndTheRestIsRead(t *testing.T) {
	good := batch(0)
	for name, raw := range map[string][]byte{
		"cut short": good[:len(good)-1], "old": append(good[:16:16], append([]byte{1}, good[17:]...)...), "noise": []byte("noise"),
	} {
		req := produceRequest(raw)
		req.Topics = append(req.Topics, produceRequest(good).Topics...)
		ps, err := Records(req)
		require.Error(t, err, name)
		require.Len(t, ps, 2)
		require.Empty(t, ps[0].Records, name)
		require.Len(t, ps[1].Records, 1, name)
	}
}
