package closure

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"github.com/nix-community/go-nix/pkg/narinfo/signature"

	"ravenboot/internal/batch"
)

// benchSystems are toplevels of 20 packages of 500 files, 16 kB each, and of
// 2,000 paths of a few bytes.
var benchSystems = []struct{ name, expression string }{
	{"files", `
let
  package = n: derivation {
    name = "package-${toString n}"; system = "x86_64-linux"; builder = "/bin/sh";
    args = [ "-euc" "PATH=/usr/bin:/bin; mkdir $out; cd $out; seq ${toString n}0000000 ${toString n}0910000 | split -a3 -b16000 -" ];
  };
in derivation {
  name = "nixos-system-files"; system = "x86_64-linux"; builder = "/bin/sh";
  all = builtins.genList (n: package (n + 1)) 20;
  args = [ "-euc" "PATH=/usr/bin:/bin; mkdir $out; cd $out; echo $all > packages; touch init" ];
}
`},
	{"paths", `
derivation {
  name = "nixos-system-paths"; system = "x86_64-linux"; builder = "/bin/sh";
  passAsFile = [ "all" ]; all = builtins.genList (n: builtins.toFile "text-${toString n}" "text ${toString n}") 2000;
  args = [ "-euc" "PATH=/usr/bin:/bin; mkdir $out; cd $out; cp $allPath paths; touch init" ];
}
`},
}

// BenchmarkRun is what a machine does, with a cache of files and with one that
// answers for many at a time; -cpuprofile shows where its time goes.
// With RAVENBOOT_BENCH_DIR the machine's store is there and not in /tmp.
func BenchmarkRun(b *testing.B) {
	for _, system := range benchSystems {
		b.Run(system.name, func(b *testing.B) { benchmarkRun(b, system.expression, files) })
		b.Run(system.name+" in batches", func(b *testing.B) { benchmarkRun(b, system.expression, inBatches) })
	}
}

func files(dir string) http.Handler { return http.FileServer(http.Dir(dir)) }

func inBatches(dir string) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/", files(dir))
	mux.HandleFunc("/"+batch.Path, func(w http.ResponseWriter, r *http.Request) {
		names, err := batch.ReadQuestion(r.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		w.Header().Set("Content-Type", batch.ContentType)
		var answer []byte
		for _, name := range names {
			if file, err := os.ReadFile(filepath.Join(dir, name)); err == nil && len(file) <= batch.MaxFile {
				answer = batch.AppendFile(answer, file)
			} else {
				answer = batch.AppendNone(answer)
			}
		}
		_, _ = w.Write(answer)
	})
	return mux
}

func benchmarkRun(b *testing.B, expression string, serve func(dir string) http.Handler) {
	store := newNixStore(b)
	file := filepath.Join(store.dir, "bench.nix")
	if err := os.WriteFile(file, []byte(expression), 0o600); err != nil {
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
	store.copyTo(b, cache, toplevel, "secret-key="+secret+"&compression=none")
	server := httptest.NewServer(serve(cache))
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
}
