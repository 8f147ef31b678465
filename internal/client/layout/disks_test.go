package layout

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// machine makes a root directory as the kernel and udev would show it: files by
// path, links by a path that begins with "->".
func machine(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, text := range files {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		var err error
		if to, link := strings.CutPrefix(text, "->"); link {
			err = os.Symlink(to, path)
		} else {
			err = os.WriteFile(path, []byte(text), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return root
}

// office has disks of all kinds.
var office = map[string]string{
	// A SATA disk with its partitions, one of them part of a volume group.
	"sys/block/sda": "->../devices/pci0/ata1/host0/target0/0:0:0:0/block/sda",
	"sys/devices/pci0/ata1/host0/target0/0:0:0:0/block/sda/size":                     "976773168\n",
	"sys/devices/pci0/ata1/host0/target0/0:0:0:0/block/sda/dev":                      "8:0\n",
	"sys/devices/pci0/ata1/host0/target0/0:0:0:0/block/sda/ro":                       "0\n",
	"sys/devices/pci0/ata1/host0/target0/0:0:0:0/block/sda/removable":                "0\n",
	"sys/devices/pci0/ata1/host0/target0/0:0:0:0/block/sda/queue/logical_block_size": "512\n",
	"sys/devices/pci0/ata1/host0/target0/0:0:0:0/block/sda/device/model":             "Samsung SSD 860 \n",
	"sys/devices/pci0/ata1/host0/target0/0:0:0:0/block/sda/device/wwid":              "naa.5002538e40a1b2c3\n",
	"sys/devices/pci0/ata1/host0/target0/0:0:0:0/block/sda/device/vpd_pg80":          "\x00\x80\x00\x10S3Z9NB0K123456  ",
	"sys/devices/pci0/ata1/host0/target0/0:0:0:0/block/sda/sda1/partition":           "1\n",
	"sys/devices/pci0/ata1/host0/target0/0:0:0:0/block/sda/sda1/dev":                 "8:1\n",
	"sys/devices/pci0/ata1/host0/target0/0:0:0:0/block/sda/sda1/holders/dm-0":        "->../../dm-0",
	"dev/disk/by-id/ata-Samsung_SSD_860_EVO_500GB_S3Z9NB0K123456":                    "->../../sda",
	"dev/disk/by-id/wwn-0x5002538e40a1b2c3":                                          "->../../sda",
	"dev/disk/by-id/wwn-0x5002538e40a1b2c3-part1":                                    "->../../sda1",

	// An NVMe disk with several ways to it, all but one of them hidden.
	"sys/block/nvme0n1": "->../devices/virtual/nvme-subsystem/nvme-subsys0/nvme0n1",
	"sys/devices/virtual/nvme-subsystem/nvme-subsys0/nvme0n1/size":                     "7814037168\n",
	"sys/devices/virtual/nvme-subsystem/nvme-subsys0/nvme0n1/dev":                      "259:0\n",
	"sys/devices/virtual/nvme-subsystem/nvme-subsys0/nvme0n1/wwid":                     "eui.0025385b71b0a1b2\n",
	"sys/devices/virtual/nvme-subsystem/nvme-subsys0/nvme0n1/queue/logical_block_size": "4096\n",
	"sys/devices/virtual/nvme-subsystem/nvme-subsys0/nvme0n1/device/model":             "Samsung SSD 980 PRO 4TB                 \n",
	"sys/devices/virtual/nvme-subsystem/nvme-subsys0/nvme0n1/device/serial":            "S69ENF0R123456      \n",
	"sys/block/nvme0c0n1/size":   "7814037168\n",
	"sys/block/nvme0c0n1/hidden": "1\n",

	"sys/block/vda/size":   "41943040\n",
	"sys/block/vda/dev":    "254:0\n",
	"sys/block/vda/serial": "LAB1",

	"sys/block/sdb": "->../devices/pci0/usb1/1-1/host6/block/sdb",
	"sys/devices/pci0/usb1/1-1/host6/block/sdb/size": "62500000\n",
	"sys/block/sdc/size":                             "62500000\n",
	"sys/block/sdc/removable":                        "1\n",
	"sys/block/sdd/size":                             "62500000\n",
	"sys/block/sdd/ro":                               "1\n",
	"sys/block/sr0/size":                             "62500000\n",
	"sys/block/loop0/size":                           "62500000\n",
	"sys/block/loop1/size":                           "0\n",
	"sys/block/dm-0/size":                            "62500000\n",
	"sys/block/md127/size":                           "62500000\n",
	"sys/block/mmcblk0/size":                         "62500000\n",
	"sys/block/mmcblk0/mmcblk0p2/partition":          "2\n",
	"sys/block/mmcblk0/mmcblk0p2/dev":                "179:2\n",
	"sys/block/mmcblk0boot0/size":                    "8192\n",
	"sys/block/cciss!c0d0/size":                      "62500000\n",
	"proc/self/mountinfo":                            "36 35 0:40 / /mnt rw,noatime shared:1 - btrfs /dev/mmcblk0p2 rw\n37 35 254:0 / /srv rw - ext4 /dev/root rw\n\n- \n",
	"proc/swaps":                                     "Filename Type Size Used Priority\n/dev/cciss/c0d0 partition 1 0 -2\n",
}

func TestDisks(t *testing.T) {
	got, err := disksBelow(machine(t, office))
	if err != nil {
		t.Fatal(err)
	}
	const stick = 62500000 * 512
	want := []Disk{
		{Path: "/dev/cciss/c0d0", Size: stick, SectorSize: 512, InUse: "/dev/cciss/c0d0 is used as swap"},
		{Path: "/dev/dm-0", Size: stick, SectorSize: 512, Unfit: "no disk of its own"},
		{Path: "/dev/loop0", Size: stick, SectorSize: 512, Unfit: "no disk of its own"},
		{Path: "/dev/md127", Size: stick, SectorSize: 512, Unfit: "no disk of its own"},
		{Path: "/dev/mmcblk0", Size: stick, SectorSize: 512, InUse: "/dev/mmcblk0p2 is mounted on /mnt"},
		{Path: "/dev/mmcblk0boot0", Size: 4 * mib, SectorSize: 512, Unfit: "a boot area of another disk"},
		{Path: "/dev/nvme0n1", Size: 7814037168 * 512, SectorSize: 4096, Model: "Samsung SSD 980 PRO 4TB", Serial: "S69ENF0R123456",
			WWID: "eui.0025385b71b0a1b2", IDs: []string{"nvme-Samsung_SSD_980_PRO_4TB_S69ENF0R123456", "nvme-eui.0025385b71b0a1b2"}},
		{Path: "/dev/sda", Size: 976773168 * 512, SectorSize: 512, Model: "Samsung SSD 860", Serial: "S3Z9NB0K123456", WWID: "naa.5002538e40a1b2c3",
			IDs: []string{"ata-Samsung_SSD_860_EVO_500GB_S3Z9NB0K123456", "wwn-0x5002538e40a1b2c3"}, InUse: "/dev/sda1 is part of /dev/dm-0"},
		{Path: "/dev/sdb", Size: stick, SectorSize: 512, Unfit: "on USB"},
		{Path: "/dev/sdc", Size: stick, SectorSize: 512, Unfit: "removable"},
		{Path: "/dev/sdd", Size: stick, SectorSize: 512, Unfit: "read-only"},
		{Path: "/dev/sr0", Size: stick, SectorSize: 512, Unfit: "no disk of its own"},
		{Path: "/dev/vda", Size: 20 * gib, SectorSize: 512, Serial: "LAB1", IDs: []string{"virtio-LAB1"}, InUse: "/dev/vda is mounted on /srv"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestFind(t *testing.T) {
	disks, err := disksBelow(machine(t, office))
	if err != nil {
		t.Fatal(err)
	}
	none := `no disk is %s; this machine has
  /dev/sda  465.8G  Samsung SSD 860, serial S3Z9NB0K123456
    byId: ata-Samsung_SSD_860_EVO_500GB_S3Z9NB0K123456 wwn-0x5002538e40a1b2c3
    /dev/sda1 is part of /dev/dm-0
  /dev/sdb  30517.6M  unknown model, serial unknown
    on USB`
	some := slices.DeleteFunc(slices.Clone(disks), func(d Disk) bool { return d.Path != "/dev/sda" && d.Path != "/dev/sdb" })
	twins := []Disk{{Path: "/dev/vda", Size: gib, IDs: []string{"virtio-x"}}, {Path: "/dev/vdb", Size: gib, IDs: []string{"virtio-x"}}}
	twinsAre := "; declare it by path or byId; this machine has\n  /dev/vda  1G  unknown model, serial unknown\n    byId: virtio-x" +
		"\n  /dev/vdb  1G  unknown model, serial unknown\n    byId: virtio-x"
	for _, test := range []struct {
		name  string
		rule  string
		disks []Disk
		want  string // a path or an error
	}{
		{"path", `{"path": "/dev/nvme0n1"}`, disks, "/dev/nvme0n1"},
		{"unfit by path", `{"path": "/dev/sdc"}`, disks, "/dev/sdc"},
		{"stick by path", `{"path": "/dev/sdb"}`, disks, "/dev/sdb is on USB, where its name goes to whatever is plugged in; " +
			"if it is meant, declare its path below /dev/disk/by-id or /dev/disk/by-path"},
		{"in use", `{"path": "/dev/mmcblk0"}`, disks, "/dev/mmcblk0 is in use: /dev/mmcblk0p2 is mounted on /mnt"},
		{"partition", `{"path": "/dev/sda1"}`, some, fmt.Sprintf(none, "/dev/sda1")},
		{"by id", `{"byId": "nvme-eui.0025385b71b0a1b2"}`, disks, "/dev/nvme0n1"},
		{"unknown id", `{"byId": "x"}`, some, fmt.Sprintf(none, `"x" by its id`)},
		{"two of an id", `{"byId": "virtio-x"}`, twins, `2 disks are "virtio-x" by its id, and it must be one` + twinsAre},
		{"size", `{"size": {"min": "1T"}}`, disks, "/dev/nvme0n1"},
		{"only a stick", `{"size": {"max": "100G"}}`, some, fmt.Sprintf(none, "at most 100G large")},
		{"two sizes", `{"size": {"min": "1M", "max": "1G"}}`, twins, "2 disks are between 1M and 1G large, and it must be one" + twinsAre},
		{"none", `{"size": {"min": "1T"}}`, nil, "no disk is at least 1T large; this machine has no disks that the kernel knows; is the driver in the initrd?"},
	} {
		t.Run(test.name, func(t *testing.T) {
			d, err := mustParse(t, disk(test.rule)).Find(test.disks)
			got := d.Path
			if err != nil {
				got = err.Error()
			}
			if got != test.want {
				t.Errorf("got\n%s\nwant\n%s", got, test.want)
			}
		})
	}
}

// A link that udev makes by what a disk is, or where, is meant: a disk on USB can
// be a machine's only one.
func TestFindOnUSBByLink(t *testing.T) {
	stick := Disk{Path: "/dev/null", Unfit: onUSB}
	link := filepath.Join(t.TempDir(), "usb-stick")
	if err := os.Symlink(stick.Path, link); err != nil {
		t.Fatal(err)
	}
	d, err := Layout{Disk: Rule{Path: link}}.Find([]Disk{stick})
	if err != nil || d.Path != stick.Path {
		t.Errorf("%+v, %v", d, err)
	}
}
