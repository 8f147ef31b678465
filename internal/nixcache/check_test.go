package nixcache

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ravenboot/internal/nar/nartest"
)

func TestCheck(t *testing.T) {
	const toplevel, other = "/nix/store/" + nartest.Base, "/nix/store/11bgd045z0d4icpbc2yyz4gx48ak44la-other"
	h := newHandmade(t)
	h.writeNarinfo(t)
	f := newSignedFile(t, "gzip")
	stranger, err := OpenKey(t.TempDir(), "stranger-1")
	if err != nil {
		t.Fatal(err)
	}
	gone := newOrigin(t, t.TempDir())
	gone.Close()
	upstream := func(url string, key Key) Config {
		return Config{Upstream: &Upstream{URL: url, PublicKeys: []string{key.Public()}}}
	}
	for name, test := range map[string]struct {
		config    Config
		toplevels []string
		want      string // "" for no problem
		passing   bool
	}{
		"a store":                         {Config{NixStore: "/bin/true"}, []string{toplevel}, "", false},
		"no nix-store":                    {Config{NixStore: "/nowhere/nix-store"}, nil, "install Nix", false},
		"a directory":                     {Config{Dir: h.dir}, []string{toplevel}, "", false},
		"a directory without a toplevel":  {Config{Dir: h.dir}, []string{toplevel, other}, other, false},
		"no directory":                    {Config{Dir: filepath.Join(h.dir, "none")}, nil, "nix copy --to file://", false},
		"an upstream":                     {upstream(f.URL, f.builder), []string{toplevel}, "", false},
		"an upstream without a toplevel":  {upstream(f.URL, f.builder), []string{toplevel, other}, other, false},
		"an upstream with another's keys": {upstream(f.URL, stranger), []string{toplevel}, "public_keys", false},
		"an upstream that isn't there":    {upstream(gone.URL, f.builder), []string{toplevel}, "can be reached", true},
		"no upstream's address":           {upstream("ftp://cache.lab", f.builder), nil, "ftp://cache.lab", false},
	} {
		t.Run(name, func(t *testing.T) {
			test.config.StateDir = filepath.Join(t.TempDir(), "state")
			got := Check(t.Context(), test.config, test.toplevels)
			switch {
			case test.want == "" && len(got) > 0, test.want != "" && len(got) != 1:
				t.Errorf("%+v", got)
			case test.want != "" && (!strings.Contains(got[0].Text, test.want) || got[0].Passing != test.passing):
				t.Errorf("%+v, want %q, passing %v", got[0], test.want, test.passing)
			}
			if _, err := os.Stat(test.config.StateDir); !os.IsNotExist(err) {
				t.Errorf("a check wrote to the state directory: %v", err)
			}
		})
	}
}

func TestCheckDoesNotWait(t *testing.T) {
	f := newSignedFile(t, "gzip")
	f.set(hang)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	config := f.config(t, f.builder.Public())
	if got := Check(ctx, config, nil); len(got) != 1 || !got[0].Passing {
		t.Errorf("%+v", got)
	}
}

func TestNewRefusesUpstream(t *testing.T) {
	key, err := OpenKey(t.TempDir(), "builder-1")
	if err != nil {
		t.Fatal(err)
	}
	for want, config := range map[string]Config{
		"no public keys": {Upstream: &Upstream{URL: "http://cache.lab"}},
		"public key":     {Upstream: &Upstream{URL: "http://cache.lab", PublicKeys: []string{"x"}}},
		"address":        {Upstream: &Upstream{URL: "http://a@cache.lab", PublicKeys: []string{key.Public()}}},
		"both":           {Dir: "/srv/cache", Upstream: &Upstream{URL: "http://cache.lab", PublicKeys: []string{key.Public()}}},
	} {
		config.StateDir = t.TempDir()
		if _, err := New(config, &offer{}, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}
