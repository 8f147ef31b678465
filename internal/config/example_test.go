package config

import (
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

const exampleFile = "../../config.example.toml"

// noDefault are the keys whose value in the example is not what holds without
// them: there is no default, or it depends on other keys.
var noDefault = []string{
	"[server] interface", "[server] interfaces", "[server] address",
	"[cache] dir", "[cache] upstream", "[cache] public_keys",
	"[[dhcp.subnet]] network", "[[dhcp.subnet]] range", "[[dhcp.subnet]] router", "[[dhcp.subnet]] dns",
	"[[dhcp.subnet]] domain", "[[dhcp.subnet]] t1", "[[dhcp.subnet]] t2",
	"[[profile]] name", "[[profile]] path",
	"[[image]] name", "[[image]] label", "[[image]] kernel", "[[image]] initrd", "[[image]] args",
	"[[image]] files", "[[image]] arch", "[[image]] firmware", "[[image]] chain",
	"[[host]] name", "[[host]] mac", "[[host]] uuid", "[[host]] address", "[[host]] profile", "[[host]] default",
	"[[host]] args", "[[host]] timeout", "[[host]] on_failure", "[[host]] local_boot", "[[host]] loader",
	"[[host]] chainload", "[[host]] arch", "[[host]] firmware", "[[host]] nul_terminate",
	"[[group]] name", "[[group]] match", "[[group]] profile",
	"[default] profile",
}

// As it stands the example is valid, and all the defaults are in force.
func TestExample(t *testing.T) {
	got := mustParse(t, readExample(t))
	if len(got.Warnings) > 0 {
		t.Errorf("warnings: %q", got.Warnings)
	}
	want := Default()
	want.Server.Interfaces = []string{"eth0"}
	want.Boot.Profiles = got.Boot.Profiles
	want.Boot.Default.Profile = "lab"
	if diff := cmp.Diff(want, got, compareConfigs); diff != "" {
		t.Error(diff)
	}
}

// With all its keys in force, the example is valid; and each key that can be
// removed without a change shows its default.
func TestExampleDefaults(t *testing.T) {
	lines := exampleLines(t)
	whole := mustParse(t, strings.Join(lines, "\n"))
	for i, line := range lines {
		key, _ := keyOf(lines, i)
		if key == "" {
			continue
		}
		rest := slices.Delete(slices.Clone(lines), i, i+1)
		c, err := Parse("config.example.toml", []byte(strings.Join(rest, "\n")))
		isDefault := err == nil && cmp.Equal(whole, c, compareConfigs, cmpopts.IgnoreFields(Config{}, "Warnings"))
		if listed := slices.Contains(noDefault, key); isDefault == listed {
			t.Errorf("%s: shows the default: %v, but listed as one without: %v (%s)", key, isDefault, listed, line)
		}
	}
}

// Every key that Parse knows stands in the example and in the documentation,
// the latter with the default that the example shows.
func TestEveryKeyIsDocumented(t *testing.T) {
	lines := exampleLines(t)
	shown := make(map[string]string)
	for i := range lines {
		if key, value := keyOf(lines, i); key != "" && shown[key] == "" {
			shown[key] = value
		}
	}
	for _, m := range instead.FindAllStringSubmatch(readExample(t), -1) {
		key := insteadOf[m[1]]
		shown[key] = m[2]
	}
	docs := documented(t)
	for _, key := range knownKeys() {
		value, ok := shown[key]
		if table, name, _ := strings.Cut(key, " "); table == "[group.match]" {
			ok = strings.Contains(shown["[[group]] match"], name+" = ")
		} else if !ok && (table == "[[group]]" || table == "[default]") {
			_, ok = shown["[[host]] "+name] // the shared settings are shown once
		}
		if !ok {
			t.Errorf("config.example.toml lacks %s", key)
		}
		row, ok := docs[key]
		switch {
		case !ok:
			t.Errorf("docs/configuration.md lacks %s", key)
		case value != "" && !slices.Contains(noDefault, key) && row != "`"+value+"`":
			t.Errorf("docs/configuration.md: %s has the default %s, not %q", key, value, row)
		}
	}
	for key := range docs {
		if !slices.Contains(knownKeys(), key) {
			t.Errorf("docs/configuration.md has %s, which is no key", key)
		}
	}
}

func knownKeys() []string {
	var known []string
	walkTables(reflect.TypeFor[raw](), "", func(head string, keys []string) {
		if head = strings.ReplaceAll(head, "[[group.match]]", "[group.match]"); head == "[[group]]" {
			keys = append(keys, "match")
		}
		for _, key := range keys {
			known = append(known, head+" "+key)
		}
	})
	return known
}

// documented are the rows of the tables in docs/configuration.md: default by
// key. The table of settings stands for hosts, groups and the default.
func documented(t *testing.T) map[string]string {
	data, err := os.ReadFile("../../docs/configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	heading := regexp.MustCompile("^##+ `(\\[.*\\])`")
	row := regexp.MustCompile("^\\| `([a-z0-9_]+)` \\| (.*?) \\|")
	docs := make(map[string]string)
	var tables []string
	for line := range strings.Lines(string(data)) {
		if strings.HasPrefix(line, "#") {
			tables = nil
			if m := heading.FindStringSubmatch(line); m != nil {
				tables = []string{m[1]}
			} else if strings.HasPrefix(line, "## Settings") {
				tables = []string{"[[host]]", "[[group]]", "[default]"}
			}
		}
		if m := row.FindStringSubmatch(line); m != nil {
			for _, table := range tables {
				docs[table+" "+m[1]] = m[2]
			}
		}
	}
	return docs
}

func readExample(t *testing.T) string {
	t.Helper()
	data, err := os.ReadFile(exampleFile)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// insteadOf are the keys of the example that can't stand beside others of it.
var insteadOf = map[string]string{
	"interface": "[server] interface",
	"dir":       "[cache] dir", "upstream": "[cache] upstream", "public_keys": "[cache] public_keys", `keep`: "[cache] keep",
}

// A size, unlike the number of generations that a profile keeps, is in quotes.
var instead = regexp.MustCompile(`(?m)^#?(interface|dir|upstream|public_keys|keep) = (["\[].*)$`)

// exampleLines is the example with every key in force but those that stand
// instead of others.
func exampleLines(t *testing.T) []string {
	lines := strings.Split(regexp.MustCompile(`(?m)^#([a-z\[])`).ReplaceAllString(readExample(t), "$1"), "\n")
	return slices.DeleteFunc(lines, instead.MatchString)
}

var (
	headLine = regexp.MustCompile(`^(\[.*\])$`)
	keyLine  = regexp.MustCompile(`^([a-z0-9_]+) = (.*)$`)
)

// keyOf is the key in a line, with the head of its table in front.
func keyOf(lines []string, i int) (key, value string) {
	m := keyLine.FindStringSubmatch(lines[i])
	if m == nil {
		return "", ""
	}
	for ; i >= 0; i-- {
		if head := headLine.FindString(lines[i]); head != "" {
			return head + " " + m[1], m[2]
		}
	}
	return "", ""
}

func mustParse(t *testing.T, text string) *Config {
	t.Helper()
	c, err := Parse("config.example.toml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// The examples in the documentation are valid, each with the profiles that
// other examples define.
func TestDocumentedExamples(t *testing.T) {
	data, err := os.ReadFile("../../docs/configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := regexp.MustCompile("(?s)```toml\n(.*?)```").FindAllStringSubmatch(string(data), -1)
	if len(blocks) == 0 {
		t.Fatal("no examples")
	}
	const profiles = "\n[[profile]]\nname = \"exam\"\npath = \"/exam\"\n[[profile]]\nname = \"lab\"\npath = \"/lab\"\n"
	for _, block := range blocks {
		text := block[1]
		if !strings.Contains(text, "[[profile]]") {
			text += profiles
		}
		if c := mustParse(t, text); len(c.Warnings) > 0 {
			t.Errorf("%s\n%q", text, c.Warnings)
		}
	}
}
