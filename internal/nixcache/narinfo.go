package nixcache

import (
	"github.com/nix-community/go-nix/pkg/nixbase32"

	"ravenboot/internal/narinfo"
)

// resource names the NAR that is made from the store.
func (o *object) resource(zstd bool) resource {
	r := resource{kind: kindNAR, hash: o.Hash(), content: nixbase32.EncodeToString(o.NarHash[:])}
	if zstd {
		r.suffix = suffixes[CompressionZstd]
	}
	return r
}

// made is the signed text for clients of a NAR that is made from the store.
// FileHash and FileSize are left out for compressed NARs, which are made while
// they are sent; clients check NarHash.
func made(f *narinfo.Facts, storeDir string, zstd bool, key Key) ([]byte, error) {
	l := listing{narinfo.Info{Facts: *f, Compression: CompressionNone, FileHash: &f.NarHash, FileSize: f.NarSize}}
	if zstd {
		l.Compression, l.FileHash, l.FileSize = CompressionZstd, nil, 0
	}
	return l.forClients(storeDir, key)
}
