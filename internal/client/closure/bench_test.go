package closure

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"github.com/nix-community/go-nix/pkg/narinfo/signature"
)

// manyFiles is a toplevel of 20 packages of 500 files, 16 kB each.
const manyFiles = `
let
  package = n: derivation {
    name = "package-${toString n}"; system = "x86_64-linux"; builder = "/bin/sh";
    args = [ "-euc" "PATH=/usr/bin:/bin; mkdir $out; cd $out; seq ${toString n}0000000 ${toString n}0910000 | split -a3 -b16000 -" ];
  };
in derivation {
  name = "nixos-system-many"; system = "x86_64-linux"; builder = "/bin/sh";
  all = builtins.genList (n: package (n + 1)) 20;
  args = [ "-euc" "PATH=/usr/bin:/bin; mkdir $out; cd $out; echo $all > packages; touch init" ];
}
`

// BenchmarkRun is what a machine does; -cpuprofile shows where its time goes.
func BenchmarkRun(b *testing.B) {
	store := newNixStore(b)
	file := filepath.Join(store.dir, "many.nix")
	if err := os.WriteFile(file, []byte(manyFiles), 0o600); err != nil {
		b.Fatal(err)
	}
	toplevel := store.run(b, "nix-build", "--no-out-link", file,
		"--option", "sandbox", "false", "--option", "build-users-group", "", "--option", "substitute", "false")
	secret, public := store.key(b, "lab-1")
	key, err := signature.ParsePublicKey(public)
	if err != nil {
		b.Fatal(err)
	}
	cache := filepath.Join(store.dir, "cache")
	for _, compression := range []string{"none", "zstd"} {
		b.Run(compression, func(b *testing.B) {
			if err := os.RemoveAll(cache); err != nil {
				b.Fatal(err)
			}
			store.copyTo(b, cache, toplevel, "secret-key="+secret+"&compression="+compression)
			server := httptest.NewServer(http.FileServer(http.Dir(cache)))
			defer server.Close()
			for b.Loop() {
				b.StopTimer()
				root, err := os.MkdirTemp(os.Getenv("RAVENBOOT_BENCH_DIR"), "root")
				if err != nil {
					b.Fatal(err)
				}
				b.StartTimer()
				c, err := New(Config{
					Cache: server.URL, Root: root, Toplevel: toplevel, Keys: []signature.PublicKey{key}, Say: func(string) {},
				})
				if err == nil {
					err = c.Run(b.Context())
				}
				if err != nil {
					b.Fatal(err)
				}
				b.SetBytes(c.Fetched())
				b.StopTimer()
				removeStore(b, root)
				b.StartTimer()
			}
		})
	}
}
