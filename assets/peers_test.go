package assets

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"
	"testing"

	"github.com/vishvananda/netlink"
)

// fetch is how a client of others' making downloads a file.
type fetch struct {
	name, debianPackage string
	args                func(port, file, to string) []string
}

var fetches = []fetch{
	{"curl", "curl", func(port, file, to string) []string {
		return []string{"-sS", "--max-time", "120", "-o", to, "tftp://127.0.0.1:" + port + "/" + file}
	}},
	{"curl", "curl", func(port, file, to string) []string {
		return []string{"-sS", "--max-time", "120", "--tftp-blksize", "1400", "-o", to, "tftp://127.0.0.1:" + port + "/" + file}
	}},
	{"curl", "curl", func(port, file, to string) []string {
		return []string{"-sS", "--max-time", "120", "--tftp-no-options", "-o", to, "tftp://127.0.0.1:" + port + "/" + file}
	}},
	{"atftp", "atftp", func(port, file, to string) []string {
		return []string{"--get", "--option", "blksize 1428", "--option", "tsize 0", "--option", "timeout 2", "-r", file, "-l", to, "127.0.0.1", port}
	}},
	{"busybox", "busybox", func(port, file, to string) []string {
		return []string{"tftp", "-g", "-b", "1432", "-r", file, "-l", to, "127.0.0.1", port}
	}},
	{"busybox", "busybox", func(port, file, to string) []string {
		return []string{"tftp", "-g", "-r", file, "-l", to, "127.0.0.1", port}
	}},
}

// fetchAll has every client download the loader and compares what it got.
func fetchAll(t *testing.T, config TFTPConfig, size int) {
	loader := program(amd64, size)
	server := startTFTP(t, config, only(write(t, map[string][]byte{"snponly.efi": loader})))
	for i, f := range fetches {
		to := filepath.Join(t.TempDir(), strconv.Itoa(i))
		args := f.args(strconv.Itoa(int(server.Port())), "52-54-00-12-34-56/snponly.efi", to)
		if out, err := exec.Command(tool(t, f.name, f.debianPackage), args...).CombinedOutput(); err != nil {
			t.Errorf("%s %v: %v\n%s", f.name, args, err, out)
			continue
		}
		if got, err := os.ReadFile(to); err != nil || !bytes.Equal(got, loader) {
			t.Errorf("%s %v: %d bytes, want %d: %v", f.name, args, len(got), size, err)
		}
	}
}

func TestPeers(t *testing.T) {
	modes(t, func(t *testing.T, config TFTPConfig) { fetchAll(t, config, 1_000_003) })
}

// lossy is set for the test binary that runs in a network of its own.
const lossy = "RAVENBOOT_TEST_LOSSY"

// TestLoss does the same where one packet of twenty gets lost, each way. The
// server's sockets must all be in the network that loses them, so it is the
// network of a whole process.
func TestLoss(t *testing.T) {
	if os.Getenv(lossy) != "" {
		loseOnLoopback(t, "0.05")
		modes(t, func(t *testing.T, config TFTPConfig) {
			t.Parallel()
			fetchAll(t, config, 30_003)
		})
		return
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestLoss$", "-test.timeout=5m")
	cmd.Env = append(os.Environ(), lossy+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	runtime.LockOSThread() // Pdeathsig is about the thread
	defer runtime.UnlockOSThread()
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: run the tests as root, or in `unshare -Urnm`\n%s", err, out)
	}
}

// loseOnLoopback brings the loopback interface up, and has it lose packets.
func loseOnLoopback(t *testing.T, probability string) {
	t.Helper()
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		t.Fatal(err)
	}
	if err := netlink.LinkSetUp(lo); err != nil {
		t.Fatal(err)
	}
	// Not netem, which few kernels of test machines have.
	out, err := exec.Command(tool(t, "iptables", "iptables"), "-A", "INPUT", "-p", "udp",
		"-m", "statistic", "--mode", "random", "--probability", probability, "-j", "DROP").CombinedOutput()
	if err != nil {
		t.Fatalf("iptables: %v\n%s", err, out)
	}
}
