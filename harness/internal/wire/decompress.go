package wire

import (
	"github.com/klauspost/compress/zstd"
	"github.com/twmb/franz-go/pkg/kgo"
)

// Decompressor is kgo's own, made fit for a testing/synctest bubble: give it to every client there by
// kgo.WithDecompressor. kgo closes its zstd decoders in finalizers; these run outside the bubble, and closing a
// bubble's channel there ends the program ("close of synctest channel from outside bubble"), tests later.
func Decompressor() kgo.Decompressor { return decompressor{kgo.DefaultDecompressor()} }

type decompressor struct{ kgo.Decompressor }

func (d decompressor) Decompress(src []byte, codec kgo.CompressionCodecType) ([]byte, error) {
	if codec != kgo.CodecZstd {
		return d.Decompressor.Decompress(src, codec)
	}
	dec, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true))
	if err != nil {
		return nil, err
	}
	defer dec.Close()
	return dec.DecodeAll(src, nil)
}
