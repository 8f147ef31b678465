package config

import (
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The example has what makes TOML hard to find keys in: every kind of string,
// with what looks like keys inside, nested lists, tables in one line, dotted
// and quoted keys, tables under the last of a list.
func TestIndexLines(t *testing.T) {
	data, err := os.ReadFile("testdata/lines.toml")
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]int{
		"top":                     2,
		"basic":                   3,
		"literal":                 4,
		"long":                    5,
		"raw":                     8,
		`"a.b"`:                   11,
		`"a.b".c`:                 11,
		"nested":                  12,
		"nested[0]":               13,
		"nested[0][0]":            13,
		"nested[0][1]":            14,
		"nested[1]":               15,
		"nested[1].x":             15,
		"nested[1].y":             15,
		"nested[1].y[0]":          15,
		"after":                   17,
		"list":                    19,
		"list[0]":                 19,
		"list[0].key":             20,
		"list[0].sub":             21,
		"list[0].sub.key":         22,
		"list[1]":                 24,
		"list[1].sub":             26,
		"list[1].sub.key":         27,
		"list[1].sub.end":         28,
		"super":                   31,
		"list[1].sub.super":       30,
		"list[1].sub.super.sub":   30,
		"list[1].sub.super.sub.x": 30,
		"super.key":               32,
	}
	if diff := cmp.Diff(want, indexLines(data)); diff != "" {
		t.Error(diff)
	}
}
