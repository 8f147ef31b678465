package narinfo

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	gonarinfo "github.com/nix-community/go-nix/pkg/narinfo"
)

const (
	hash  = "00bgd045z0d4icpbc2yyz4gx48ak44la"
	whole = "StorePath: /nix/store/" + hash + "-net-tools-1.60\n" +
		"URL: nar/1094wph9z4nwlgvsd53abfz8i117ykiv5dwnq9nnhz846s7xqd7d.nar.xz\n" +
		"Compression: xz\n" +
		"FileHash: sha256:1094wph9z4nwlgvsd53abfz8i117ykiv5dwnq9nnhz846s7xqd7d\n" +
		"FileSize: 114980\n" +
		"NarHash: sha256:0lxjvvpr59c2mdram7ympy5ay741f180kv3349hvfc3f8nrmbqf6\n" +
		"NarSize: 464152\n" +
		"References: 7gx4kiv5m0i7d7qkixq2cwzbr10lvxwc-glibc-2.27\n" +
		"Deriver: 10dx1q4ivjb115y3h90mipaaz533nr0d-net-tools-1.60.drv\n" +
		"Sig: cache.example.org-1:sn5s/RrqEI+YG6/PjwdbPjcAC7rcta7sJU4mFOawGvJBLsWkyLtBrT2EuFt/LJjWkTZ+ZWOI9NTtjo/woMdvAg==\n" +
		"Sig: other-1:AAAA\n" +
		"CA: fixed:r:sha256:0lxjvvpr59c2mdram7ympy5ay741f180kv3349hvfc3f8nrmbqf6\n"
)

func TestParse(t *testing.T) {
	got, err := Parse([]byte(whole))
	if err != nil {
		t.Fatal(err)
	}
	narHash := got.NarHash
	want := Info{
		StorePath: "/nix/store/" + hash + "-net-tools-1.60", Compression: "xz", FileSize: 114980,
		URL:     "nar/1094wph9z4nwlgvsd53abfz8i117ykiv5dwnq9nnhz846s7xqd7d.nar.xz",
		NarHash: narHash, NarSize: 464152,
		References: []string{"7gx4kiv5m0i7d7qkixq2cwzbr10lvxwc-glibc-2.27"},
		Deriver:    "10dx1q4ivjb115y3h90mipaaz533nr0d-net-tools-1.60.drv",
		Signatures: []string{
			"cache.example.org-1:sn5s/RrqEI+YG6/PjwdbPjcAC7rcta7sJU4mFOawGvJBLsWkyLtBrT2EuFt/LJjWkTZ+ZWOI9NTtjo/woMdvAg==",
			"other-1:AAAA",
		},
		CA: "fixed:r:sha256:0lxjvvpr59c2mdram7ympy5ay741f180kv3349hvfc3f8nrmbqf6",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
	if !strings.HasPrefix(Fingerprint(got.StorePath, narHash, 1, nil), "1;"+got.StorePath+";sha256:0lxjvvpr59c2mdram7ympy5ay741f180kv3349hvfc3f8nrmbqf6;1;") {
		t.Error("the hash was misread")
	}
}

// edited is whole with lines replaced, by key.
func edited(key, line string) string {
	var all []string
	for old := range strings.Lines(whole) {
		if strings.HasPrefix(old, key+":") {
			old = line
		}
		all = append(all, old)
	}
	return strings.Join(all, "")
}

func TestParseVariants(t *testing.T) {
	for name, test := range map[string]struct {
		text  string
		check func(Info) bool
	}{
		"an unknown key":     {whole + "FutureKey: with: colons\n", func(i Info) bool { return i.NarSize == 464152 }},
		"an empty line":      {whole + "\n", func(i Info) bool { return i.NarSize == 464152 }},
		"no compression":     {edited("Compression", ""), func(i Info) bool { return i.Compression == "" }},
		"no file size":       {edited("FileSize", ""), func(i Info) bool { return i.FileSize == -1 }},
		"no references":      {edited("References", "References: \n"), func(i Info) bool { return len(i.References) == 0 }},
		"none, without room": {edited("References", "References:\n"), func(i Info) bool { return len(i.References) == 0 }},
		"no deriver":         {edited("Deriver", "Deriver: unknown-deriver\n"), func(i Info) bool { return i.Deriver == "" }},
		"a hash in hex": {
			edited("NarHash", "NarHash: sha256:"+strings.Repeat("ab", 32)+"\n"),
			func(i Info) bool { return i.NarHash == [32]byte(bytes.Repeat([]byte{0xab}, 32)) },
		},
		"a hash as for the web": {
			edited("NarHash", "NarHash: sha256-q6urq6urq6urq6urq6urq6urq6urq6urq6urq6urq6s=\n"),
			func(i Info) bool { return i.NarHash == [32]byte(bytes.Repeat([]byte{0xab}, 32)) },
		},
	} {
		t.Run(name, func(t *testing.T) {
			if info, err := Parse([]byte(test.text)); err != nil || !test.check(info) {
				t.Errorf("%+v, %v", info, err)
			}
		})
	}
}

func TestParseRefuses(t *testing.T) {
	for name, test := range map[string]struct{ text, want string }{
		"nothing":              {"", "StorePath is missing"},
		"something else":       {"<html>\n", "line 1"},
		"cut within a line":    {whole[:len(whole)-1], "no whole line"},
		"cut between lines":    {whole[:strings.Index(whole, "NarSize")], "NarSize is missing"},
		"a key twice":          {whole + "NarSize: 1\n", `"NarSize" is there twice`},
		"references twice":     {whole + "References: \n", `"References" is there twice`},
		"no hash":              {edited("NarHash", ""), "NarHash is missing"},
		"another hash":         {edited("NarHash", "NarHash: md5:"+strings.Repeat("a", 32)+"\n"), "no SHA-256"},
		"a short hash":         {edited("NarHash", "NarHash: sha256:abcd\n"), "no SHA-256"},
		"no size":              {edited("NarSize", "NarSize: 0\n"), "NarSize is 0"},
		"a negative size":      {edited("NarSize", "NarSize: -1\n"), "no size"},
		"a huge size":          {edited("NarSize", "NarSize: 1099511627777\n"), "no size"},
		"a huge file":          {edited("FileSize", "FileSize: 9223372036854775808\n"), "no size"},
		"a reference up":       {edited("References", "References: ../../etc/passwd\n"), "no store path"},
		"a reference with /":   {edited("References", "References: "+hash+"-x/../"+hash+"-y\n"), "no store path"},
		"a reference's end":    {edited("References", "References: "+hash+"-x/\n"), "no store path"},
		"a whole reference":    {edited("References", "References: /nix/store/"+hash+"-x\n"), "no store path"},
		"a short reference":    {edited("References", "References: x\n"), "no store path"},
		"a long reference":     {edited("References", "References: "+hash+"-"+strings.Repeat("x", 212)+"\n"), "no store path"},
		"a NUL in a reference": {edited("References", "References: "+hash+"-x\x00y\n"), "no store path"},
		"a deriver up":         {edited("Deriver", "Deriver: ../x\n"), "no store path"},
		"a store path of dots": {edited("StorePath", "StorePath: /nix/store/..\n"), "no store path"},
		"an empty store path":  {edited("StorePath", "StorePath: \n"), "no store path"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := Parse([]byte(test.text)); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%v, want %q", err, test.want)
			}
		})
	}
}

// FuzzParse holds what is accepted against the parser of go-nix, and the names
// against what a directory would make of them.
func FuzzParse(f *testing.F) {
	f.Add([]byte(whole))
	f.Add([]byte(edited("References", "References: "+hash+"-a "+hash+"-a "+hash+"-b\n")))
	f.Add([]byte("StorePath:" + "\n:\n: \n"))
	f.Add([]byte(strings.Repeat("Sig: a:AAAA\n", 100)))
	f.Fuzz(func(t *testing.T, text []byte) {
		info, err := Parse(text)
		if err != nil {
			return
		}
		for _, base := range append([]string{info.Deriver}, info.References...) {
			if strings.ContainsAny(base, "/\x00 \n") || base == "." || base == ".." || len(base) > 255 {
				t.Errorf("%q was taken for a store path", base)
			}
		}
		if info.NarSize <= 0 || info.NarSize > maxSize || info.FileSize < -1 || info.FileSize > maxSize {
			t.Errorf("sizes %d and %d", info.NarSize, info.FileSize)
		}
		theirs, err := gonarinfo.Parse(bytes.NewReader(text))
		if err != nil || theirs.NarHash == nil {
			return // it knows fewer keys
		}
		if theirs.StorePath != info.StorePath || theirs.URL != info.URL || int64(theirs.NarSize) != info.NarSize ||
			[32]byte(theirs.NarHash.Digest()) != info.NarHash || theirs.Deriver != info.Deriver ||
			!slices.Equal(slices.DeleteFunc(theirs.References, func(s string) bool { return s == "" }), info.References) {
			t.Errorf("%q: %+v, go-nix reads %+v", text, info, theirs)
		}
	})
}
