package nixcache

import (
	"fmt"
	"strings"

	"github.com/nix-community/go-nix/pkg/narinfo"
	"github.com/nix-community/go-nix/pkg/narinfo/signature"
	"github.com/nix-community/go-nix/pkg/nixbase32"
	"github.com/nix-community/go-nix/pkg/nixhash"
)

// fingerprint is what is signed of a store path. The one of go-nix knows only
// of /nix/store.
func (f *facts) fingerprint(storeDir string) string {
	references := make([]string, len(f.references))
	for i, reference := range f.references {
		references[i] = storeDir + "/" + reference
	}
	return fmt.Sprintf("1;%s/%s;sha256:%s;%d;%s",
		storeDir, f.base, f.narHash32(), f.narSize, strings.Join(references, ","))
}

func (f *facts) narHash32() string { return nixbase32.EncodeToString(f.narHash[:]) }

func (f *facts) hash() string { return f.base[:hashLength] }

// resource names the NAR.
func (f *facts) resource(zstd bool) resource {
	return resource{kind: kindNAR, hash: f.hash(), narHash: f.narHash32(), zstd: zstd}
}

// narinfo is the signed text for clients. FileHash and FileSize are left out
// for compressed NARs, which are made while they are sent; clients check
// NarHash.
func (f *facts) narinfo(storeDir string, zstd bool, key Key) ([]byte, error) {
	signed, err := key.secret.Sign(nil, f.fingerprint(storeDir))
	if err != nil {
		return nil, err
	}
	hash, err := nixhash.NewHashWithEncoding(nixhash.SHA256, f.narHash[:], nixhash.NixBase32, true)
	if err != nil {
		return nil, err
	}
	info := narinfo.NarInfo{
		StorePath:   storeDir + "/" + f.base,
		URL:         strings.TrimPrefix(f.resource(zstd).String(), "/"),
		Compression: CompressionNone,
		NarHash:     hash, NarSize: uint64(f.narSize),
		References: f.references, Deriver: f.deriver,
		Signatures: []signature.Signature{signed},
	}
	if zstd {
		info.Compression = CompressionZstd
	} else {
		info.FileHash, info.FileSize = hash, info.NarSize
	}
	return []byte(info.String()), nil
}
