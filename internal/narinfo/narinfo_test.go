package narinfo

import (
	"bytes"
	"fmt"
	"reflect"
	"strings"
	"testing"
)

const (
	base = "00bgd045z0d4icpbc2yyz4gx48ak44la-thing-1.0"
	// good has its references out of order, and one of them twice.
	good = "StorePath: /nix/store/" + base + "\nURL: nar/x.nar.xz\nCompression: xz\n" +
		"FileHash: sha256:1094wph9z4nwlgvsd53abfz8i117ykiv5dwnq9nnhz846s7xqd7d\nFileSize: 114980\n" +
		"NarHash: sha256:0lxjvvpr59c2mdram7ympy5ay741f180kv3349hvfc3f8nrmbqf6\nNarSize: 464152\n" +
		"References: 11bgd045z0d4icpbc2yyz4gx48ak44la-b 10bgd045z0d4icpbc2yyz4gx48ak44la-a 10bgd045z0d4icpbc2yyz4gx48ak44la-a\n" +
		"Deriver: 12bgd045z0d4icpbc2yyz4gx48ak44la-thing-1.0.drv\nSig: a-1:AAAA\nSig: b-1:AAAA\nCA: text:sha256:0\n"
)

func parseGood(t *testing.T) *Info {
	t.Helper()
	i, err := Parse([]byte(good), "/nix/store", base)
	if err != nil {
		t.Fatal(err)
	}
	return i
}

func TestParse(t *testing.T) {
	i := parseGood(t)
	want := &Info{
		Facts: Facts{
			Base: base, NarHash: i.NarHash, NarSize: 464152, Deriver: "12bgd045z0d4icpbc2yyz4gx48ak44la-thing-1.0.drv",
			References: []string{"10bgd045z0d4icpbc2yyz4gx48ak44la-a", "11bgd045z0d4icpbc2yyz4gx48ak44la-b"},
		},
		URL: "nar/x.nar.xz", Compression: "xz", FileHash: i.FileHash, FileSize: 114980,
		Signatures: []string{"a-1:AAAA", "b-1:AAAA"}, CA: "text:sha256:0",
	}
	if !reflect.DeepEqual(i, want) {
		t.Errorf("%+v, want %+v", i, want)
	}
	if got := FormatHash(i.NarHash); got != "sha256:0lxjvvpr59c2mdram7ympy5ay741f180kv3349hvfc3f8nrmbqf6" {
		t.Errorf("NarHash: %s", got)
	}
	if got := FormatHash(*i.FileHash); got != "sha256:1094wph9z4nwlgvsd53abfz8i117ykiv5dwnq9nnhz846s7xqd7d" {
		t.Errorf("FileHash: %s", got)
	}
}

// What may be written in several ways, or left out.
func TestParseTakes(t *testing.T) {
	for name, test := range map[string]struct {
		old, new string
		change   func(i *Info)
	}{
		"an unknown key":          {"URL: ", "ApproxSize: 1\nURL: ", func(*Info) {}},
		"an unknown key twice":    {"URL: ", "New: a: b\nNew:\nURL: ", func(*Info) {}},
		"no compression":          {"Compression: xz\n", "", func(i *Info) { i.Compression = "bzip2" }},
		"an empty compression":    {"Compression: xz", "Compression:", func(i *Info) { i.Compression = "bzip2" }},
		"a compression of others": {"Compression: xz", "Compression: rar", func(i *Info) { i.Compression = "rar" }},
		"an unknown deriver": {
			"12bgd045z0d4icpbc2yyz4gx48ak44la-thing-1.0.drv", "unknown-deriver", func(i *Info) { i.Deriver = "" },
		},
		"an unknown file size":     {"FileSize: 114980", "FileSize: 0", func(i *Info) { i.FileSize = 0 }},
		"no file size":             {"FileSize: 114980\n", "", func(i *Info) { i.FileSize = 0 }},
		"no references":            {"References: ", "Old: ", func(i *Info) { i.References = nil }},
		"no blank after the colon": {"URL: ", "URL:", func(*Info) {}},
		"a hash in hexadecimal": {
			"1094wph9z4nwlgvsd53abfz8i117ykiv5dwnq9nnhz846s7xqd7d", strings.Repeat("00", 32),
			func(i *Info) { i.FileHash = new([32]byte) },
		},
	} {
		want := parseGood(t)
		test.change(want)
		text := strings.Replace(good, test.old, test.new, 1)
		if text == good {
			t.Fatalf("%s: nothing changed", name)
		}
		if got, err := Parse([]byte(text), "/nix/store", base); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v, %v, want %+v", name, got, err, want)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for name, change := range map[string][2]string{
		"not a narinfo":             {good, "<html>"},
		"no URL":                    {"URL: nar/x.nar.xz\n", ""},
		"an empty URL":              {"URL: nar/x.nar.xz", "URL: "},
		"a URL with blanks":         {"nar/x.nar.xz", "nar/x y"},
		"a long URL":                {"nar/x.nar.xz", strings.Repeat("x", maxWord+1)},
		"a compression with blanks": {"Compression: xz", "Compression: x z"},
		"no NarHash":                {"NarHash", "NarHush"},
		"no NarSize":                {"NarSize", "NorSize"},
		"no StorePath":              {"StorePath", "StarePath"},
		"SHA-1": {
			"sha256:0lxjvvpr59c2mdram7ympy5ay741f180kv3349hvfc3f8nrmbqf6", "sha1:a9993e364706816aba3e25717850c26c9cd0d89d",
		},
		"a short hash":                 {"1094wph9z4nwlgvsd53abfz8i117ykiv5dwnq9nnhz846s7xqd7d", "1094"},
		"a long hash":                  {"1094wph9z4nwlgvsd53abfz8i117ykiv5dwnq9nnhz846s7xqd7d", strings.Repeat("1", maxWord)},
		"a NAR of no size":             {"NarSize: 464152", "NarSize: 0"},
		"a size below zero":            {"NarSize: 464152", "NarSize: -1"},
		"a size beyond 63 bits":        {"NarSize: 464152", "NarSize: 9223372036854775808"},
		"two sizes":                    {"NarSize: 464152", "NarSize: 464152\nNarSize: 464153"},
		"two compressions":             {"Compression: xz", "Compression: xz\nCompression: xz"},
		"another store":                {"/nix/store/", "/gnu/store/"},
		"a path below":                 {base, base + "/bin"},
		"another path":                 {"/00bgd", "/01bgd"},
		"another name":                 {"-thing-1.0\n", "-thing-1.1\n"},
		"a reference with a slash":     {"48ak44la-b", "48ak44la-b/../x"},
		"a reference by way of others": {"48ak44la-b", "48ak44la-b/../10bgd045z0d4icpbc2yyz4gx48ak44la-a"},
		"a reference without a name":   {"48ak44la-b", "48ak44la-"},
		"a reference with a long name": {"48ak44la-b", "48ak44la-" + strings.Repeat("b", maxName+1)},
		"a reference with no hash":     {"11bgd", "e1bgd"},
		"many references":              {"48ak44la-b", "48ak44la-b" + strings.Repeat(" x", MaxReferences)},
		"a deriver with a slash":       {"12bgd", "../12bgd"},
		"a signature with blanks":      {"b-1:AAAA", "b-1:AA AA"},
		"many signatures":              {"Sig: a-1:AAAA\n", strings.Repeat("Sig: a-1:AAAA\n", maxSignatures)},
		"a CA with control characters": {"text:sha256", "text\x1bsha256"},
		"a huge text":                  {"URL: ", "New: " + strings.Repeat("x", MaxText) + "\nURL: "},
	} {
		text := strings.Replace(good, change[0], change[1], 1)
		if text == good {
			t.Fatalf("%s: nothing changed", name)
		}
		if i, err := Parse([]byte(text), "/nix/store", base); err == nil {
			t.Errorf("%s: taken as %.1000s", name, fmt.Sprintf("%+v", i))
		}
	}
}

// The form is that of ValidPathInfo::fingerprint of Nix.
func TestFingerprint(t *testing.T) {
	i := parseGood(t)
	want := "1;/srv/store/" + base + ";sha256:0lxjvvpr59c2mdram7ympy5ay741f180kv3349hvfc3f8nrmbqf6;464152;" +
		"/srv/store/10bgd045z0d4icpbc2yyz4gx48ak44la-a,/srv/store/11bgd045z0d4icpbc2yyz4gx48ak44la-b"
	if got := i.Fingerprint("/srv/store"); got != want {
		t.Errorf("%s, want %s", got, want)
	}
	i.References = nil
	if got := i.Fingerprint("/srv/store"); !strings.HasSuffix(got, ";464152;") {
		t.Errorf("without references: %s", got)
	}
}

// FuzzParse writes what was read, and reads it again.
func FuzzParse(f *testing.F) {
	f.Add([]byte(good))
	f.Add([]byte("StorePath: /nix/store/" + base + "\nURL: x\nNarHash: sha256:" + strings.Repeat("0", 64) + "\nNarSize: 1\n"))
	f.Add([]byte(strings.Replace(good, "48ak44la-b", "48ak44la-b/../10bgd045z0d4icpbc2yyz4gx48ak44la-a", 1)))
	f.Fuzz(func(t *testing.T, text []byte) {
		i, err := Parse(text, "/nix/store", base)
		if err != nil {
			return
		}
		for _, reference := range i.References {
			if strings.Contains(reference, "/") {
				t.Errorf("%q is no name of a file", reference)
			}
		}
		written := i.Text("/nix/store")
		again, err := Parse(written, "/nix/store", base)
		if err != nil || !reflect.DeepEqual(again, i) || !bytes.Equal(again.Text("/nix/store"), written) {
			t.Errorf("%q became %q, %v", text, written, err)
		}
	})
}
