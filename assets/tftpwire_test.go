package assets

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/pin/tftp/v3"
)

// wire is a TFTP client that does no more than it is told.
type wire struct {
	t    *testing.T
	conn *net.UDPConn
	to   netip.AddrPort // the server's port for this transfer
	buf  [4096]byte
}

// ask sends a request of type op for a file with options, in their order.
func ask(t *testing.T, server netip.AddrPort, op byte, name string, options ...string) *wire {
	t.Helper()
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	w := &wire{t: t, conn: conn, to: server}
	packet := []byte{0, op}
	for _, field := range append([]string{name, "octet"}, options...) {
		packet = append(append(packet, field...), 0)
	}
	w.send(packet)
	return w
}

func (w *wire) send(packet []byte) {
	w.t.Helper()
	if _, err := w.conn.WriteToUDPAddrPort(packet, w.to); err != nil {
		w.t.Fatal(err)
	}
}

// receive is the next packet, and the port it comes from is the transfer's.
func (w *wire) receive() []byte {
	w.t.Helper()
	p, err := w.receiveWithin(10 * time.Second)
	if err != nil {
		w.t.Fatal(err)
	}
	return p
}

func (w *wire) receiveWithin(d time.Duration) ([]byte, error) {
	if err := w.conn.SetReadDeadline(time.Now().Add(d)); err != nil {
		return nil, err
	}
	n, from, err := w.conn.ReadFromUDPAddrPort(w.buf[:])
	if err != nil {
		return nil, err
	}
	w.to = from
	return w.buf[:n], nil
}

func (w *wire) ack(block uint16) { w.send(binary.BigEndian.AppendUint16([]byte{0, 4}, block)) }

func (w *wire) abort(code byte) { w.send([]byte{0, 5, 0, code, 'n', 'o', 0}) }

// options reads an OACK.
func (w *wire) options() map[string]string {
	w.t.Helper()
	p := w.receive()
	if p[1] != 6 {
		w.t.Fatalf("packet %q instead of an OACK", p)
	}
	fields := strings.Split(string(p[2:]), "\x00")
	options := map[string]string{}
	for i := 0; i+1 < len(fields); i += 2 {
		options[fields[i]] = fields[i+1]
	}
	return options
}

// rest takes the file, after an OACK.
func (w *wire) rest(blksize int) []byte {
	w.t.Helper()
	var file []byte
	for block := uint16(0); ; {
		w.ack(block)
		p := w.receive()
		if p[1] != 3 {
			w.t.Fatalf("packet %q instead of data", p)
		}
		if got := binary.BigEndian.Uint16(p[2:]); got != block+1 {
			continue // sent again
		}
		block++
		file = append(file, p[4:]...)
		if len(p)-4 < blksize {
			w.ack(block)
			return file
		}
	}
}

func (w *wire) refusal() string {
	w.t.Helper()
	p := w.receive()
	if p[1] != 5 {
		w.t.Fatalf("packet %q instead of an error", p)
	}
	return string(bytes.TrimRight(p[4:], "\x00"))
}

// modes runs a test with a port for each transfer, and with one for all.
func modes(t *testing.T, test func(t *testing.T, config TFTPConfig)) {
	t.Run("ports", func(t *testing.T) { test(t, TFTPConfig{}) })
	t.Run("single port", func(t *testing.T) { test(t, TFTPConfig{SinglePort: true}) })
}

// TestOVMF is what OVMF does: it asks for the size, breaks off, and asks again
// (pin/tftp#125).
func TestOVMF(t *testing.T) {
	loader := program(amd64, 5000)
	loaders := only(write(t, map[string][]byte{"snponly.efi": loader}))
	modes(t, func(t *testing.T, config TFTPConfig) {
		var seen observed
		config.Observe, config.ScriptForLoader = seen.observe, true
		server := startTFTP(t, config, loaders)
		options := []string{"tsize", "0", "blksize", "1468", "windowsize", "4"}

		probe := ask(t, server, 1, "52-54-00-12-34-56/snponly.efi", options...)
		if got := probe.options(); got["tsize"] != "5000" {
			t.Errorf("options %v, want tsize 5000", got)
		}
		probe.abort(8)
		seen.wait(t, "tftp loader probe", 1)

		again := ask(t, server, 1, "52-54-00-12-34-56/snponly.efi", options...)
		got := again.options()
		if got["tsize"] != "5000" || got["blksize"] != "1468" {
			t.Errorf("options %v", got)
		}
		if file := again.rest(1468); !bytes.Equal(file, loader) {
			t.Errorf("%d bytes, want the loader's %d", len(file), len(loader))
		}
		seen.wait(t, "tftp loader sent", 1)
	})
}

// TestAskedByIPXE is FIELD-NOTES 4: iPXE's own request for the loader.
func TestAskedByIPXE(t *testing.T) {
	loader := program(amd64, 5000)
	loaders := only(write(t, map[string][]byte{"snponly.efi": loader}))
	script := "#!ipxe\n# 52:54:00:12:34:56 at 127.0.0.1\n"
	modes(t, func(t *testing.T, config TFTPConfig) {
		for _, row := range []struct {
			name     string
			turnedOn bool
			options  []string
			script   bool
		}{
			{"iPXE", true, []string{"blksize", "1432", "tsize", "0"}, true},
			{"iPXE, and the setting is off", false, []string{"blksize", "1432", "tsize", "0"}, false},
			{"OVMF", true, []string{"tsize", "0", "blksize", "1468", "windowsize", "4"}, false},
			{"another block size", true, []string{"blksize", "1456", "tsize", "0"}, false},
			{"the other order", true, []string{"tsize", "0", "blksize", "1432"}, false},
			{"one option more", true, []string{"blksize", "1432", "tsize", "0", "timeout", "3"}, false},
			{"one option less", true, []string{"blksize", "1432"}, false},
		} {
			config.ScriptForLoader = row.turnedOn
			w := ask(t, startTFTP(t, config, loaders), 1, "52-54-00-12-34-56/snponly.efi", row.options...)
			blksize, err := strconv.Atoi(w.options()["blksize"])
			if err != nil {
				t.Fatal(err)
			}
			if file := w.rest(blksize); (string(file) == script) != row.script || !row.script && !bytes.Equal(file, loader) {
				t.Errorf("%s: got %.50q", row.name, file)
			}
		}
	})
}

func TestBlockSize(t *testing.T) {
	loaders := only(write(t, map[string][]byte{"snponly.efi": program(amd64, 5000)}))
	modes(t, func(t *testing.T, config TFTPConfig) {
		for _, row := range []struct{ setting, asked, want int }{
			{0, 1468, 1468}, {0, 65464, 1468}, {0, 512, 512}, {1024, 1468, 1024}, {1388, 1456, 1388}, {0, 1000, 1000},
		} {
			config.BlockSize = row.setting
			w := ask(t, startTFTP(t, config, loaders), 1, "snponly.efi", "blksize", strconv.Itoa(row.asked))
			if got := w.options()["blksize"]; got != strconv.Itoa(row.want) {
				t.Errorf("setting %d, asked for %d: got %s, want %d", row.setting, row.asked, got, row.want)
			}
			if file := w.rest(row.want); len(file) != 5000 {
				t.Errorf("setting %d, asked for %d: %d bytes", row.setting, row.asked, len(file))
			}
		}
	})
}

// TestWithoutOptions is RFC 1350 alone, with a file that ends with a whole block.
func TestWithoutOptions(t *testing.T) {
	loader := program(amd64, 1024)
	loaders := only(write(t, map[string][]byte{"snponly.efi": loader}))
	modes(t, func(t *testing.T, config TFTPConfig) {
		w := ask(t, startTFTP(t, config, loaders), 1, "snponly.efi")
		var file []byte
		for block := uint16(1); block <= 3; block++ {
			p := w.receive()
			if p[1] != 3 || binary.BigEndian.Uint16(p[2:]) != block {
				t.Fatalf("packet %.10q instead of block %d", p, block)
			}
			file = append(file, p[4:]...)
			w.ack(block)
		}
		if !bytes.Equal(file, loader) {
			t.Errorf("%d bytes, want %d", len(file), len(loader))
		}
	})
}

// TestLostAcknowledgement doesn't answer the first time.
func TestLostAcknowledgement(t *testing.T) {
	loaders := only(write(t, map[string][]byte{"snponly.efi": program(amd64, 600)}))
	modes(t, func(t *testing.T, config TFTPConfig) {
		w := ask(t, startTFTP(t, config, loaders), 1, "snponly.efi")
		first := bytes.Clone(w.receive())
		if again := w.receive(); !bytes.Equal(first, again) {
			t.Errorf("sent again: %.10q, want %.10q", again, first)
		}
		w.ack(1)
		for p := w.receive(); p[3] != 2; p = w.receive() {
		}
		w.ack(2)
		// A repeated acknowledgement must not make the server send more, which
		// is the Sorcerer's Apprentice of RFC 1123 4.2.3.1.
		w.ack(1)
		if p, err := w.receiveWithin(600 * time.Millisecond); err == nil && p[1] == 3 {
			t.Errorf("packet %.10q after the end", p)
		}
	})
}

func TestRefused(t *testing.T) {
	loaders := only(write(t, map[string][]byte{"snponly.efi": program(amd64, 600)}))
	modes(t, func(t *testing.T, config TFTPConfig) {
		var seen observed
		config.Observe = seen.observe
		server := startTFTP(t, config, loaders)
		for _, name := range []string{"pxelinux.0", "../../etc/passwd", "", "/", "..", "\xff", strings.Repeat("a", 400)} {
			if got := ask(t, server, 1, name, "blksize", "1468").refusal(); got != errNotOffered.Error() {
				t.Errorf("%.20q: %q", name, got)
			}
		}
		seen.wait(t, "tftp loader not found", 7)
		if got := ask(t, server, 2, "snponly.efi").refusal(); got != errReadOnly.Error() {
			t.Errorf("write request: %q", got)
		}
	})
}

func TestBusy(t *testing.T) {
	loaders := only(write(t, map[string][]byte{"snponly.efi": program(amd64, 600)}))
	modes(t, func(t *testing.T, config TFTPConfig) {
		var seen observed
		config.MaxTransfers, config.Observe = 1, seen.observe
		server := startTFTP(t, config, loaders)
		first := ask(t, server, 1, "snponly.efi")
		first.receive()
		second := ask(t, server, 1, "snponly.efi")
		seen.wait(t, "tftp loader busy", 1)
		first.abort(0)
		seen.wait(t, "tftp loader failed", 1)
		// An error would have ended the machine's boot, so it got no answer; it
		// asks again.
		second.send([]byte("\x00\x01snponly.efi\x00octet\x00"))
		if p := second.receive(); p[1] != 3 {
			t.Errorf("packet %.10q after the place was free again", p)
		}
	})
}

// TestGarbage sends what no client should, and then a proper request, from the
// same ports and from another.
func TestGarbage(t *testing.T) {
	loaders := only(write(t, map[string][]byte{"snponly.efi": program(amd64, 600)}))
	modes(t, func(t *testing.T, config TFTPConfig) {
		server := startTFTP(t, config, loaders)
		for _, garbage := range []string{
			"\x00", "\x00\x01", "\x00\x01\x00", "\x00\x01snponly.efi", "\x00\x01snponly.efi\x00", "\x00\x03\x00\x01data", "\x00\x04\x00\x01",
			"\x00\x05\x00\x00x\x00", "\x00\x06blksize\x001432\x00", "\xff\xff\xff\xff", "\x00\x01\x00\x00\x00\x00\x00\x00\x00\x00",
			"\x00\x01snponly.efi\x00octet\x00blksize\x00-1\x00", "\x00\x01snponly.efi\x00octet\x00blksize\x0099999999999999\x00tsize\x00x\x00",
			"\x00\x01" + strings.Repeat("\x00", 600), "\x00\x01" + strings.Repeat("A", 2000),
		} {
			w := ask(t, server, 9, "")
			w.send([]byte(garbage))
		}
		again := ask(t, server, 4, "an acknowledgement of nothing")
		again.send([]byte("\x00\x01snponly.efi\x00octet\x00"))
		for p := again.receive(); p[1] != 3; p = again.receive() {
		}
		if p := ask(t, server, 1, "snponly.efi").receive(); p[1] != 3 {
			t.Errorf("packet %.20q instead of data", p)
		}
	})
}

// TestFlood lets many clients send late and repeated packets at the end of their
// transfers, which is where a server that gives a port to several gets confused.
func TestFlood(t *testing.T) {
	loaders := only(write(t, map[string][]byte{"snponly.efi": program(amd64, 600)}))
	modes(t, func(t *testing.T, config TFTPConfig) {
		server := startTFTP(t, config, loaders)
		errs := make(chan error)
		for range 20 {
			go func() { errs <- repeatAll(server, 20) }()
		}
		for range 20 {
			if err := <-errs; err != nil {
				t.Fatal(err)
			}
		}
	})
}

func repeatAll(server netip.AddrPort, times int) error {
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return err
	}
	defer conn.Close()
	buf := make([]byte, 1024)
	for range times {
		if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
			return err
		}
		if _, err := conn.WriteToUDPAddrPort([]byte("\x00\x01snponly.efi\x00octet\x00"), server); err != nil {
			return err
		}
		for block := byte(1); block <= 2; {
			n, from, err := conn.ReadFromUDPAddrPort(buf)
			if err != nil {
				return fmt.Errorf("waiting for block %d: %w", block, err)
			}
			if n < 4 || buf[1] != 3 || buf[3] != block {
				continue
			}
			for range 5 {
				if _, err := conn.WriteToUDPAddrPort([]byte{0, 4, 0, block}, from); err != nil {
					return err
				}
			}
			block++
		}
		// What the server makes of late packets must not reach the next transfer.
		if err := conn.SetDeadline(time.Now().Add(20 * time.Millisecond)); err != nil {
			return err
		}
		for {
			if _, _, err := conn.ReadFromUDPAddrPort(buf); errors.Is(err, os.ErrDeadlineExceeded) {
				break
			} else if err != nil {
				return err
			}
		}
	}
	return nil
}

// TestNetascii asks for the script as text, which pin/tftp answers.
func TestNetascii(t *testing.T) {
	loaders := only(write(t, map[string][]byte{"snponly.efi": program(amd64, 600)}))
	modes(t, func(t *testing.T, config TFTPConfig) {
		var seen observed
		config.Observe = seen.observe
		server := startTFTP(t, config, loaders)
		for range 2 * mostTexts { // the places are given back
			client, err := tftp.NewClient(server.String())
			if err != nil {
				t.Fatal(err)
			}
			from, err := client.Receive("52-54-00-12-34-56/autoexec.ipxe", "netascii")
			if err != nil {
				t.Fatal(err)
			}
			var got bytes.Buffer
			const want = "#!ipxe\n# 52:54:00:12:34:56 at 127.0.0.1\n"
			if _, err := from.WriteTo(&got); err != nil || got.String() != want {
				t.Fatalf("%q, %v, want %q", got.String(), err, want)
			}
		}
		seen.wait(t, "tftp script sent", 2*mostTexts)
		client, err := tftp.NewClient(server.String())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := client.Receive("pxelinux.0", "netascii"); err == nil {
			t.Error("a file that is not on offer was sent")
		}
	})
}
