package main

import (
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pin/tftp/v3"

	"ravenboot/internal/config"
)

// TestNotify: systemd is told when the server serves, when it reloads, and
// when it stops.
func TestNotify(t *testing.T) {
	port := mustFreePort(t)
	dir := serveDir(t, localServices(port, mustFreePort(t), mustFreePort(t)))
	short, err := os.MkdirTemp("", "rb") // a Unix socket's path holds 107 bytes
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(short)
	path := filepath.Join(short, "notify")
	manager, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer manager.Close()
	hear := func(want string) {
		t.Helper()
		buf := make([]byte, 4096)
		if err := manager.SetReadDeadline(time.Now().Add(patience)); err != nil {
			t.Fatal(err)
		}
		n, err := manager.Read(buf)
		if err != nil {
			t.Fatalf("waiting for %s: %v", want, err)
		}
		if !regexp.MustCompile(`^(?:` + want + `)$`).Match(buf[:n]) {
			t.Fatalf("heard %q, want %s", buf[:n], want)
		}
	}
	d := startServe(t, dir, func(c *exec.Cmd) { c.Env = append(os.Environ(), "NOTIFY_SOCKET="+path) })
	hear("READY=1")
	if got := fetch(t, fmt.Sprintf("http://127.0.0.1:%d/healthz", port)); got != "ok\n" {
		t.Errorf("ready, but /healthz says %q", got)
	}
	d.signal(syscall.SIGHUP)
	hear(`RELOADING=1\nMONOTONIC_USEC=[0-9]+\n?`)
	hear("READY=1")
	d.signal(syscall.SIGTERM)
	hear("STOPPING=1")
	if state := d.end(); state.ExitCode() != exitOK {
		t.Error(state)
	}
}

// TestSocketsFromSystemd: with every service turned off in the configuration,
// those serve whose socket is handed over, and machines are told of its port.
func TestSocketsFromSystemd(t *testing.T) {
	dir := serveDir(t, "[server]\nstate_dir = \"state\"\n[dhcp]\nmode = \"off\"\n[http]\nlisten = \"\"\n[admin]\nlisten = \"\"\n[tftp]\nlisten = \"\"\n")
	http, httpFile := listenTCP(t)
	admin, adminFile := listenTCP(t)
	tftpAddr, tftpFile := listenUDP(t)
	withSockets := func(c *exec.Cmd) {
		// LISTEN_PID is the server's own, which only it can know.
		c.Path, c.Args = "/bin/sh", []string{"sh", "-c", `LISTEN_PID=$$ exec "$@"`, "sh", c.Path, "serve", "-config", "lab.toml"}
		c.Env = append(os.Environ(), "LISTEN_FDS=3", "LISTEN_FDNAMES=tftp:http:admin")
		c.ExtraFiles = []*os.File{tftpFile, httpFile, adminFile}
	}
	d := startServe(t, dir, withSockets)
	d.expect("http on " + http)
	d.expect("admin on " + admin)
	d.expect("tftp on " + tftpAddr)
	d.expect("dhcp off")
	base := "http://" + http
	if got := fetch(t, base+"/boot.ipxe"); !strings.Contains(got, base+"/boot.ipxe?") {
		t.Errorf("the script has no %s:\n%s", base, got)
	}
	if got := fetch(t, "http://"+admin+"/healthz"); got != "ok\n" {
		t.Errorf("/healthz: %q", got)
	}
	client, err := tftp.NewClient(tftpAddr)
	if err != nil {
		t.Fatal(err)
	}
	file, err := client.Receive("autoexec.ipxe", "octet")
	if err != nil {
		t.Fatal(err)
	}
	var autoexec strings.Builder
	if _, err := file.WriteTo(&autoexec); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(autoexec.String(), base+"/boot.ipxe") {
		t.Errorf("autoexec.ipxe has no %s:\n%s", base, &autoexec)
	}
	d.stop()

	// Who comes during a restart waits for its end.
	early, err := net.Dial("tcp", http)
	if err != nil {
		t.Fatalf("between two servers: %v", err)
	}
	defer early.Close()
	fmt.Fprint(early, "GET /boot.ipxe HTTP/1.0\r\n\r\n")
	next := startServe(t, dir, withSockets)
	if err := early.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(early); err != nil || !strings.Contains(string(got), "#!ipxe\n") {
		t.Errorf("between two servers: %q, %v", got, err)
	}
	next.expect("dhcp off")
	next.stop()
}

// TestSystemdSocketActivate has systemd's own tool hand over the sockets.
func TestSystemdSocketActivate(t *testing.T) {
	tool := needTool(t, "systemd-socket-activate", "systemd")
	dir := serveDir(t, localServices(mustFreePort(t), mustFreePort(t), mustFreePort(t)))
	http, admin := mustFreePort(t), mustFreePort(t)
	d := startServe(t, dir, func(c *exec.Cmd) {
		c.Args = []string{tool, "-l", fmt.Sprintf("127.0.0.1:%d", http), "-l", fmt.Sprintf("127.0.0.1:%d", admin),
			"--fdname=http:admin", c.Path, "serve", "-config", "lab.toml"}
		c.Path = tool
	})
	d.expect("Listening on") // the first connection starts the server
	if got := fetch(t, fmt.Sprintf("http://127.0.0.1:%d/generation/lab/1/kernel", http)); got != "a kernel" {
		t.Errorf("the kernel is %q", got)
	}
	d.expect(fmt.Sprintf("admin on 127.0.0.1:%d", admin))
	d.stop()
}

func listenTCP(t *testing.T) (addr string, file *os.File) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if file, err = l.(*net.TCPListener).File(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { file.Close() })
	return l.Addr().String(), file
}

func listenUDP(t *testing.T) (addr string, file *os.File) {
	t.Helper()
	c, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if file, err = c.(*net.UDPConn).File(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { file.Close() })
	return c.LocalAddr().String(), file
}

// TestSocketsThatFitNoService: a mistake in a unit is an error with what to
// write, not a socket that answers nobody.
func TestSocketsThatFitNoService(t *testing.T) {
	named := func(f *os.File, name string) *os.File {
		fd, err := syscall.Dup(int(f.Fd()))
		if err != nil {
			t.Fatal(err)
		}
		return os.NewFile(uintptr(fd), name)
	}
	_, tcp := listenTCP(t)
	_, udp := listenUDP(t)
	var s sockets
	for _, row := range []struct {
		socket *os.File
		name   string
		want   string // "" for none
	}{
		{udp, "http", "ListenStream="},
		{tcp, "tftp", "ListenDatagram="},
		{tcp, "ravenboot.socket", "http, admin and tftp"},
		{tcp, "http", ""},
		{tcp, "http", "two of this name"},
		{udp, "tftp", ""},
		{udp, "tftp", "two of this name"},
	} {
		err := s.take(named(row.socket, row.name))
		if row.want == "" && err != nil || row.want != "" && (err == nil || !strings.Contains(err.Error(), row.want)) {
			t.Errorf("%s as %s: %v, want %q", row.socket.Name(), row.name, err, row.want)
		}
	}
}

// TestPortsInForce: machines are sent to the sockets that are open, whatever a
// configuration says that waits for a restart.
func TestPortsInForce(t *testing.T) {
	started, changed := &config.Config{}, &config.Config{}
	started.HTTP.Listen, started.TFTP.Listen = ":80", ":69"
	changed.HTTP.Listen, changed.TFTP.Listen = ":8080", ":6969"
	s := &server{config: started}
	if c := dhcpPorts(s, changed); c != [2]int{80, 69} {
		t.Errorf("after a reload: %v", c)
	}
	for range 2 { // a second reload still tells
		if got := strings.Join(needRestart(s.config, changed), " "); got != "[tftp] [http]" {
			t.Errorf("needs a restart: %s", got)
		}
	}
	var err error
	if s.sockets.http, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	defer s.sockets.http.Close()
	if c := dhcpPorts(s, changed); c[0] != s.sockets.http.Addr().(*net.TCPAddr).Port {
		t.Errorf("with a socket from systemd: %v, want its port", c)
	}
}

func dhcpPorts(s *server, cfg *config.Config) [2]int {
	return [2]int{s.dhcpConfig(cfg).HTTPPort, s.dhcpConfig(cfg).TFTPPort}
}

func needTool(t *testing.T, name, pkg string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Fatalf("%v; apt-get install %s", err, pkg)
	}
	return path
}
