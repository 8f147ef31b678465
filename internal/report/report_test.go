package report

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

func TestParse(t *testing.T) {
	for _, test := range []struct{ name, text, err string }{
		{"whole", `{"step":"closure","outcome":"running","text":"a\nb","progress":{"paths":1,"pathsTotal":2,"bytes":3,"bytesTotal":4}}`, ""},
		{"site's own step", `{"step":"exam.setup","outcome":"ok"}`, ""},
		{"later versions' keys", `{"step":"booted","outcome":"ok","kernel":"6.18"}`, ""},
		{"no JSON", `step=booted`, "not a report"},
		{"empty", `{}`, "step has 0 bytes"},
		{"long step", `{"step":"` + strings.Repeat("x", 65) + `","outcome":"ok"}`, "step has 65 bytes"},
		{"line in step", `{"step":"a\nb","outcome":"ok"}`, "characters other than"},
		{"outcome", `{"step":"booted","outcome":"fine"}`, `outcome "fine"`},
		{"refused without refusal", `{"step":"layout","outcome":"refused"}`, "refusal has 0 bytes"},
		{"refusal without refused", `{"step":"layout","outcome":"ok","refusal":"1f"}`, "with a refusal"},
		{"long text", `{"step":"layout","outcome":"ok","text":"` + strings.Repeat("x", maxText+1) + `"}`, "text is longer"},
		{"too long", `{"step":"layout","outcome":"ok","text":"` + strings.Repeat("x", MaxSize) + `"}`, "longer than 16384"},
		{"below zero", `{"step":"closure","outcome":"ok","progress":{"bytes":-1}}`, "below zero"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := Parse([]byte(test.text))
			switch {
			case test.err == "" && err != nil:
				t.Fatal(err)
			case test.err != "" && (err == nil || !strings.Contains(err.Error(), test.err)):
				t.Fatalf("error %v, want one with %q", err, test.err)
			}
		})
	}
}

func TestClip(t *testing.T) {
	for _, text := range []string{"short", strings.Repeat("ä", maxText), "a\xffb", strings.Repeat("x", maxText)} {
		got := Clip(text)
		if len(got) > maxText || !utf8.ValidString(got) {
			t.Errorf("Clip of %d bytes gives %d, valid %v", len(text), len(got), utf8.ValidString(got))
		}
	}
	if got := Clip("short"); got != "short" {
		t.Errorf("Clip changed a short text to %q", got)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"step":"layout","outcome":"refused","refusal":"1f","text":"x"}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		r, err := Parse(text)
		if err != nil {
			return
		}
		again, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		r2, err := Parse(again)
		if err != nil && len(again) <= MaxSize {
			t.Fatalf("%s: %v", again, err)
		}
		if err == nil && !cmp.Equal(r, r2) {
			t.Fatal(cmp.Diff(r, r2))
		}
	})
}
