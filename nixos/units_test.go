package nixos_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"ravenboot/nixos"
)

// TestInitrdUnits has systemd judge the initrd's units among its own: that it
// understands every line, and can start everything in some order.
func TestInitrdUnits(t *testing.T) {
	var client struct {
		SystemdInitrd nixos.Initrd
	}
	if err := json.Unmarshal(evaluate(t, "clients")["rich"], &client); err != nil {
		t.Fatal(err)
	}
	units := client.SystemdInitrd.Units
	// What NixOS (systemd/initrd.nix) and systemd-fstab-generator have there.
	mount := func(where, label, check string) string {
		return "[Unit]\nDefaultDependencies=no\nRequires=" + check + "\nAfter=" + check + "\nBefore=initrd-root-fs.target\n" +
			"[Mount]\nWhat=/dev/disk/by-partlabel/" + label + "\nType=ext4\nWhere=" + where + "\n"
	}
	// Both wait for the store alone (initrd.nix, etc-activation.nix).
	find := "[Unit]\nDefaultDependencies=no\nRequiresMountsFor=/sysroot/nix/store\n" +
		"Before=initrd.target shutdown.target\nConflicts=shutdown.target\n[Service]\nType=oneshot\nExecStart=/bin/true\n"
	const storeCheck = `systemd-fsck@dev-disk-by\x2dpartlabel-nix\x2dstore.service`
	files := map[string]string{
		"sysroot.mount":                     mount("/sysroot", "nixos", "systemd-fsck-root.service"),
		"sysroot-nix.mount":                 mount("/sysroot/nix", "nix-store", storeCheck),
		"initrd-find-nixos-closure.service": find,
		"initrd-find-etc.service":           find,
	}
	requires := map[string][]string{
		"initrd-root-fs.target": {"sysroot.mount", "sysroot-nix.mount"},
		"initrd.target":         {"initrd-find-nixos-closure.service", "initrd-find-etc.service"},
		"network-online.target": {"systemd-networkd-wait-online.service"},
	}
	for name, u := range units {
		u.ServiceConfig["ExecStart"] = "/bin/true" // verify wants the programs to be there
		delete(u.ServiceConfig, "ExecStartPost")
		files[name+".service"] = u.Text()
		for _, by := range u.RequiredBy {
			requires[by] = append(requires[by], name+".service")
		}
	}
	if !slices.Contains(units["ravenboot-layout"].Before, storeCheck) {
		t.Errorf("%s isn't after the layout", storeCheck)
	}
	for _, name := range []string{"initrd-find-nixos-closure.service", "initrd-find-etc.service"} {
		if !slices.Contains(units["ravenboot-closure"].Before, name) || !slices.Contains(requires[name], "ravenboot-closure.service") {
			t.Errorf("%s doesn't wait for the closure", name)
		}
	}
	for _, name := range []string{"ravenboot-layout.service", "ravenboot-closure.service"} {
		if files[name] == "" {
			t.Errorf("no %s in the initrd", name)
		}
	}
	if out := verify(t, files, requires); out != "" {
		t.Errorf("systemd-analyze verify:\n%s", out)
	}

	// It must be able to tell.
	late := units["ravenboot-layout"]
	late.After = append(late.After, "sysroot.mount")
	files["ravenboot-layout.service"] = late.Text()
	if out := verify(t, files, requires); !strings.Contains(out, "ordering cycle") {
		t.Errorf("a disk that is laid out after it is mounted passes for an order:\n%s", out)
	}
}

// verify gives what systemd says against an initrd of its own units and others.
func verify(t *testing.T, files map[string]string, requires map[string][]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for name, others := range requires {
		if err := os.Mkdir(filepath.Join(dir, name+".requires"), 0o755); err != nil {
			t.Fatal(err)
		}
		for _, other := range others {
			if err := os.Symlink(other, filepath.Join(dir, name+".requires", other)); err != nil {
				t.Fatal(err)
			}
		}
	}
	cmd := exec.Command("systemd-analyze", "verify", "--man=no", "initrd.target")
	cmd.Env = append(os.Environ(), "SYSTEMD_IN_INITRD=1", "SYSTEMD_UNIT_PATH="+dir+":/lib/systemd/system")
	out, err := cmd.CombinedOutput()
	if err != nil && len(out) == 0 {
		t.Fatalf("%v: install the Debian package systemd", err)
	}
	return string(out)
}
