package nixcache

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"

	"ravenboot/internal/nar/nartest"
	"ravenboot/internal/narinfo"
)

func TestParseResource(t *testing.T) {
	hash, narHash := nartest.Base[:hashLength], strings.Repeat("1", narHashLength-1)+"0"
	for path, want := range map[string]resource{
		"/nix-cache-info":                           {kind: kindCacheInfo},
		"/" + hash + ".narinfo":                     {kind: kindNarinfo, hash: hash},
		"/nar/" + hash + "-" + narHash + ".nar":     {kind: kindNAR, hash: hash, content: narHash},
		"/nar/" + hash + "-" + narHash + ".nar.zst": {kind: kindNAR, hash: hash, content: narHash, suffix: ".zst"},
		"/nar/" + hash + "-" + narHash + ".nar.xz":  {kind: kindNAR, hash: hash, content: narHash, suffix: ".xz"},
		"":                                       {},
		"/":                                      {},
		"nix-cache-info":                         {},
		"//nix-cache-info":                       {},
		"/nix-cache-info/":                       {},
		"/" + hash:                               {},
		"/" + hash + ".ls":                       {},
		"/" + hash[1:] + ".narinfo":              {},
		"/" + hash + "0.narinfo":                 {},
		"/" + strings.ToUpper(hash) + ".narinfo": {},
		"/e" + hash[1:] + ".narinfo":             {}, // not in Nix's alphabet
		"/log/" + nartest.Base:                   {},
		"/nar/" + hash + ".nar":                  {},
		"/nar/" + hash + "-" + narHash + ".nar.rar":  {},
		"/nar/" + hash + "-" + narHash:               {},
		"/nar/" + hash + "-" + narHash + ".zst":      {},
		"/nar/" + hash + "-" + narHash + ".nar.zst/": {},
		"/nar/" + hash + "-" + narHash + "-.nar":     {},
		"/nar/../" + hash + ".narinfo":               {},
		"/nar/" + hash + "-" + narHash + ".nar\x00":  {},
	} {
		got, err := parseResource(path)
		if got != want || (err == nil) != (want != resource{}) {
			t.Errorf("%q: %+v, %v", path, got, err)
		}
	}
}

func FuzzParseResource(f *testing.F) {
	f.Add("/nix-cache-info")
	f.Add("/" + nartest.Base[:hashLength] + ".narinfo")
	f.Add("/nar/" + nartest.Base[:hashLength] + "-" + strings.Repeat("0", narHashLength) + ".nar.zst")
	f.Fuzz(func(t *testing.T, path string) {
		if r, err := parseResource(path); err == nil && r.String() != path {
			t.Errorf("%q was read as %q", path, r)
		}
	})
}

const registration = `/nix/store/00bgd045z0d4icpbc2yyz4gx48ak44la-thing-1.0
0102030000000000000000000000000000000000000000000000000000000000
1234
/nix/store/10bgd045z0d4icpbc2yyz4gx48ak44la-thing-1.0.drv
2
/nix/store/20bgd045z0d4icpbc2yyz4gx48ak44la-z
/nix/store/00bgd045z0d4icpbc2yyz4gx48ak44la-thing-1.0
/nix/store/20bgd045z0d4icpbc2yyz4gx48ak44la-z
0000000000000000000000000000000000000000000000000000000000000000
120

0
`

func TestParseRegistration(t *testing.T) {
	got, err := parseRegistration(strings.NewReader(registration), "/nix/store")
	want := []narinfo.Facts{
		{
			Base: nartest.Base, NarHash: [32]byte{1, 2, 3}, NarSize: 1234, Deriver: "10bgd045z0d4icpbc2yyz4gx48ak44la-thing-1.0.drv",
			References: []string{nartest.Base, "20bgd045z0d4icpbc2yyz4gx48ak44la-z"},
		},
		{Base: "20bgd045z0d4icpbc2yyz4gx48ak44la-z", NarSize: 120},
	}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, %v", got, err)
	}
	for name, text := range map[string]string{
		"cut short":        registration[:len(registration)-2],
		"another store":    strings.Replace(registration, "/nix/store/20", "/gnu/store/20", 1),
		"a path below":     strings.Replace(registration, "44la-z\n", "44la-z/bin\n", 1),
		"a parent":         strings.Replace(registration, "44la-z\n", "44la-..\n/..", 1),
		"no name":          strings.Replace(registration, "44la-z\n", "44la-\n", 1),
		"a long name":      strings.Replace(registration, "44la-z\n", "44la-"+strings.Repeat("z", 212)+"\n", 1),
		"another hash":     strings.Replace(registration, "0102030000", "010203", 1),
		"no hash":          strings.Replace(registration, "010203", "md5:01", 1),
		"no size":          strings.Replace(registration, "1234", "0", 1),
		"a negative size":  strings.Replace(registration, "1234", "-1", 1),
		"a huge size":      strings.Replace(registration, "1234", "9223372036854775808", 1),
		"many references":  strings.Replace(registration, "\n2\n", "\n100001\n", 1),
		"minus references": strings.Replace(registration, "\n2\n", "\n-2\n", 1),
		"a bad deriver":    strings.Replace(registration, "/nix/store/10", "10", 1),
	} {
		if got, err := parseRegistration(strings.NewReader(text), "/nix/store"); err == nil {
			t.Errorf("%s: %+v", name, got)
		}
	}
	if _, err := parseRegistration(strings.NewReader("/nix/store/"+nartest.Base+"\n"), "/nix/store"); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("%v, want an unexpected EOF", err)
	}
}

func registrationOf(f *narinfo.Facts, storeDir string) string {
	deriver := f.Deriver
	if deriver != "" {
		deriver = storeDir + "/" + deriver
	}
	text := fmt.Sprintf("%s/%s\n%x\n%d\n%s\n%d\n", storeDir, f.Base, f.NarHash, f.NarSize, deriver, len(f.References))
	for _, reference := range f.References {
		text += storeDir + "/" + reference + "\n"
	}
	return text
}

// FuzzFacts writes what was read in both forms, and reads it again.
func FuzzFacts(f *testing.F) {
	f.Add(registration)
	f.Fuzz(func(t *testing.T, text string) {
		all, err := parseRegistration(strings.NewReader(text), "/nix/store")
		if err != nil {
			return
		}
		s := &store{dir: "/nix/store"}
		saved, loaded := newClosures(s, nil), newClosures(s, nil)
		for i, one := range all {
			again, err := parseRegistration(strings.NewReader(registrationOf(&one, "/nix/store")), "/nix/store")
			if err != nil || !reflect.DeepEqual(again[0], one) {
				t.Fatalf("%+v became %+v, %v", one, again, err)
			}
			saved.add(one, stamp{uint64(i), int64(i)})
		}
		written, err := saved.encode()
		if err != nil {
			t.Fatal(err)
		}
		if err := loaded.decode(bytes.NewReader(written)); err != nil {
			t.Fatal(err)
		}
		if len(loaded.known) != len(saved.known) {
			t.Fatalf("%d of %d", len(loaded.known), len(saved.known))
		}
		for base, o := range saved.known {
			if got := loaded.known[base]; got == nil || !reflect.DeepEqual(got.Facts, o.Facts) || got.stamp != o.stamp {
				t.Fatalf("%+v became %+v", o.Facts, got)
			}
		}
	})
}

func TestOpenKey(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	var group sync.WaitGroup
	keys := make([]string, 8) // `ravenboot key` and `ravenboot serve` at once
	for i := range keys {
		group.Go(func() {
			key, err := OpenKey(dir, "")
			if err != nil {
				t.Error(err)
				return
			}
			keys[i] = key.Public()
		})
	}
	group.Wait()
	for _, key := range keys {
		if key != keys[0] {
			t.Fatalf("two keys: %q", keys)
		}
	}
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(keys[0], host+"-1:") {
		t.Errorf("%s is not named after %s", keys[0], host)
	}
	file := filepath.Join(dir, KeyFile)
	info, err := os.Stat(file)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 1 {
		t.Errorf("%v, %v: more than the key is left", left, err)
	}
	renamed, err := OpenKey(dir, "cache.lab.example-1")
	_, data, _ := strings.Cut(keys[0], ":")
	if err != nil || renamed.Public() != "cache.lab.example-1:"+data {
		t.Errorf("%s, %v", renamed.Public(), err)
	}
	for want, spoil := range map[string]func() error{
		"chmod 600":       func() error { return os.Chmod(file, 0o640) },
		"move it away":    func() error { return os.WriteFile(file, []byte("lab-1:AAAA\n"), 0o600) },
		"name is missing": func() error { return os.WriteFile(file, []byte(":\n"), 0o600) },
	} {
		if err := errors.Join(os.Chmod(file, 0o600), spoil()); err != nil {
			t.Fatal(err)
		}
		if _, err := OpenKey(dir, ""); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), file) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

// A key that Nix made is taken, and Nix's own public half is the same.
func TestKeyOfNix(t *testing.T) {
	store := newNixStore(t)
	state := t.TempDir()
	public := filepath.Join(state, "public")
	store.run(t, "nix-store", "--generate-binary-cache-key", "lab-7", filepath.Join(state, KeyFile), public)
	key, err := OpenKey(state, "")
	if err != nil || key.Public() != strings.TrimSpace(read(t, public)) {
		t.Errorf("%s, %v, want %s", key.Public(), err, read(t, public))
	}
}

func TestFindTool(t *testing.T) {
	if got, err := findTool(""); err != nil || filepath.Base(got) != "nix-store" {
		t.Errorf("%s, %v (apt-get install nix-bin, if it is missing)", got, err)
	}
	t.Setenv("PATH", t.TempDir())
	defer func(formerly []string) { toolPlaces = formerly }(toolPlaces)
	toolPlaces = []string{"/nowhere/nix-store"}
	if got, err := findTool(""); err == nil {
		t.Errorf("found %s", got)
	}
	if _, err := New(Config{StateDir: t.TempDir()}, &offer{}, slog.New(slog.DiscardHandler)); err != nil {
		t.Error(err)
	}
}
