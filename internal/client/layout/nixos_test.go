package layout

import (
	"os"
	"path/filepath"
	"testing"
)

// What the NixOS module writes is what this package reads.
func TestParseWhatNixOSWrites(t *testing.T) {
	files, err := filepath.Glob("../../../nixos/testdata/golden/layout-*.json")
	if err != nil || len(files) < 3 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if l, err := Parse(text); err != nil || len(l.Partitions) == 0 {
			t.Errorf("%s: %v, %d partitions", file, err, len(l.Partitions))
		}
	}
}
