package nixcache

import (
	"compress/bzip2"
	"compress/gzip"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"
	"github.com/therootcompany/xz"

	"ravenboot/internal/narinfo"
)

// maxDictionary is how much memory, in bytes, a file may make its reader take:
// what xz -9 and zstd --ultra -20 need.
const maxDictionary = 64 << 20

// unpackers read the compressions that are checked to their contents. Of the
// others a narinfo must have the file's hash.
var unpackers = map[string]func(io.Reader) (io.Reader, func(), error){
	CompressionNone: func(r io.Reader) (io.Reader, func(), error) { return r, func() {}, nil },
	CompressionZstd: func(r io.Reader) (io.Reader, func(), error) {
		d, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxDictionary))
		if err != nil {
			return nil, nil, err
		}
		return d, d.Close, nil
	},
	"xz": func(r io.Reader) (io.Reader, func(), error) {
		d, err := xz.NewReader(r, maxDictionary)
		return d, func() {}, err
	},
	"gzip": func(r io.Reader) (io.Reader, func(), error) {
		d, err := gzip.NewReader(r)
		return d, func() {}, err
	},
	"bzip2": func(r io.Reader) (io.Reader, func(), error) { return bzip2.NewReader(r), func() {}, nil },
}

// checkable says whether a NAR can be told from another by what its listing says.
func (l *listing) checkable() error {
	if unpackers[l.Compression] == nil && l.FileHash == nil {
		return fmt.Errorf("with compression %s a narinfo must have a FileHash", l.Compression)
	}
	return nil
}

// verify reads a NAR's file to its end, and compares it with the hashes of its
// listing. Only the NAR's is signed; the file's is for compressions that can't be
// read here.
func (l *listing) verify(file io.Reader) error {
	sum := sha256.New()
	both := io.TeeReader(file, sum)
	if unpack := unpackers[l.Compression]; unpack != nil {
		if err := l.verifyNAR(both, unpack); err != nil {
			return err
		}
	}
	if _, err := io.Copy(io.Discard, both); err != nil {
		return err
	}
	if got := [32]byte(sum.Sum(nil)); l.FileHash != nil && got != *l.FileHash {
		return fmt.Errorf("%w: the file's hash is %s, the narinfo says %s",
			errMismatch, narinfo.FormatHash(got), narinfo.FormatHash(*l.FileHash))
	}
	return nil
}

var errMismatch = errors.New("not what was promised")

func (l *listing) verifyNAR(file io.Reader, unpack func(io.Reader) (io.Reader, func(), error)) error {
	source := &faultNoting{from: file}
	nar, done, err := unpack(source)
	if err == nil {
		defer done()
		sum := sha256.New()
		var size int64
		// One byte more tells that there is more: a bomb is not unpacked.
		if size, err = io.Copy(sum, io.LimitReader(nar, l.NarSize+1)); err == nil {
			if got := [32]byte(sum.Sum(nil)); size != l.NarSize || got != l.NarHash {
				return fmt.Errorf("%w: the NAR's hash is %s, the signed narinfo says %s of %d bytes",
					errMismatch, narinfo.FormatHash(got), narinfo.FormatHash(l.NarHash), l.NarSize)
			}
			return nil
		}
	}
	if source.fault != nil {
		return source.fault // the file ended early, which is no fault of its content
	}
	return fmt.Errorf("%w: it can't be unpacked as %s: %w", errMismatch, l.Compression, err)
}

// faultNoting tells what went wrong beneath an unpacker.
type faultNoting struct {
	from  io.Reader
	fault error
}

func (r *faultNoting) Read(p []byte) (int, error) {
	n, err := r.from.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		r.fault = err
	}
	return n, err
}
