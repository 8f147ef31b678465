package bootscript

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite the golden files")

const (
	server = "http://192.0.2.10"
	self   = server + "/boot.ipxe?mac=52:54:00:12:34:56&arch=x86_64&platform=efi"
)

func labMenu() *Menu {
	return &Menu{
		Title: "Lab", Machine: "lab-07", MAC: "52:54:00:12:34:56", Address: "192.0.2.107", Server: "192.0.2.10",
		Items: []Item{
			{ID: "lab/42", Label: "lab 42  2026-11-15  NixOS Yarara 26.05 (Linux 6.18)", Key: '1'},
			{ID: "lab/42/exam", Label: "  + exam"},
			{Heading: true},
			{ID: "local", Label: "Local disk", Key: 'l', Do: DoLocal},
			{ID: "shell", Label: "iPXE shell", Key: 's', Do: DoShell},
			{ID: "reboot", Label: "Reboot", Key: 'r', Do: DoReboot},
			{ID: "poweroff", Label: "Power off", Key: 'p', Do: DoPoweroff},
		},
		Default: "lab/42", Timeout: 5 * time.Second, Entry: self + "&entry=",
		Fallback: Fallback{Rounds: 3, OnFailure: Retry, Menu: self},
	}
}

func labBoot() *Boot {
	return &Boot{
		Title: "lab/42  NixOS Yarara 26.05", Kernel: server + "/generation/lab/42/kernel",
		Args:     []string{"init=/nix/store/x/init", "loglevel=4", "initrd=initrd", `dyndbg="file x +p"`, "||", "#", "", "tail\\"},
		Initrds:  []Initrd{{URL: server + "/generation/lab/42/initrd", Name: "initrd"}},
		Fallback: Fallback{Rounds: 3, OnFailure: ToLocal, Menu: self},
	}
}

// scripts is one of each kind, in the variants that differ.
func scripts(t testing.TB) map[string][]byte {
	t.Helper()
	must := func(text []byte, err error) []byte {
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	atOnce, forEver := labMenu(), labMenu()
	atOnce.Timeout, forEver.Timeout = 0, -1
	atOnce.OnFailure, atOnce.Local = ToLocal, LocalSanboot
	forEver.Items = forEver.Items[:4]
	chain := &Chain{Title: "Tool", URL: server + "/image/tool/tool.efi", Args: []string{"-v"}, Fallback: Fallback{OnFailure: ToMenu, Menu: self}}
	local := &Local{Fallback{OnFailure: ToLocal, Local: LocalExit, Menu: self}}
	return map[string][]byte{
		"menu":          labMenu().Render(),
		"menu-at-once":  atOnce.Render(),
		"menu-for-ever": forEver.Render(),
		"boot":          must(labBoot().Render()),
		"chain":         must(chain.Render()),
		"local":         local.Render(),
		"local-auto":    (&Local{Fallback{Menu: self, OnFailure: ToMenu}}).Render(),
		"shell":         (&Command{Name: "shell", Fallback: Fallback{Menu: self}}).Render(),
		"identify":      (&Identify{URL: server + "/boot.ipxe"}).Render(),
		"autoexec":      (&Autoexec{URL: server + "/boot.ipxe"}).Render(),
		"failure":       (&Failure{Reason: `entry "lab/7" is not on offer; ${x} # ||`, URL: self}).Render(),
	}
}

func TestGolden(t *testing.T) {
	for name, got := range scripts(t) {
		path := filepath.Join("testdata", name+".ipxe")
		if *update {
			if err := os.MkdirAll("testdata", 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, got, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatalf("%v; make it with: go test -update", err)
		}
		if diff := cmp.Diff(string(want), string(got)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", path, diff)
		}
	}
}

// TestLint holds every script to what iPXE needs: labels that are gone to
// exist and are there once, no label is out of reach, and no line ends the
// script by failing, but for those that end it on purpose.
func TestLint(t *testing.T) {
	mayEnd := []string{"exit 1", "goto ", "set ", "echo", "menu ", "item ", "inc ", "#!ipxe"}
	for name, text := range scripts(t) {
		labels, gone := map[string]int{}, map[string]bool{"restart": true}
		fallsThrough := true
		for _, line := range strings.Split(strings.TrimSuffix(string(text), "\n"), "\n") {
			if label, ok := strings.CutPrefix(line, ":"); ok {
				labels[label]++
				if fallsThrough {
					gone[label] = true
				}
				fallsThrough = true
				continue
			}
			for _, part := range strings.Split(line, "goto ")[1:] {
				gone[strings.Fields(part)[0]] = true
			}
			safe := strings.HasSuffix(line, "||")
			last := line[strings.LastIndex(line, "|| ")+1:]
			for _, prefix := range mayEnd {
				safe = safe || strings.HasPrefix(strings.TrimLeft(last, "| "), prefix)
			}
			if !safe {
				t.Errorf("%s: %q ends the script when it fails", name, line)
			}
			if len(strings.Fields(line)) > mostArguments || strings.Contains(line, "\t") {
				t.Errorf("%s: %q has too many words, or a tab", name, line)
			}
			fallsThrough = !strings.HasPrefix(line, "goto ")
		}
		for label, n := range labels {
			if n != 1 || !gone[label] {
				t.Errorf("%s: label %q is there %d times, gone to: %v", name, label, n, gone[label])
			}
		}
		for label := range gone {
			if labels[label] == 0 {
				t.Errorf("%s: label %q is gone to, but not there", name, label)
			}
		}
		if fallsThrough && !strings.HasSuffix(string(text), "exit 1\n") {
			t.Errorf("%s: it runs off its end", name)
		}
	}
}

func TestRefused(t *testing.T) {
	for _, arg := range []string{"a\nb", "a\x00", "a\x7f", "${net0/mac}", "x${y}z"} {
		b := labBoot()
		b.Args = []string{"init=/x", arg}
		if _, err := b.Render(); err == nil || !strings.Contains(err.Error(), "argument") {
			t.Errorf("argument %q: error %v", arg, err)
		}
	}
	b := labBoot()
	b.Args = []string{strings.Repeat("x", mostCommandLine-len("kernel "))}
	if _, err := b.Render(); err != nil {
		t.Errorf("the longest kernel command line: %v", err)
	}
	b.Args[0] += "x"
	if _, err := b.Render(); err == nil || !strings.Contains(err.Error(), "2046") {
		t.Errorf("a kernel command line that Linux would cut: error %v", err)
	}
	b.Args = make([]string, mostArguments)
	if _, err := b.Render(); err == nil || !strings.Contains(err.Error(), "iPXE takes 254") {
		t.Errorf("more arguments than iPXE takes: error %v", err)
	}
	for _, word := range []string{"", "a b", "a\tb", "a\nb", "${x}", "#", "a\\"} {
		for name, change := range map[string]func(*Boot){
			"kernel URL":  func(b *Boot) { b.Kernel = word },
			"initrd URL":  func(b *Boot) { b.Initrds[0].URL = word },
			"initrd name": func(b *Boot) { b.Initrds[0].Name = word },
		} {
			b := labBoot()
			change(b)
			if _, err := b.Render(); err == nil {
				t.Errorf("%s %q is taken", name, word)
			}
		}
		if _, err := (&Chain{URL: word}).Render(); err == nil {
			t.Errorf("chain URL %q is taken", word)
		}
	}
	for _, arg := range []string{"${", "$x", "{}", "$"} {
		b.Args = []string{arg}
		if _, err := b.Render(); err != nil {
			t.Errorf("argument %q: %v", arg, err)
		}
	}
}

// ipxeCommands reads a line as iPXE does (src/core/exec.c): split at white
// space, cut into commands at operators and comments, then expand the settings
// in each token.
func ipxeCommands(line string, settings map[string]string) [][]string {
	var commands [][]string
	var command []string
	for _, token := range strings.FieldsFunc(line, func(r rune) bool { return strings.ContainsRune(" \t\n\v\f\r", r) }) {
		if token[0] == '#' {
			break
		}
		if token == "||" || token == "&&" || token == ";" {
			commands, command = append(commands, command), nil
			continue
		}
		command = append(command, ipxeExpand(token, settings))
	}
	return append(commands, command)
}

// ipxeExpand replaces settings until none remains, the last opening before the
// first close first (src/core/settings.c, expand_settings).
func ipxeExpand(s string, settings map[string]string) string {
	for {
		open, end := -1, -1
		for i := range len(s) {
			if strings.HasPrefix(s[i:], "${") {
				open = i
			}
			if open >= 0 && s[i] == '}' {
				end = i
				break
			}
		}
		if end < 0 {
			return s
		}
		name, _, _ := strings.Cut(s[open+2:end], ":")
		s = s[:open] + settings[name] + s[end+1:]
	}
}

// FuzzKernelArgument: whatever an argument is, it arrives as it is, in one
// piece, and nothing else runs; or it is refused.
func FuzzKernelArgument(f *testing.F) {
	for _, s := range []string{"loglevel=4", "||", "&&", ";", "#x", "a b", " ", "\t", "x\\", `"`, "${", "$", "}", "a ; reboot", "{${}", "--name", ":label", "é"} {
		f.Add(s)
	}
	settings := map[string]string{"sp": " ", "tab": "\t"}
	f.Fuzz(func(t *testing.T, arg string) {
		b := Boot{Title: "x", Kernel: "http://k", Args: []string{"first", arg, "last"}}
		text, err := b.Render()
		if err != nil {
			return
		}
		// Continuations are joined before a line is read.
		var line string
		for _, l := range strings.Split(strings.ReplaceAll(string(text), "\\\n", ""), "\n") {
			if strings.HasPrefix(l, "kernel ") {
				line = l
			}
		}
		commands := ipxeCommands(line, settings)
		if diff := cmp.Diff([]string{"kernel", "http://k", "first", arg, "last"}, commands[0]); diff != "" {
			t.Errorf("%q (-want +got):\n%s", line, diff)
		}
		if len(commands) != 3 || commands[1][0] != "set" {
			t.Errorf("%q runs %q", line, commands)
		}
	})
}

// TestCountdown: iPXE takes 0 for ever and counts in 32 bits; a menu that a
// held key asked for has a countdown too.
func TestCountdown(t *testing.T) {
	for timeout, want := range map[time.Duration]string{
		0:                       " --timeout 300000 --retimeout 300000 ",
		time.Microsecond:        " --timeout 1 --retimeout 300000 ",
		1500 * time.Millisecond: " --timeout 1500 --retimeout 300000 ",
		1e6 * time.Hour:         " --timeout 86400000 --retimeout 300000 ",
	} {
		m := labMenu()
		m.Timeout = timeout
		if text := string(m.Render()); !strings.Contains(text, "choose --default lab/42"+want) {
			t.Errorf("timeout %v: no %q in\n%s", timeout, want, text)
		}
	}
}

// TestHeadingIsNoOption: a title that begins with a dash is no option of menu's.
func TestHeadingIsNoOption(t *testing.T) {
	m := labMenu()
	m.Title = "--Lab--"
	if text := string(m.Render()); !strings.Contains(text, "\nmenu -- --Lab--") {
		t.Error(text)
	}
}

// FuzzText: whatever a label is, it stays one line of the menu and runs nothing.
func FuzzText(f *testing.F) {
	for _, s := range []string{"NixOS 26.05", "||", "a || reboot", "#", "x\\", "${x}", "a\nb", "  "} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, label string) {
		line := string(appendText([]byte("item id "), label))
		if strings.ContainsAny(line, "\n\r\x00") || strings.HasSuffix(line, "\\") {
			t.Fatalf("label %q makes %q", label, line)
		}
		commands := ipxeCommands(line, map[string]string{"sp": " "})
		if len(commands) != 1 || commands[0][0] != "item" {
			t.Errorf("label %q makes %q, which runs %q", label, line, commands)
		}
	})
}

func BenchmarkMenu20(b *testing.B) {
	m := labMenu()
	first := m.Items[0]
	for range 19 {
		m.Items = append([]Item{first}, m.Items...)
	}
	b.ReportAllocs()
	for b.Loop() {
		if len(m.Render()) < 1000 {
			b.Fatal("short menu")
		}
	}
}

func BenchmarkBoot(b *testing.B) {
	boot := labBoot()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := boot.Render(); err != nil {
			b.Fatal(err)
		}
	}
}
