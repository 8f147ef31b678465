package closure

import (
	"compress/bzip2"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/klauspost/compress/zstd"
	"github.com/therootcompany/xz"

	"ravenboot/internal/client"
)

// The most memory that a compressed file may ask for, in bytes. zstd takes 8 MiB
// at its highest ordinary level, and xz at the one that Nix takes; xz -7 takes
// 16 MiB.
const (
	maxZstdWindow = 8 << 20
	maxXZWindow   = 16 << 20
)

// maxWindows is how much memory all files may take that are unpacked at a time.
// Beyond that, others wait: unpacking these formats takes the processor's time,
// not the network's.
const maxWindows = 48 << 20

// windowOf is the memory that a file may ask for, in bytes; it is not known
// before the file comes.
func windowOf(compression string) int64 {
	switch compression {
	case "xz":
		return maxXZWindow
	case "zstd":
		return maxZstdWindow
	}
	return 0
}

// decompress reads what a file of a cache holds. The function that it returns
// must be called when the reader isn't needed any more.
func decompress(r io.Reader, compression string) (io.Reader, func(), error) {
	decoder, done, err := newDecoder(r, compression)
	if err != nil {
		return nil, nil, err
	}
	return &decoding{decoder, compression}, done, nil
}

// decoding marks what is wrong with a compressed file.
type decoding struct {
	io.Reader
	compression string
}

// Read is io.Reader's.
func (d *decoding) Read(p []byte) (int, error) {
	n, err := d.Reader.Read(p)
	if err != nil && !errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		err = damaged(d.compression, err)
	}
	return n, err
}

// errWindow is in the error of a file that takes too much memory to unpack.
var errWindow = errors.New("it takes more memory to unpack than an initrd may have left; " +
	"make the cache anew with a lower level, or use the engine nix")

// damaged says what is wrong with a compressed file.
func damaged(compression string, err error) error {
	if errors.Is(err, zstd.ErrWindowSizeExceeded) || errors.Is(err, xz.ErrMemlimit) {
		return fmt.Errorf("%s of at most %s: %w", compression, client.Bytes(windowOf(compression)), errWindow)
	}
	return fmt.Errorf("%w: %s: %w", ErrAltered, compression, err)
}

func newDecoder(r io.Reader, compression string) (decoder io.Reader, done func(), err error) {
	done = func() {}
	switch compression {
	case "none":
		return r, done, nil
	case "zstd":
		return unzstd(r)
	case "xz":
		decoder, err = xz.NewReader(r, maxXZWindow)
	case "gzip":
		decoder, err = gzip.NewReader(r)
	case "bzip2":
		decoder = bzip2.NewReader(r)
	default:
		return nil, nil, unknownCompression(compression)
	}
	if err != nil {
		return nil, nil, damaged(compression, err)
	}
	return decoder, done, nil
}

func unknownCompression(compression string) error {
	return fmt.Errorf("compression %.30q is none of none, zstd, xz, gzip, bzip2; "+
		"make the cache anew with one of them, or use the engine nix", compression)
}

var decoders = sync.Pool{New: func() any {
	decoder, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
		zstd.WithDecoderMaxWindow(maxZstdWindow))
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
