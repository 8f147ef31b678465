package generation

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

const goodSpec = `{"org.nixos.bootspec.v1": {"system": "x86_64-linux",
  "init": "/nix/store/x-nixos-system-lab/init", "initrd": "/nix/store/y-initrd-linux/initrd",
  "kernel": "/nix/store/z-linux/bzImage", "kernelParams": ["loglevel=4", "root=fstab"],
  "label": "NixOS Yarara 26.05 (Linux 6.18)", "toplevel": "/nix/store/x-nixos-system-lab"},
 "org.nixos.specialisation.v1": {"exam": {"org.nixos.bootspec.v1": {}}},
 "org.example.extension": {"anything": [1, 2, 3]}}`

func TestParseBootspec(t *testing.T) {
	got, err := ParseBootspec([]byte(goodSpec))
	if err != nil {
		t.Fatal(err)
	}
	want := &Bootspec{
		System: "x86_64-linux", Label: "NixOS Yarara 26.05 (Linux 6.18)",
		Toplevel: "/nix/store/x-nixos-system-lab", Init: "/nix/store/x-nixos-system-lab/init",
		Kernel: "/nix/store/z-linux/bzImage", Initrd: "/nix/store/y-initrd-linux/initrd",
		KernelParams:    []string{"loglevel=4", "root=fstab"},
		Specialisations: map[string]json.RawMessage{"exam": json.RawMessage(`{"org.nixos.bootspec.v1": {}}`)},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestBadBootspec(t *testing.T) {
	replace := func(old, new string) string { return strings.Replace(goodSpec, old, new, 1) }
	for name, row := range map[string]struct{ text, want string }{
		"preview":            {`{"v1": {}}`, "not a v1"},
		"empty":              {``, "unexpected end"},
		"null":               {`null`, "null instead of an object"},
		"key missing":        {replace(`"label"`, `"libel"`), `key "label" is missing`},
		"no params":          {replace(`"kernelParams"`, `"params"`), `"kernelParams": missing`},
		"initrd null":        {replace(`"/nix/store/y-initrd-linux/initrd"`, `null`), "null instead of a string"},
		"number":             {replace(`"x86_64-linux"`, `7`), `key "system"`},
		"relative kernel":    {replace(`"/nix/store/z-linux/bzImage"`, `"bzImage"`), "not an absolute path"},
		"space in init":      {replace(`lab/init"`, `lab/init x=y"`), "doesn't allow"},
		"dots in init":       {replace(`lab/init"`, `lab/../init"`), "not a clean path"},
		"newline in a param": {replace(`"loglevel=4"`, `"a\nb"`), "control character"},
		"endless params":     {replace(`"loglevel=4"`, `"`+strings.Repeat("x", 5000)+`"`), "no kernel takes"},
		"no UTF-8":           {replace(`Yarara`, "\xff"), "not UTF-8"},
	} {
		if _, err := ParseBootspec([]byte(row.text)); err == nil || !strings.Contains(err.Error(), row.want) {
			t.Errorf("%s: error %v, want %q", name, err, row.want)
		}
	}
	if _, err := ParseBootspec([]byte(`{"v1": {}}`)); !errors.Is(err, ErrNotV1) {
		t.Errorf("the preview form: %v, want ErrNotV1", err)
	}
}

// FuzzBootspec: what is read can be written, and reads the same again.
func FuzzBootspec(f *testing.F) {
	f.Add([]byte(goodSpec))
	f.Add([]byte(`{"v1": {}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		spec, err := ParseBootspec(data)
		if err != nil {
			return
		}
		written, err := json.Marshal(spec)
		if err != nil {
			t.Fatal(err)
		}
		again, err := ParseBootspec(written)
		if err != nil {
			t.Fatalf("%s: %v", written, err)
		}
		if diff := cmp.Diff(spec, again, cmp.Transformer("raw", compact), cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("(-first +again):\n%s", diff)
		}
	})
}

// compact forgets the white space of a document that was passed over.
func compact(raw json.RawMessage) string {
	var v any
	if err := json.Unmarshal(raw, &v); err != nil {
		return string(raw)
	}
	text, err := json.Marshal(v)
	if err != nil {
		return err.Error()
	}
	return string(text)
}
