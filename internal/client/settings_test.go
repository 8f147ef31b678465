package client

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseSettings(t *testing.T) {
	for name, test := range map[string]struct {
		line string
		want Settings
	}{
		"empty": {"", Settings{}},
		"space": {" \t\n", Settings{}},
		"what the server adds": {
			"init=/nix/store/x-lab/init loglevel=4 initrd=initrd BOOTIF=01-52-54-00-12-34-56 ravenboot.url=http://192.0.2.10 " +
				"ravenboot.machine=52:54:00:12:34:56 ravenboot.ticket=abc.def\n",
			Settings{Init: "/nix/store/x-lab/init", URL: "http://192.0.2.10", Machine: "52:54:00:12:34:56", Ticket: "abc.def"},
		},
		"the policies": {
			"ravenboot.on_failure=shell ravenboot.on_mismatch=recreate ravenboot.engine=nix",
			Settings{OnFailure: "shell", OnMismatch: "recreate", Engine: "nix"},
		},
		"dashes as Linux has them": {"ravenboot.on-failure=reboot", Settings{OnFailure: "reboot"}},
		"the last counts":          {"ravenboot.engine=nix ravenboot.engine=native", Settings{Engine: "native"}},
		"the server's after the generation's": {
			"init=/x/init ravenboot.on_mismatch=recreate ravenboot.engine=nix ravenboot.on_failure=reboot initrd=initrd " +
				"ravenboot.url=http://192.0.2.10 ravenboot.on_mismatch=refuse ravenboot.engine=native ravenboot.on_failure=shell",
			Settings{
				Init: "/x/init", URL: "http://192.0.2.10", OnMismatch: "refuse", Engine: "native", OnFailure: "shell",
			},
		},
		"the last counts if empty": {"ravenboot.engine=nix ravenboot.engine=", Settings{}},
		"keys add up": {
			"ravenboot.public_key=a-1:AA== quiet ravenboot.public_key=b-1:BB==",
			Settings{PublicKeys: []string{"a-1:AA==", "b-1:BB=="}},
		},
		"an end for init":             {"ravenboot.engine=nix -- ravenboot.engine=native", Settings{Engine: "nix"}},
		"no end with a value":         {"--=x ravenboot.engine=nix", Settings{Engine: "nix"}},
		"slashes at the end":          {"ravenboot.url=http://192.0.2.10//", Settings{URL: "http://192.0.2.10"}},
		"a quoted value":              {`ravenboot.ticket="a b" quiet`, Settings{Ticket: "a b"}},
		"a quoted argument":           {`"ravenboot.ticket=a b" quiet`, Settings{Ticket: "a b"}},
		"quotes within":               {`ravenboot.ticket=a"b c"d`, Settings{Ticket: `a"b c"d`}},
		"a quote that stays open":     {`ravenboot.ticket="a b ravenboot.engine=nix`, Settings{Ticket: `a b ravenboot.engine=nix`}},
		"one in another's quotes":     {`dyndbg="file x ravenboot.engine=nix"`, Settings{}},
		"an empty quoted value":       {`ravenboot.ticket="" ravenboot.engine=nix`, Settings{Engine: "nix"}},
		"no name":                     {`=x ravenboot.engine=nix`, Settings{Engine: "nix"}},
		"no value":                    {`ravenboot.url init ravenboot.engine=nix`, Settings{Engine: "nix"}},
		"equal signs in a value":      {`ravenboot.public_key=a:b==`, Settings{PublicKeys: []string{"a:b=="}}},
		"other names begin like ours": {`ravenboot.urls=x initrd=y xinit=z ravenboot.=w`, Settings{}},
		"tabs and newlines separate":  {"ravenboot.engine=nix\tinit=/x\nravenboot.url=y", Settings{Engine: "nix", Init: "/x", URL: "y"}},
		"not UTF-8":                   {"ravenboot.ticket=\xff\xfe", Settings{Ticket: "\xff\xfe"}},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(test.want, parseSettings(test.line)); diff != "" {
				t.Errorf("%q: -want +got\n%s", test.line, diff)
			}
		})
	}
}

func TestReadSettings(t *testing.T) {
	file := filepath.Join(t.TempDir(), "cmdline")
	if err := os.WriteFile(file, []byte("ravenboot.url=http://192.0.2.10\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if s, err := ReadSettings(file); err != nil || s.URL != "http://192.0.2.10" {
		t.Errorf("%+v, %v", s, err)
	}
	if _, err := ReadSettings(file + "x"); err == nil || !strings.Contains(err.Error(), "kernel command line") {
		t.Errorf("%v, want what is missing", err)
	}
}

// FuzzParseSettings adds a plain argument at the end, which counts unless it
// is within open quotes or behind `--`.
func FuzzParseSettings(f *testing.F) {
	f.Add(`init=/x ravenboot.url="a b" "c d" -- e`)
	f.Add(`"`)
	f.Add(`a="b`)
	f.Add("ravenboot.public_key=\xff=\v")
	f.Fuzz(func(t *testing.T, line string) {
		rest := line
		for rest = skipSpace(rest); rest != ""; rest = skipSpace(rest) {
			before := len(rest)
			var a argument
			if a, rest = nextArgument(rest); len(rest) >= before {
				t.Fatalf("%q: nothing taken off", line)
			}
			if strings.Contains(a.name, "=") && !strings.HasPrefix(a.name, "=") {
				t.Errorf("%q: name %q", line, a.name)
			}
			if a.name == "--" && !a.hasValue {
				return
			}
		}
		if strings.Count(line, `"`)%2 == 0 {
			if got := parseSettings(line + " ravenboot.engine=last").Engine; got != "last" {
				t.Errorf("%q and one more: %q", line, got)
			}
		}
	})
}
