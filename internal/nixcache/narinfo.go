package nixcache

import (
	"github.com/nix-community/go-nix/pkg/nixbase32"

	"ravenboot/internal/narinfo"
)

// fingerprint is what is signed of a store path.
func (f *facts) fingerprint(storeDir string) string {
	return narinfo.Fingerprint(storeDir+"/"+f.base, f.narHash, f.narSize, f.references)
}

func (f *facts) narHash32() string { return nixbase32.EncodeToString(f.narHash[:]) }

func (f *facts) hash() string { return f.base[:hashLength] }

// resource names the NAR that is made from the store.
func (f *facts) resource(zstd bool) resource {
	r := resource{kind: kindNAR, hash: f.hash(), content: f.narHash32()}
	if zstd {
		r.suffix = suffixes[CompressionZstd]
	}
	return r
}

// narinfo is the signed text for clients. FileHash and FileSize are left out
// for compressed NARs, which are made while they are sent; clients check
// NarHash.
func (f *facts) narinfo(storeDir string, zstd bool, key Key) ([]byte, error) {
	l := listing{facts: *f, compression: CompressionNone, fileHash: &f.narHash, fileSize: f.narSize}
	if zstd {
		l.compression, l.fileHash, l.fileSize = CompressionZstd, nil, 0
	}
	return l.forClients(storeDir, key)
}
