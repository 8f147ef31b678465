package closure

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/nix-community/go-nix/pkg/narinfo/signature"

	"ravenboot/internal/narinfo"
)

const (
	someBase  = "00bgd045z0d4icpbc2yyz4gx48ak44la-some-1.0"
	otherBase = "7gx4kiv5m0i7d7qkixq2cwzbr10lvxwc-other"
	someHash  = "sha256:0lxjvvpr59c2mdram7ympy5ay741f180kv3349hvfc3f8nrmbqf6"
)

// signText adds a signature to a narinfo.
func signText(t testing.TB, s signer, text string) string {
	t.Helper()
	info, err := narinfo.Parse([]byte(text), "/nix/store", someBase)
	if err != nil {
		t.Fatal(err)
	}
	sig, err := s.secret.Sign(nil, info.Fingerprint("/nix/store"))
	if err != nil {
		t.Fatal(err)
	}
	return text + "Sig: " + sig.String() + "\n"
}

func TestParseNarinfoOfSeveralKeys(t *testing.T) {
	lab, other, namesake := newSigner(t, "lab-1"), newSigner(t, "other-1"), newSigner(t, "lab-1")
	plain := "StorePath: /nix/store/" + someBase + "\nURL: nar/x.nar\nCompression: none\nFileSize: 1\n" +
		"NarHash: " + someHash + "\nNarSize: 464152\nReferences: " + someBase + " " + otherBase + "\nDeriver: " + someBase + ".drv\n"
	signed := signText(t, lab, plain)
	keys := []signature.PublicKey{lab.public}
	for name, test := range map[string]struct {
		text  string
		keys  []signature.PublicKey
		check func(object) bool
		want  error
	}{
		"signed": {text: signed, check: func(o object) bool {
			return o.Base == someBase && o.fileSize == 464152 && len(o.References) == 2 && o.Deriver == someBase+".drv"
		}},
		"signed by others, too": {text: signText(t, other, signed), check: func(o object) bool {
			return len(o.Signatures) == 1 && strings.HasPrefix(o.Signatures[0], "lab-1:")
		}},
		"two trusted":                   {text: signText(t, other, signed), keys: []signature.PublicKey{other.public, lab.public}, check: func(o object) bool { return len(o.Signatures) == 2 }},
		"a namesake has signed, too":    {text: signText(t, lab, signText(t, namesake, plain)), check: func(o object) bool { return len(o.Signatures) == 1 }},
		"a signature of a form to come": {text: "Sig: what?\nSig: lab-1:AAAA\n" + signed, check: func(o object) bool { return len(o.Signatures) == 1 }},
		"references in disorder, one twice": {
			text: strings.Replace(signed, "References: "+someBase+" "+otherBase, "References: "+otherBase+" "+someBase+" "+otherBase, 1),
			check: func(o object) bool {
				return len(o.References) == 2 && o.References[0] == someBase
			}},
		"a content address":       {text: signed + "CA: fixed:r:" + someHash + "\n", check: func(o object) bool { return o.CA == "fixed:r:"+someHash }},
		"a flat content address":  {text: signed + "CA: fixed:md5:" + strings.Repeat("0", 32) + "\n", check: func(o object) bool { return o.CA != "" }},
		"a text":                  {text: signed + "CA: text:" + someHash + "\n", check: func(o object) bool { return o.CA != "" }},
		"no content address":      {text: signed + "CA: fixed:r:sha256:x\n", check: func(o object) bool { return o.CA == "" }},
		"no content address, md5": {text: signed + "CA: text:md5:" + strings.Repeat("0", 32) + "\n", check: func(o object) bool { return o.CA == "" }},
		"one of a newer Nix":      {text: signed + "CA: fixed:git:" + someHash + "\n", check: func(o object) bool { return o.CA == "" }},
		"unsigned":                {text: plain, want: ErrUntrusted},
		"a namesake":              {text: signText(t, namesake, plain), want: ErrUntrusted},
		"other":                   {text: signText(t, other, plain), want: ErrUntrusted},
		"one reference less":      {text: strings.Replace(signed, " "+otherBase, "", 1), want: ErrUntrusted},
		"another size":            {text: strings.Replace(signed, "464152", "464160", 1), want: ErrUntrusted},
	} {
		t.Run(name, func(t *testing.T) {
			if test.keys == nil {
				test.keys = keys
			}
			got, err := parseNarinfo([]byte(test.text), "/nix/store", someBase, test.keys)
			if !errors.Is(err, test.want) || err == nil && !test.check(got) {
				t.Errorf("%+v, %v", got, err)
			}
		})
	}
	if _, err := parseNarinfo([]byte(signed), "/nix/store", otherBase, keys); err == nil || !strings.Contains(err.Error(), "narinfo of") {
		t.Errorf("%v for another path than was asked for", err)
	}
	if _, err := parseNarinfo([]byte(signed), "/other/store", someBase, keys); err == nil {
		t.Error("a path of another store was taken")
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
		bad         bool
	}{
		"none":                     {"none", text, false},
		"xz as Nix":                {"xz", piped(t, text, "xz", "-6", "-c"), false},
		"xz, two streams":          {"xz", append(piped(t, text[:10], "xz", "-c"), piped(t, text[10:], "xz", "-c")...), false},
		"xz, a window of 64 MiB":   {"xz", piped(t, text, "xz", "-9", "-c"), true},
		"xz, cut":                  {"xz", piped(t, text, "xz", "-c")[:100], true},
		"zstd":                     {"zstd", piped(t, text, "zstd", "-19", "-c"), false},
		"zstd, two frames":         {"zstd", append(piped(t, text[:10], "zstd", "-c"), piped(t, text[10:], "zstd", "-c")...), false},
		"zstd, a window of 8 MiB":  {"zstd", windowed(t, text, 8<<20), false},
		"zstd, a window of 32 MiB": {"zstd", windowed(t, text, 32<<20), true},
		"zstd, cut":                {"zstd", piped(t, text, "zstd", "-c")[:20], true},
		"zstd, a bit altered":      {"zstd", flipped(piped(t, text, "zstd", "-c")), true},
		"gzip":                     {"gzip", piped(t, text, "gzip", "-c"), false},
		"gzip, none":               {"gzip", text, true},
		"bzip2":                    {"bzip2", piped(t, text, "bzip2", "-c"), false},
		"bzip2, none":              {"bzip2", text, true},
	} {
		t.Run(name, func(t *testing.T) {
			var got []byte
			r, done, err := decompress(bytes.NewReader(test.file), test.compression)
			if err == nil {
				got, err = io.ReadAll(r)
				done()
			}
			switch {
			case test.bad && !errors.Is(err, ErrAltered):
				t.Errorf("%v, want ErrAltered", err)
			case !test.bad && (err != nil || !bytes.Equal(got, text)):
				t.Errorf("%d bytes, %v", len(got), err)
			}
		})
	}
	if _, _, err := decompress(nil, "br"); err == nil || errors.Is(err, ErrAltered) || !strings.Contains(err.Error(), "none of none, zstd") {
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
			file := bomb(t, compression, 400<<20)
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
			if grown := after.TotalAlloc - before.TotalAlloc; grown > 64<<20 {
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
	if err == nil || !strings.Contains(err.Error(), "longer than 4194304 bytes") {
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
