package closure

import (
	"compress/bzip2"
	"compress/gzip"
	"fmt"
	"io"
	"sync"

	"github.com/klauspost/compress/zstd"
	"github.com/therootcompany/xz"
)

// maxWindow bounds the memory that a compressed file may ask for, in bytes: zstd
// needs 8 MiB at its highest ordinary level, and so does xz at the one that Nix
// takes.
const maxWindow = 16 << 20

// decompress reads what a file of a cache holds. The function that it returns
// must be called when the reader isn't needed any more.
func decompress(r io.Reader, compression string) (io.Reader, func(), error) {
	nothing := func() {}
	switch compression {
	case "none":
		return r, nothing, nil
	case "zstd":
		return unzstd(r)
	case "xz":
		decoder, err := xz.NewReader(r, maxWindow)
		return decoder, nothing, err
	case "gzip":
		decoder, err := gzip.NewReader(r)
		return decoder, nothing, err
	case "bzip2":
		return bzip2.NewReader(r), nothing, nil
	}
	return nil, nil, fmt.Errorf("compression %.30q is none of none, zstd, xz, gzip, bzip2; "+
		"make the cache anew with one of them, or use the engine nix", compression)
}

var decoders = sync.Pool{New: func() any {
	decoder, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
		zstd.WithDecoderMaxWindow(maxWindow))
	if err != nil {
		panic(err) // the options are wrong, which any test shows
	}
	return decoder
}}

func unzstd(r io.Reader) (io.Reader, func(), error) {
	decoder := decoders.Get().(*zstd.Decoder)
	back := func() {
		// nil lets go of the former reader; its error is for the next Reset.
		_ = decoder.Reset(nil)
		decoders.Put(decoder)
	}
	if err := decoder.Reset(r); err != nil {
		back()
		return nil, nil, err
	}
	return decoder, back, nil
}
