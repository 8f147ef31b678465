package assets

import (
	"strings"
	"testing"

	"ravenboot/internal/machine"
)

var macA = machine.MAC{0x52, 0x54, 0, 0x12, 0x34, 0x56}

func TestParseName(t *testing.T) {
	for raw, want := range map[string]request{
		"snponly.efi":                           {name: "snponly.efi"},
		"/snponly.efi":                          {name: "snponly.efi"},
		"///snponly.efi":                        {name: "snponly.efi"},
		`\snponly.efi`:                          {name: "snponly.efi"},
		`\\52-54-00-12-34-56\snponly.efi`:       {name: "snponly.efi", mac: macA},
		"52-54-00-12-34-56/snponly.efi":         {name: "snponly.efi", mac: macA},
		"/52:54:00:12:34:56/autoexec.ipxe":      {name: "autoexec.ipxe", mac: macA},
		"525400123456/undionly.kpxe":            {name: "undionly.kpxe", mac: macA},
		"01-52-54-00-12-34-56/undionly.kpxe":    {name: "undionly.kpxe", mac: macA},
		"ipxe/52-54-00-12-34-56/ipxe.efi":       {name: "ipxe.efi", mac: macA},
		"ipxe/undionly.kpxe":                    {name: "undionly.kpxe"},
		"snponly.efi\xff":                       {name: "snponly.efi"},
		"snponly.efi\xff\x2b\x03abc":            {name: "snponly.efi"}, // netboot.xyz#1198: the next options follow
		"snponly.efi \r\n":                      {name: "snponly.efi"},
		"ipxe-snponly-x86_64.efi":               {name: "ipxe-snponly-x86_64.efi"},
		"arm64-efi/snponly.efi":                 {name: "snponly-arm64.efi"},
		"/tftpboot/arm64-efi/snponly.efi":       {name: "snponly-arm64.efi"},
		"x86_64/snponly.efi":                    {name: "snponly.efi"},
		"../../etc/passwd":                      {name: "passwd"},
		"52-54-00-12-34-56/../../../etc/shadow": {name: "shadow", mac: macA},
		"..":                                    {},
		"../":                                   {},
		"/":                                     {},
		"":                                      {},
		"\xff\xff":                              {},
		".":                                     {},
		".ssh":                                  {},
		"52-54-00-12-34-56":                     {name: "52-54-00-12-34-56"},
		"dir/":                                  {},
		"a/" + strings.Repeat("x", 300):         {},
	} {
		if got := parseName(raw); got != want {
			t.Errorf("%q: %+v, want %+v", raw, got, want)
		}
	}
}

// FuzzName holds a name to a single component, whatever was sent, and to
// meaning the same when it is sent again as it should have been.
func FuzzName(f *testing.F) {
	for _, seed := range []string{"snponly.efi", `\\52-54-00-12-34-56\..\snponly.efi` + "\xff", "arm64-efi/snponly.efi", "//..//.//x"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		r := parseName(raw)
		if strings.ContainsAny(r.name, "/\\\x00 ") || strings.HasPrefix(r.name, ".") || len(r.name) > mostName {
			t.Fatalf("%q: name %q", raw, r.name)
		}
		if r.name == "" {
			return
		}
		proper := r.name
		if !r.mac.IsZero() {
			proper = r.mac.Dashed() + "/" + r.name
		}
		if again := parseName(proper); again != r {
			t.Fatalf("%q is %+v, and %q is %+v", raw, r, proper, again)
		}
	})
}
