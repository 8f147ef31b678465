package closure

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/nix-community/go-nix/pkg/narinfo/signature"

	"ravenboot/internal/narinfo"
)

const (
	thing = "00bgd045z0d4icpbc2yyz4gx48ak44la-thing-1.0"
	other = "11bgd045z0d4icpbc2yyz4gx48ak44la-other"
)

// signer is whose key the machine trusts.
type signer struct {
	secret signature.SecretKey
	public signature.PublicKey
}

func newSigner(t testing.TB, name string) signer {
	t.Helper()
	secret, public, err := signature.GenerateKeypair(name, nil)
	if err != nil {
		t.Fatal(err)
	}
	return signer{secret, public}
}

func (s signer) sign(t testing.TB, info *narinfo.Info) string {
	t.Helper()
	signed, err := s.secret.Sign(nil, info.Fingerprint("/nix/store"))
	if err != nil {
		t.Fatal(err)
	}
	return signed.String()
}

// thingInfo is what a cache says of the path thing, unsigned.
func thingInfo() *narinfo.Info {
	return &narinfo.Info{
		Facts: narinfo.Facts{Base: thing, NarHash: [32]byte{1}, NarSize: 1234, References: []string{thing, other}},
		URL:   "nar/x.nar.xz", Compression: "xz", FileSize: 500,
	}
}

// What isn't signed may vary, within bounds.
func TestParseNarinfo(t *testing.T) {
	lab := newSigner(t, "lab-1")
	ours, formerly := lab.sign(t, thingInfo()), newSigner(t, "lab-1").sign(t, thingInfo())
	for name, test := range map[string]struct {
		old, new   string
		fileSize   int64
		signatures []string
	}{
		"as it should be":           {"", "", 500, []string{ours}},
		"an unknown key":            {"URL: ", "ApproxSize: 1\nURL: ", 500, []string{ours}},
		"no file size":              {"FileSize: 500\n", "", -1, []string{ours}},
		"an unknown file size":      {"FileSize: 500", "FileSize: 0", -1, []string{ours}},
		"a huge file size":          {"FileSize: 500", "FileSize: 9223372036854775807", -1, []string{ours}},
		"none, with a wrong size":   {"Compression: xz", "Compression: none", 1234, []string{ours}},
		"references in disorder":    {thing + " " + other, other + " " + thing + " " + other, 500, []string{ours}},
		"an unknown signature":      {"Sig: ", "Sig: lab-1:AAAA\nSig: rsa\nSig: ", 500, []string{ours}},
		"a key's former signature":  {"Sig: ", "Sig: " + formerly + "\nSig: ", 500, []string{ours}},
		"an unknown deriver":        {"NarSize: ", "Deriver: unknown-deriver\nNarSize: ", 500, []string{ours}},
		"a compression of tomorrow": {"Compression: xz", "Compression: xyz", 500, []string{ours}},
	} {
		t.Run(name, func(t *testing.T) {
			p, err := parseNarinfo([]byte(altered(t, ours, test.old, test.new)), "/nix/store", thing, []signature.PublicKey{lab.public})
			if err != nil {
				t.Fatal(err)
			}
			if p.fileSize != test.fileSize || !slices.Equal(p.Signatures, test.signatures) {
				t.Errorf("a file of %d bytes, want %d; signatures %q, want %q", p.fileSize, test.fileSize, p.Signatures, test.signatures)
			}
			if p.Base != thing || p.NarHash != [32]byte{1} || p.NarSize != 1234 || p.Deriver != "" ||
				!slices.Equal(p.References, []string{thing, other}) {
				t.Errorf("%+v", p)
			}
		})
	}
}

// altered is thing's narinfo with a signature and a change.
func altered(t *testing.T, signed, old, new string) string {
	t.Helper()
	info := thingInfo()
	info.Signatures = []string{signed}
	text := string(info.Text("/nix/store"))
	if !strings.Contains(text, old) {
		t.Fatalf("no %q in\n%s", old, text)
	}
	return strings.Replace(text, old, new, 1)
}

func TestParseNarinfoRefuses(t *testing.T) {
	lab := newSigner(t, "lab-1")
	ours := lab.sign(t, thingInfo())
	huge := thingInfo()
	huge.NarSize = maxNarSize + 1
	for name, test := range map[string]struct {
		old, new  string
		untrusted bool
	}{
		"no signature":             {"Sig: " + ours + "\n", "", true},
		"no signature that counts": {ours, "lab-1:AAAA", true},
		"a signature of others":    {ours, newSigner(t, "lab-2").sign(t, thingInfo()), true},
		"another of that name":     {ours, newSigner(t, "lab-1").sign(t, thingInfo()), true},
		"another size":             {"NarSize: 1234", "NarSize: 1235", true},
		"another hash":             {narinfo.FormatHash([32]byte{1}), narinfo.FormatHash([32]byte{2}), true},
		"a reference less":         {" " + other, "", true},
		"a reference more":         {" " + other, " " + other + "-2", true},
		"a huge size":              {"NarSize: 1234\n", fmt.Sprintf("NarSize: %d\nSig: %s\n", huge.NarSize, lab.sign(t, huge)), false},
		"a size beyond all":        {"NarSize: 1234", "NarSize: 9223372036854775808", false},
		"two sizes":                {"NarSize: 1234", "NarSize: 1234\nNarSize: 1234", false},
		"two hashes":               {"NarHash: ", "NarHash: " + narinfo.FormatHash([32]byte{2}) + "\nNarHash: ", false},
		"SHA-512":                  {narinfo.FormatHash([32]byte{1}), "sha512:" + strings.Repeat("00", 64), false},
		"another store":            {"StorePath: /nix/", "StorePath: /gnu/", false},
		"another path":             {"StorePath: /nix/store/" + thing, "StorePath: /nix/store/" + other, false},
		"a path that climbs":       {" " + other, " " + other + "/../" + thing, false},
		"a path elsewhere":         {" " + other, " ../../etc/passwd", false},
		"a deriver that climbs":    {"NarSize: ", "Deriver: ../" + thing + "\nNarSize: ", false},
		"not a narinfo":            {"StorePath: ", "<html>\nStorePath: ", false},
	} {
		t.Run(name, func(t *testing.T) {
			p, err := parseNarinfo([]byte(altered(t, ours, test.old, test.new)), "/nix/store", thing, []signature.PublicKey{lab.public})
			if err == nil {
				t.Fatalf("taken as %+v", p)
			}
			if errors.Is(err, ErrUntrusted) != test.untrusted {
				t.Errorf("%v; is it for want of trust: %v", err, test.untrusted)
			}
		})
	}
}

// FuzzParseNarinfo signs what it can be brought to sign, and looks at what the
// machine would do with that: make files of names, and rows of a database.
func FuzzParseNarinfo(f *testing.F) {
	lab := newSigner(f, "lab-1")
	keys := []signature.PublicKey{lab.public}
	good := string(thingInfo().Text("/nix/store"))
	f.Add([]byte(good))
	for old, new := range map[string]string{
		other:             other + "/../" + thing,
		" " + other:       " ../../etc/passwd",
		"NarSize: 1234":   "NarSize: " + strconv.FormatInt(maxNarSize+1, 10),
		"FileSize: 500":   "FileSize: 9223372036854775807",
		"URL: ":           "URL: x\nURL: ",
		"/nix/store":      "/gnu/store",
		"NarSize: ":       "Deriver: " + other + ".drv\nCA: text:sha256:0\nApproxSize: 1\nNarSize: ",
		"Compression: xz": "Compression: none",
	} {
		f.Add([]byte(strings.Replace(good, old, new, 1)))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		if _, err := parseNarinfo(text, "/nix/store", thing, keys); err == nil {
			t.Fatalf("%q is believed, and nobody trusted has signed it", text)
		}
		info, err := narinfo.Parse(text, "/nix/store", thing)
		if err != nil {
			return
		}
		signed := lab.sign(t, info)
		info.Signatures = []string{signed}
		p, err := parseNarinfo(info.Text("/nix/store"), "/nix/store", thing, keys)
		if err != nil {
			if info.NarSize <= maxNarSize {
				t.Errorf("%q, signed: %v", text, err)
			}
			return
		}
		if p.NarSize <= 0 || p.NarSize > maxNarSize || p.fileSize == 0 || p.fileSize < -1 || p.fileSize > maxNarSize {
			t.Errorf("%q: a NAR of %d bytes in a file of %d", text, p.NarSize, p.fileSize)
		}
		if p.Base != thing || !slices.Equal(p.Signatures, []string{signed}) {
			t.Errorf("%q became %s, signed by %q", text, p.Base, p.Signatures)
		}
		for _, reference := range p.References {
			if filepath.Base(reference) != reference || !filepath.IsLocal(reference) {
				t.Errorf("%q: the reference %q leads out of the store", text, reference)
			}
		}
		if strings.ContainsAny(p.Deriver, "/ \n") || strings.ContainsAny(p.CA, " \n") {
			t.Errorf("%q: deriver %q, CA %q", text, p.Deriver, p.CA)
		}
	})
}
