package closure

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/nix-community/go-nix/pkg/narinfo/signature"

	"ravenboot/internal/narinfo"
)

// A signature that nobody has checked, or an address that Nix can't read, would
// stay in the store's database for good.
func TestOnlyWhatIsCheckedIsKept(t *testing.T) {
	lab, others := newSigner(t, "lab-1"), newSigner(t, "others-1")
	info := thingInfo()
	info.Signatures = []string{others.sign(t, info), lab.sign(t, info)}
	const hash = "sha256:0lxjvvpr59c2mdram7ympy5ay741f180kv3349hvfc3f8nrmbqf6"
	for address, kept := range map[string]bool{
		"":                                     true,
		"fixed:r:" + hash:                      true,
		"fixed:" + hash:                        true,
		"text:" + hash:                         true,
		"fixed:md5:" + strings.Repeat("0", 32): true,
		"text:md5:" + strings.Repeat("0", 32):  false,
		"fixed:r:sha256:x":                     false,
		"fixed:r:r:" + hash:                    false,
		"fixed:git:" + hash:                    false, // of a newer Nix
		"fixed:":                               false,
		"fixed":                                false,
		"text:":                                false,
		hash:                                   false,
	} {
		info.CA = address
		p, err := parseNarinfo(info.Text("/nix/store"), "/nix/store", thing, []signature.PublicKey{lab.public})
		if err != nil {
			t.Fatal(err)
		}
		if (p.CA == address) != kept || !kept && p.CA != "" {
			t.Errorf("CA %q became %q", address, p.CA)
		}
		if !slices.Equal(p.Signatures, info.Signatures[1:]) {
			t.Errorf("the signatures are %q, want that of lab-1", p.Signatures)
		}
	}
	both, err := parseNarinfo(info.Text("/nix/store"), "/nix/store", thing, []signature.PublicKey{others.public, lab.public})
	if err != nil || len(both.Signatures) != 2 {
		t.Errorf("%q, %v, want both of whom the machine trusts", both.Signatures, err)
	}
}

// piped is what a program makes of its input.
func piped(t *testing.T, input []byte, argv ...string) []byte {
	t.Helper()
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Stdin = bytes.NewReader(input)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v (apt-get install %s, if it is missing)", strings.Join(argv, " "), err, argv[0])
	}
	return out
}

func TestDecompress(t *testing.T) {
	text := bytes.Repeat([]byte("some text "), 100_000)
	for name, test := range map[string]struct {
		compression string
		file        []byte
		bad         error
	}{
		"none":                     {"none", text, nil},
		"xz as Nix":                {"xz", piped(t, text, "xz", "-6", "-c"), nil},
		"xz, two streams":          {"xz", append(piped(t, text[:10], "xz", "-c"), piped(t, text[10:], "xz", "-c")...), nil},
		"xz, a window of 64 MiB":   {"xz", piped(t, text, "xz", "-9", "-c"), errWindow},
		"xz, cut":                  {"xz", piped(t, text, "xz", "-c")[:100], ErrAltered},
		"zstd":                     {"zstd", piped(t, text, "zstd", "-19", "-c"), nil},
		"zstd, two frames":         {"zstd", append(piped(t, text[:10], "zstd", "-c"), piped(t, text[10:], "zstd", "-c")...), nil},
		"zstd, a window of 8 MiB":  {"zstd", windowed(t, text, 8<<20), nil},
		"zstd, a window of 32 MiB": {"zstd", windowed(t, text, 32<<20), errWindow},
		"zstd, cut":                {"zstd", piped(t, text, "zstd", "-c")[:20], ErrAltered},
		"zstd, a bit altered":      {"zstd", flipped(piped(t, text, "zstd", "-c")), ErrAltered},
		"gzip":                     {"gzip", piped(t, text, "gzip", "-c"), nil},
		"gzip, none":               {"gzip", text, ErrAltered},
		"bzip2":                    {"bzip2", piped(t, text, "bzip2", "-c"), nil},
		"bzip2, none":              {"bzip2", text, ErrAltered},
	} {
		t.Run(name, func(t *testing.T) {
			var got []byte
			r, done, err := decompress(bytes.NewReader(test.file), test.compression)
			if err == nil {
				got, err = io.ReadAll(r)
				done()
			}
			switch {
			case !errors.Is(err, test.bad):
				t.Errorf("%v, want %v", err, test.bad)
			case test.bad == nil && !bytes.Equal(got, text):
				t.Errorf("%d bytes", len(got))
			}
		})
	}
	_, _, err := decompress(nil, "br")
	if err == nil || errors.Is(err, ErrAltered) || !strings.Contains(err.Error(), "none of none, zstd") {
		t.Errorf("%v for a compression that isn't known", err)
	}
}

// windowed compresses without saying how long the text is.
func windowed(t *testing.T, text []byte, window int) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := zstd.NewWriter(&b, zstd.WithWindowSize(window))
	if err != nil {
		t.Fatal(err)
	}
	for len(text) > 0 {
		n := min(len(text), 100_000)
		if _, err := w.Write(text[:n]); err != nil {
			t.Fatal(err)
		}
		text = text[n:]
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func flipped(file []byte) []byte {
	file[len(file)-10] ^= 1
	return file
}

// zeros is endless.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// bomb is a file of an archive that would hold so many bytes of zeros.
func bomb(t *testing.T, compression string, size int64) []byte {
	t.Helper()
	var head []byte
	for _, word := range []string{"nix-archive-1", "(", "type", "regular", "contents"} {
		head = binary.LittleEndian.AppendUint64(head, uint64(len(word)))
		head = append(append(head, word...), make([]byte, -len(word)&7)...)
	}
	head = binary.LittleEndian.AppendUint64(head, uint64(size))
	cmd := exec.Command(compression, "-1", "-c")
	cmd.Stdin = io.MultiReader(bytes.NewReader(head), io.LimitReader(zeros{}, size))
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v", compression, err)
	}
	return out
}

// What a small file unpacks to is bounded by what was signed, on the disk and in
// memory.
func TestBombIsBounded(t *testing.T) {
	for _, compression := range []string{"zstd", "xz", "gzip", "bzip2"} {
		t.Run(compression, func(t *testing.T) {
			b := newBench(t)
			toplevel := b.publish(t, "one", 1, 10, "compression="+compression)
			file := bomb(t, compression, 64<<20)
			// A narinfo's FileSize isn't signed either.
			editNarinfos(t, b, func(line string) bool { return !strings.HasPrefix(line, "FileSize:") })
			b.hook(func(w http.ResponseWriter, r *http.Request) http.ResponseWriter {
				if isNAR(r) {
					_, _ = w.Write(file)
					return nil
				}
				return w
			})
			c := b.closureOf(t, toplevel)
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			err := c.Run(t.Context())
			runtime.ReadMemStats(&after)
			if !errors.Is(err, ErrAltered) {
				t.Errorf("%v, want ErrAltered", err)
			}
			if grown := after.TotalAlloc - before.TotalAlloc; grown > 40<<20 {
				t.Errorf("%d MiB were taken in all", grown>>20)
			}
			if left, total := c.Fetched(), c.Progress().BytesTotal; left > total+2 {
				t.Errorf("%d bytes were unpacked of %d that were signed", left, total)
			}
			if placed, _ := filepath.Glob(filepath.Join(b.root, b.store.dir, "store", "*")); len(placed) > 0 {
				t.Errorf("%q is in the store", placed)
			}
		})
	}
}

func TestLongNarinfoIsRefused(t *testing.T) {
	b := newBench(t)
	toplevel := b.publish(t, "one", 1, 10, "compression=none")
	b.hook(func(w http.ResponseWriter, _ *http.Request) http.ResponseWriter {
		_, _ = io.Copy(w, io.LimitReader(zeros{}, 1<<30))
		return nil
	})
	err := b.closureOf(t, toplevel).Run(t.Context())
	if err == nil || !strings.Contains(err.Error(), fmt.Sprintf("longer than %d bytes", narinfo.MaxText)) {
		t.Error(err)
	}
}

func TestURLOfAFile(t *testing.T) {
	c, err := newCache("http://192.0.2.1/cache", 1, func(string) {})
	if err != nil {
		t.Fatal(err)
	}
	for _, relative := range []string{"file:///etc/passwd", "gopher://x/", "\x00", "http://[::1"} {
		if _, err := c.get(t.Context(), relative, 0, ""); err == nil || passing(err) {
			t.Errorf("%q: %v, want an error that stays", relative, err)
		}
	}
}

func TestNixEngineWithoutNix(t *testing.T) {
	b := newBench(t)
	toplevel := b.publish(t, "one", 1, 10, "compression=none")
	t.Setenv("PATH", t.TempDir())
	err := b.closureOf(t, toplevel).RunNix(t.Context(), os.Stderr)
	if err == nil || !strings.Contains(err.Error(), "put Nix into the initrd, or use the engine native") {
		t.Error(err)
	}
}
