// Package nixos_test has real Nix judge the NixOS modules: it parses every file,
// evaluates the modules for machines and servers that take every branch, and
// holds package.nix's hash against go.mod.
//
// It knows Nix's programs and the cases of testdata. It must not need nixpkgs:
// testdata/lib.nix stands in for its module system.
package nixos_test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"flag"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"ravenboot/nixos"
)

var update = flag.Bool("update", false, "write the golden files, and the hash of package.nix")

// nix runs one of Nix's programs.
func nix(t *testing.T, program string, args ...string) ([]byte, error) {
	t.Helper()
	return nixos.Nix(t.TempDir(), program, args...)
}

func TestEveryFileParses(t *testing.T) {
	var files []string
	err := filepath.WalkDir(".", func(path string, _ fs.DirEntry, err error) error {
		if filepath.Ext(path) == ".nix" {
			files = append(files, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Contains(files, "client.nix") {
		t.Fatalf("found %q, without client.nix", files)
	}
	if _, err := nix(t, "nix-instantiate", append([]string{"--parse"}, files...)...); err != nil {
		t.Error(err)
	}
}

// evaluate gives what an attribute of testdata/eval.nix comes to.
func evaluate(t *testing.T, attribute string) map[string]json.RawMessage {
	t.Helper()
	values, err := nixos.Evaluate(t.TempDir(), ".", attribute)
	if err != nil {
		t.Fatal(err)
	}
	return values
}

// golden compares a value with testdata/golden/NAME.json.
func golden(t *testing.T, name string, value json.RawMessage) {
	t.Helper()
	var got bytes.Buffer
	if err := json.Indent(&got, value, "", "  "); err != nil {
		t.Fatal(err)
	}
	got.WriteByte('\n')
	path := filepath.Join("testdata", "golden", name+".json")
	if *update {
		if err := os.WriteFile(path, got.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("%v; -update writes it", err)
	}
	if !bytes.Equal(got.Bytes(), want) {
		t.Errorf("%s is out of date; -update writes it. Got:\n%s", path, got.Bytes())
	}
}

// TestClients evaluates machines for both initrds: units, scripts, layout, file
// systems, boot loader.
func TestClients(t *testing.T) {
	for name, value := range evaluate(t, "clients") {
		golden(t, "client-"+name, value)

		var client struct {
			SameSystem bool
			System     struct{ Layout json.RawMessage }
		}
		if err := json.Unmarshal(value, &client); err != nil {
			t.Fatal(err)
		}
		if !client.SameSystem {
			t.Errorf("%s: the two initrds make different systems", name)
		}
		// A file of its own, for the parser of ravenboot-client.
		if layout := client.System.Layout; string(layout) != "null" && name != "wrong" {
			golden(t, "layout-"+name, layout)
		}
	}
}

func TestServers(t *testing.T) {
	for name, value := range evaluate(t, "servers") {
		golden(t, "server-"+name, value)
	}
}

func TestMistakesAreNamed(t *testing.T) {
	for name, option := range map[string]string{
		"label-with-space": "boot.ravenboot.disk.partitions",
		"label-too-long":   "boot.ravenboot.disk.partitions",
		"size-in-words":    "boot.ravenboot.disk.partitions",
		"unknown-format":   "boot.ravenboot.disk.partitions",
		"key-cut-short":    "boot.ravenboot.publicKeys",
		"misspelt":         "boot.ravenboot.onMissmatch",
	} {
		_, err := nix(t, "nix-instantiate", "--eval", "--strict", "--json", "testdata/eval.nix", "-A", "refused."+name)
		if err == nil || !strings.Contains(err.Error(), option) {
			t.Errorf("%s: want an error that names %s, got %v", name, option, err)
		}
	}
}

func TestFlake(t *testing.T) {
	out, err := nix(t, "nix-instantiate", "--eval", "--strict", "--json", "--expr",
		`with (import ./flake.nix).outputs { }; builtins.mapAttrs (_: builtins.pathExists) nixosModules`)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := strings.TrimSpace(string(out)), `{"client":true,"server":true}`; got != want {
		t.Errorf("modules %s, want %s", got, want)
	}
}

// TestUnit holds the service of server.nix against dist/ravenboot.service: who
// runs the server on NixOS shall not have it less confined.
func TestUnit(t *testing.T) {
	text, err := os.ReadFile("../dist/ravenboot.service")
	if err != nil {
		t.Fatal(err)
	}
	var server struct {
		Services struct {
			Ravenboot struct {
				ServiceConfig map[string]any
			}
		}
	}
	if err := json.Unmarshal(evaluate(t, "servers")["plain"], &server); err != nil {
		t.Fatal(err)
	}
	got := nixos.Lines(server.Services.Ravenboot.ServiceConfig)

	want := map[string][]string{}
	_, service, _ := strings.Cut(string(text), "[Service]\n")
	service, _, _ = strings.Cut(service, "[Install]")
	for line := range strings.Lines(service) {
		if key, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok && !strings.HasPrefix(key, "#") {
			want[key] = append(want[key], value)
		}
	}
	// Paths of NixOS, and a user that owns its files from one start to the next.
	for _, key := range []string{"ExecStartPre", "ExecStart", "ExecReload", "User", "Group", "DynamicUser"} {
		delete(got, key)
		delete(want, key)
	}
	for key := range want {
		if !slices.Equal(got[key], want[key]) {
			t.Errorf("%s: server.nix has %q, dist/ravenboot.service %q", key, got[key], want[key])
		}
		delete(got, key)
	}
	if len(got) > 0 {
		t.Errorf("server.nix has what dist/ravenboot.service hasn't: %q", got)
	}
}

// TestGo: any Go 1.26 that nixpkgs may have builds the programs, and where its
// default is older, that one is taken.
func TestGo(t *testing.T) {
	text, err := os.ReadFile("../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(text), "\ngo 1.26.0\n") {
		t.Error("go.mod doesn't say go 1.26.0, which package.nix takes for enough: change both")
	}
	for attribute, want := range map[string]string{"package": `"default"`, "packageWithOldGo": `"1.26"`} {
		if got := string(evaluate(t, attribute)["go"]); got != want {
			t.Errorf("%s is built by %s, want %s", attribute, got, want)
		}
	}
}

// TestVendorHash makes what nixpkgs' buildGoModule makes of the sources that
// package.nix names, a vendor directory, and compares its hash.
func TestVendorHash(t *testing.T) {
	var build struct {
		Src        []string
		VendorHash string
	}
	for key, into := range map[string]any{"src": &build.Src, "vendorHash": &build.VendorHash} {
		if err := json.Unmarshal(evaluate(t, "package")[key], into); err != nil {
			t.Fatalf("%s: %v", key, err)
		}
	}
	dir := t.TempDir()
	for _, source := range build.Src {
		copyWithoutTests(t, source, filepath.Join(dir, filepath.Base(source)))
	}
	cmd := exec.Command("go", "mod", "vendor")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOWORK=off", "GOFLAGS=")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go mod vendor: %v\n%s", err, out)
	}
	out, err := nix(t, "nix-hash", "--type", "sha256", filepath.Join(dir, "vendor"))
	if err != nil {
		t.Fatal(err)
	}
	sum, err := hex.DecodeString(strings.TrimSpace(string(out)))
	if err != nil {
		t.Fatal(err)
	}
	want := "sha256-" + base64.StdEncoding.EncodeToString(sum)
	if build.VendorHash == want {
		return
	}
	if !*update {
		t.Fatalf("package.nix: vendorHash is %s, but go.mod has come to need %s; -update writes it", build.VendorHash, want)
	}
	text, err := os.ReadFile("package.nix")
	if err != nil {
		t.Fatal(err)
	}
	changed := regexp.MustCompile(`sha256-[A-Za-z0-9+/]{43}=`).ReplaceAll(text, []byte(want))
	if err := os.WriteFile("package.nix", changed, 0o644); err != nil {
		t.Fatal(err)
	}
}

func copyWithoutTests(t *testing.T, from, to string) {
	t.Helper()
	err := filepath.WalkDir(from, func(path string, entry fs.DirEntry, err error) error {
		relative, _ := filepath.Rel(from, path)
		target := filepath.Join(to, relative)
		switch {
		case err != nil:
			return err
		case entry.IsDir():
			return os.MkdirAll(target, 0o755)
		case strings.HasSuffix(path, "_test.go"):
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(target, text, 0o644)
	})
	if err != nil {
		t.Fatal(err)
	}
}
