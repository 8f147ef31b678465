package web

import (
	"io"
	"regexp"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ravenboot/internal/boot"
	"ravenboot/internal/generation"
)

// TestEachKeyOnce has two profiles in one menu, both of which count from 1.
func TestEachKeyOnce(t *testing.T) {
	p := policy()
	p.Profiles = append(p.Profiles, boot.Profile{Profile: generation.Profile{Name: "exam"}})
	p.Default.Profile = ""
	d := boot.New(p, fakeGenerations{
		"lab":  generations("lab", "x86_64-linux", 42, 41),
		"exam": generations("exam", "x86_64-linux", 7, 6, 5),
	}, anyLoader{})
	r := get(t, bootHandler(NewScripts(d, ScriptsConfig{HTTPPort: 80}, quiet)), "GET",
		"/boot.ipxe?mac=02:00:00:00:00:01&arch=x86_64&platform=efi")
	body, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, match := range regexp.MustCompile(`(?m)^item --key (\S \S+) `).FindAllStringSubmatch(string(body), -1) {
		got = append(got, match[1])
	}
	want := []string{"1 lab/42", "2 lab/41", "3 exam/5", "l local", "s shell", "r reboot", "p poweroff"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("keys (-want +got):\n%s", diff)
	}
}
