package assets

import (
	"bytes"
	"errors"
	"net/netip"
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
		return []string{"--get", "--option", "blksize 1428", "--option", "tsize 0", "-r", file, "-l", to, "127.0.0.1", port}
	}},
	{"busybox", "busybox", func(port, file, to string) []string {
		return []string{"tftp", "-g", "-b", "1432", "-r", file, "-l", to, "127.0.0.1", port}
	}},
	{"busybox", "busybox", func(port, file, to string) []string {
		return []string{"tftp", "-g", "-r", file, "-l", to, "127.0.0.1", port}
	}},
}

// fetchAll has every client download the loader and compares what it got. One
// that gives up is started again, up to so many attempts in all.
func fetchAll(t *testing.T, config TFTPConfig, size, attempts int) {
	loader := program(amd64, size)
	server := startTFTP(t, config, only(write(t, map[string][]byte{"snponly.efi": loader})))
	for i, f := range fetches {
		to := filepath.Join(t.TempDir(), strconv.Itoa(i))
		args := f.args(strconv.Itoa(int(server.Port())), "52-54-00-12-34-56/snponly.efi", to)
		var out []byte
		err := errors.New("not started")
		for n := 0; n < attempts && err != nil; n++ {
			out, err = exec.Command(tool(t, f.name, f.debianPackage), args...).CombinedOutput()
		}
		if err != nil {
			t.Errorf("%s %v: %v\n%s", f.name, args, err, out)
			continue
		}
		if got, err := os.ReadFile(to); err != nil || !bytes.Equal(got, loader) {
			t.Errorf("%s %v: %d bytes, want %d: %v", f.name, args, len(got), size, err)
		}
	}
}

func TestPeers(t *testing.T) {
	modes(t, func(t *testing.T, config TFTPConfig) { fetchAll(t, config, 1_000_003, 1) })
}

// ownNetwork is set for a test binary that runs in a network of its own.
const ownNetwork = "RAVENBOOT_TEST_OWN_NETWORK"

// inOwnNetwork runs the test that calls it again, in a process with a network of
// its own, where it returns the loopback interface. In the first process it
// returns nil, after that. A server opens sockets from any thread, so that a
// namespace of one thread is of no use.
func inOwnNetwork(t *testing.T) netlink.Link {
	t.Helper()
	if os.Getenv(ownNetwork) == t.Name() {
		lo, err := netlink.LinkByName("lo")
		if err == nil {
			err = netlink.LinkSetUp(lo)
		}
		if err != nil {
			t.Fatal(err)
		}
		return lo
	}
	cmd := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.timeout=5m")
	cmd.Env = append(os.Environ(), ownNetwork+"="+t.Name())
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	runtime.LockOSThread() // Pdeathsig is about the thread
	defer runtime.UnlockOSThread()
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: run the tests as root, or in `unshare -Urnm`\n%s", err, out)
	}
	return nil
}

// TestLoss is TestPeers where one packet of twenty gets lost, each way.
func TestLoss(t *testing.T) {
	if inOwnNetwork(t) == nil {
		return
	}
	// Not netem, which few kernels of test machines have.
	out, err := exec.Command(tool(t, "iptables", "iptables"), "-A", "INPUT", "-p", "udp",
		"-m", "statistic", "--mode", "random", "--probability", "0.05", "-j", "DROP").CombinedOutput()
	if err != nil {
		t.Fatalf("iptables: %v\n%s", err, out)
	}
	modes(t, func(t *testing.T, config TFTPConfig) {
		t.Parallel()
		// atftp repeats itself every 5 s only, and gives up if that is lost, too.
		fetchAll(t, config, 30_003, 2)
	})
}

// TestMTU asks for larger blocks than the interface's packets hold, as over
// WireGuard (fogproject PR#455).
func TestMTU(t *testing.T) {
	lo := inOwnNetwork(t)
	if lo == nil {
		return
	}
	if err := netlink.LinkSetMTU(lo, 1420); err != nil {
		t.Fatal(err)
	}
	loaders := only(write(t, map[string][]byte{"snponly.efi": program(amd64, 5000)}))
	modes(t, func(t *testing.T, config TFTPConfig) {
		w := ask(t, startTFTP(t, config, loaders), 1, "snponly.efi", "blksize", "1468")
		if got := w.options()["blksize"]; got != "1388" {
			t.Errorf("block size %s, want 1388", got)
		}
		if file := w.rest(1388); len(file) != 5000 {
			t.Errorf("%d bytes, want 5000", len(file))
		}
	})
}

// TestAddresses asks at several addresses of the server, and expects the answer
// and the script to come from the one that was asked.
func TestAddresses(t *testing.T) {
	loaders := only(write(t, map[string][]byte{"snponly.efi": program(amd64, 600)}))
	modes(t, func(t *testing.T, config TFTPConfig) {
		for _, listen := range []string{"0.0.0.0:0", "[::]:0"} {
			config.Listen = listen
			server := startTFTP(t, config, loaders)
			for _, addr := range []string{"127.0.0.1", "127.0.0.2", "127.9.8.7"} {
				asked := netip.AddrPortFrom(netip.MustParseAddr(addr), server.Port())
				w := ask(t, asked, 1, "525400123456/autoexec.ipxe")
				if got, want := string(w.receive()[4:]), "#!ipxe\n# 52:54:00:12:34:56 at "+addr+"\n"; got != want {
					t.Errorf("%s: %q, want %q", asked, got, want)
				}
				if w.to.Addr() != asked.Addr() {
					t.Errorf("%s answers from %s", asked, w.to)
				}
			}
		}
	})
}
