package main

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"debug/elf"
	"encoding/binary"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nix-community/go-nix/pkg/narinfo/signature"

	"ravenboot/internal/narinfo"
)

// built is the program as it goes into an initrd.
func built(t *testing.T) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "ravenboot-client")
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", file, ".")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return file
}

func TestBinaryIsSmallAndStatic(t *testing.T) {
	file := built(t)
	info, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%.1f MiB", float64(info.Size())/(1<<20))
	if info.Size() >= 12<<20 {
		t.Errorf("%d bytes, and an initrd has room for less than 12 MiB", info.Size())
	}
	program, err := elf.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer program.Close()
	for _, p := range program.Progs {
		if p.Type == elf.PT_INTERP || p.Type == elf.PT_DYNAMIC {
			t.Errorf("it has %v: an initrd has no dynamic linker", p.Type)
		}
	}
	if libraries, err := program.ImportedLibraries(); len(libraries) > 0 {
		t.Errorf("it needs %q, %v", libraries, err)
	}
	if program.Section(".symtab") != nil || program.Section(".debug_info") != nil {
		t.Error("it isn't stripped")
	}
}

// token is a string as an archive has it.
func token(b *bytes.Buffer, text string) {
	_ = binary.Write(b, binary.LittleEndian, uint64(len(text)))
	b.WriteString(text)
	b.Write(make([]byte, -len(text)&7))
}

// archive is that of a directory of files, whose first is a program.
func archive(files, size int) []byte {
	var b bytes.Buffer
	tokens := func(words ...string) {
		for _, word := range words {
			token(&b, word)
		}
	}
	content := make([]byte, size)
	tokens("nix-archive-1", "(", "type", "directory")
	for i := range files {
		_, _ = rand.Read(content[:size/2]) // the other half can be compressed
		name := "init"
		if i > 0 {
			name += fmt.Sprintf("-%04d", i)
		}
		tokens("entry", "(", "name", name, "node", "(", "type", "regular", "executable", "", "contents", string(content), ")", ")")
	}
	tokens(")")
	return b.Bytes()
}

// bigCache is a cache of so many paths, of which the first refers to all. They
// have the same content, which is none of the client's business.
type bigCache struct {
	toplevel, key string
	files         map[string][]byte // by URL path
	narSize       int64
}

// piped is what a program makes of its input.
func piped(t *testing.T, input []byte, argv ...string) []byte {
	t.Helper()
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Stdin = bytes.NewReader(input)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v (apt-get install zstd xz-utils, if it is missing)", strings.Join(argv, " "), err)
	}
	return out
}

// makeCache makes it without Nix, which would take minutes.
func makeCache(t *testing.T, paths, files, size int, compression string, packer ...string) *bigCache {
	t.Helper()
	secret, public, err := signature.GenerateKeypair("lab-1", nil)
	if err != nil {
		t.Fatal(err)
	}
	c := &bigCache{key: public.String(), files: make(map[string][]byte)}
	text := archive(files, size)
	hash := sha256.Sum256(text)
	file := text
	if len(packer) > 0 {
		file = piped(t, text, packer...)
	}
	var all []string
	for i := range paths {
		all = append(all, fmt.Sprintf("%032d-path", i))
	}
	c.toplevel = "/nix/store/" + all[0]
	for i, base := range all {
		c.narSize += int64(len(text))
		info := narinfo.Info{
			Facts: narinfo.Facts{Base: base, NarHash: hash, NarSize: int64(len(text))}, URL: "nar/" + base, Compression: compression,
		}
		if i == 0 {
			info.References = all[1:]
		}
		signed, err := secret.Sign(nil, info.Fingerprint("/nix/store"))
		if err != nil {
			t.Fatal(err)
		}
		info.Signatures = []string{signed.String()}
		c.files["/"+info.Hash()+".narinfo"] = info.Text("/nix/store")
		c.files["/nar/"+base] = file
	}
	return c
}

// ServeHTTP answers from memory.
func (c *bigCache) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	text, ok := c.files[r.URL.Path]
	if !ok {
		http.NotFound(w, r)
		return
	}
	_, _ = w.Write(text)
}

// runWatched runs a program, and returns what it said and the most memory that it
// had, in kB. What getrusage says is of no use: it begins with the memory of this
// process, which execve hands on.
func runWatched(t *testing.T, cmd *exec.Cmd) (said string, memory int, err error) {
	t.Helper()
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	again := time.NewTicker(5 * time.Millisecond)
	defer again.Stop()
	for {
		select {
		case err := <-ended:
			return out.String(), memory, err
		case <-again.C:
			memory = max(memory, highWater(cmd.Process.Pid))
		}
	}
}

// highWater is the most memory that a process has had so far, in kB; 0 if it has
// ended.
func highWater(pid int) (kB int) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	_, line, _ := strings.Cut(string(status), "\nVmHWM:")
	_, _ = fmt.Sscan(line, &kB) // a zombie has no such line
	return kB
}

// A machine in its initrd has its disk's files in memory as well, so the
// program must not take much.
func TestMemoryOfADownload(t *testing.T) {
	const most = 100 << 10 // kB
	client := sync.OnceValue(func() string { return built(t) })
	for _, of := range []struct {
		name        string
		paths, size int
		compression string
		packer      []string
	}{
		{"none", 300, 35_000, "none", nil},
		{"zstd", 300, 35_000, "zstd", []string{"zstd", "-1"}},
		{"zstd, 8 MiB", 24, 450_000, "zstd", []string{"zstd", "-19"}},
		{"xz as Nix", 24, 450_000, "xz", []string{"xz", "-6"}},
		{"xz, 16 MiB", 24, 450_000, "xz", []string{"xz", "-7"}},
	} {
		t.Run(of.name, func(t *testing.T) {
			c := makeCache(t, of.paths, 20, of.size, of.compression, of.packer...)
			server := httptest.NewServer(c)
			defer server.Close()
			root, commandLine := t.TempDir(), filepath.Join(t.TempDir(), "cmdline")
			if err := os.WriteFile(commandLine, []byte("ravenboot.on_failure=shell"), 0o600); err != nil {
				t.Fatal(err)
			}
			cmd := exec.Command(client(), "closure", "-cmdline", commandLine, "-root", root, "-cache", server.URL,
				"-toplevel", c.toplevel, "-public-key", c.key)
			out, memory, err := runWatched(t, cmd)
			if err != nil || !strings.Contains(out, fmt.Sprintf("is here, %d MB fetched", (c.narSize+500_000)/1_000_000)) {
				t.Fatalf("%v\n%s", err, out)
			}
			t.Logf("%d MB of archives, at most %d MiB of memory", c.narSize/1e6, memory>>10)
			if memory == 0 || memory > most {
				t.Errorf("%d kB of memory, want at most %d", memory, most)
			}
		})
	}
}

// A cache that means ill can't make the program take more: it answers for many
// paths at a time with narinfos as long as they may be, none of them signed.
func TestMemoryOfLongNarinfos(t *testing.T) {
	const most = 85 << 10 // kB
	c := makeCache(t, 65, 1, 10, "none")
	rest := longNarinfo()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		number, _, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), ".narinfo")
		if n, err := strconv.Atoi(number); err != nil || n == 0 {
			c.ServeHTTP(w, r)
			return
		}
		_, _ = fmt.Fprintf(w, "StorePath: /nix/store/%s-path\n", number)
		_, _ = w.Write(rest)
	}))
	defer server.Close()
	commandLine := filepath.Join(t.TempDir(), "cmdline")
	if err := os.WriteFile(commandLine, []byte("ravenboot.on_failure=shell"), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(built(t), "closure", "-cmdline", commandLine, "-root", t.TempDir(), "-cache", server.URL,
		"-toplevel", c.toplevel, "-public-key", c.key)
	out, memory, err := runWatched(t, cmd)
	if err == nil || !strings.Contains(out, "it is not signed") {
		t.Fatalf("%v, want that they aren't signed\n%s", err, out)
	}
	t.Logf("64 narinfos of %d bytes, at most %d MiB of memory", narinfo.MaxText, memory>>10)
	if memory == 0 || memory > most {
		t.Errorf("%d kB of memory, want at most %d", memory, most)
	}
}

// longNarinfo is all of a narinfo but the StorePath, which with it is nearly as
// long as one may be.
func longNarinfo() []byte {
	const end = narinfo.MaxText - 1000
	var b bytes.Buffer
	fmt.Fprintf(&b, "URL: nar/x\nCompression: none\nNarHash: sha256:%052d\nNarSize: 1000\nReferences:", 0)
	for i := 0; i < narinfo.MaxReferences && b.Len() < end; i++ {
		fmt.Fprintf(&b, " %032d-reference", i)
	}
	b.WriteString("\nMore: ")
	if left := end - b.Len(); left > 0 {
		b.WriteString(strings.Repeat("x", left)) // which is passed over
	}
	b.WriteString("\n")
	return b.Bytes()
}
