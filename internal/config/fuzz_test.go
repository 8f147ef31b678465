package config

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// FuzzParse: whatever the file holds, Parse gives a configuration or errors
// that each name the file, are one line long and point into the file.
func FuzzParse(f *testing.F) {
	for _, pattern := range []string{"*.toml", "*/*.toml"} {
		files, err := filepath.Glob(filepath.Join("testdata", pattern))
		if err != nil || len(files) == 0 {
			f.Fatal("no seeds:", err)
		}
		for _, file := range files {
			data, err := os.ReadFile(file)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(string(data))
		}
	}
	f.Add("\"a\\u0062\" = 1\n'host'.name = \"\"\"\"\"x\"\"\"\"\"\n")
	f.Fuzz(func(t *testing.T, text string) {
		c, err := Parse("lab.toml", []byte(text))
		if (c == nil) == (err == nil) {
			t.Fatalf("configuration %v and error %v", c, err)
		}
		if err == nil {
			for _, warning := range c.Warnings {
				checkMessage(t, warning)
			}
			return
		}
		var errs Errors
		if !errors.As(err, &errs) || len(errs) == 0 {
			t.Fatalf("error of type %T: %v", err, err)
		}
		for _, e := range errs {
			checkMessage(t, e.Error())
			if lines := strings.Count(text, "\n") + 1; e.Line < 0 || e.Line > lines {
				t.Errorf("line %d of %d: %v", e.Line, lines, e)
			}
		}
	})
}

func checkMessage(t *testing.T, message string) {
	t.Helper()
	if !strings.HasPrefix(message, "lab.toml:") || strings.Contains(message, "\n") {
		t.Errorf("not one line that begins with the file: %q", message)
	}
}
