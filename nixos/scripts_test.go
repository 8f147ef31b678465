package nixos_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestScriptedInitrd runs the commands of the scripted initrd in a shell where
// the programs only say how they were called.
func TestScriptedInitrd(t *testing.T) {
	var client struct {
		ScriptedInitrd struct{ Scripts map[string]string }
	}
	if err := json.Unmarshal(evaluate(t, "clients")["rich"], &client); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name, hook, status, want string
	}{
		{"layout", "preLVMCommands", "0",
			"ravenboot-client layout -layout /nix/store/ravenboot-layout.json\nudevadm settle\n"},
		{"layout that fails", "preLVMCommands", "1",
			"ravenboot-client layout -layout /nix/store/ravenboot-layout.json\nfail\nudevadm settle\n"},
		{"closure", "postMountCommands", "0",
			"ravenboot-client closure -root /mnt-root -public-key " + testKey + " -public-key " + testKey + "\n"},
		{"closure that fails", "postMountCommands", "1",
			"ravenboot-client closure -root /mnt-root -public-key " + testKey + " -public-key " + testKey + "\nfail\n"},
		{"programs", "extraUtilsCommands", "0", `copy_bin_and_libs /nix/store/ravenboot-client/bin/ravenboot-client
copy_bin_and_libs /nix/store/dosfstools/bin/mkfs.fat
ln -sf mkfs.fat /out/bin/mkfs.vfat
copy_bin_and_libs /nix/store/util-linux-bin/bin/mkswap
copy_bin_and_libs /nix/store/xfsprogs-bin/bin/mkfs.xfs
copy_bin_and_libs /nix/store/btrfs-progs/bin/mkfs.btrfs
copy_bin_and_libs /nix/store/e2fsprogs-bin/bin/mke2fs
ln -sf mke2fs /out/bin/mkfs.ext4
copy_bin_and_libs /nix/store/nix/bin/nix
`},
	} {
		t.Run(test.name, func(t *testing.T) {
			bin := t.TempDir()
			for _, program := range []string{"ravenboot-client", "udevadm", "fail", "copy_bin_and_libs", "ln"} {
				said := "#!/bin/sh\necho " + program + " \"$@\"\n"
				if program == "ravenboot-client" {
					said += "exit " + test.status + "\n"
				}
				if err := os.WriteFile(filepath.Join(bin, program), []byte(said), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			cmd := exec.Command("/bin/sh", "-u", "-c", client.ScriptedInitrd.Scripts[test.hook])
			cmd.Env = []string{"PATH=" + bin, "out=/out"}
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			// echo leaves a blank where there are no arguments.
			if got := strings.ReplaceAll(string(out), " \n", "\n"); got != test.want {
				t.Errorf("got\n%s\nwant\n%s", got, test.want)
			}
		})
	}
}

const testKey = "lab-server-1:6NCHdD59X431o0gWypbMrAURkbJ16ZPMQFGspcDShjY="
