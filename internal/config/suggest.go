package config

import (
	"reflect"
	"slices"
	"strings"
)

// nearest is the known word that is most likely meant.
func nearest(word string, known []string) (string, bool) {
	const longest = 64 // no key and no sensible name is longer
	if len(word) > longest {
		return "", false
	}
	slices.Sort(known) // so that the answer doesn't depend on their order
	best, bestDistance := "", max(1, len(word)/3)+1
	for _, k := range known {
		if d := distance(strings.ReplaceAll(strings.ToLower(word), "-", "_"), strings.ToLower(k)); d < bestDistance {
			best, bestDistance = k, d
		}
	}
	return best, best != ""
}

// distance is Levenshtein's: how many letters differ, are missing or too many.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}

// homeOf is the table that a misplaced key belongs in, or two of them; more are
// no advice.
func homeOf(key string) (string, bool) {
	var homes []string
	walkTables(reflect.TypeFor[raw](), "", func(head string, keys []string) {
		if slices.Contains(keys, key) {
			homes = append(homes, head)
		}
	})
	if len(homes) < 1 || len(homes) > 2 {
		return "", false
	}
	slices.Sort(homes)
	return strings.Join(homes, " or "), true
}

// walkTables calls visit for each table of the file, with its head as it is
// written and its keys that are no tables.
func walkTables(t reflect.Type, path string, visit func(head string, keys []string)) {
	var keys []string
	for key, structField := range keysOf(t) {
		path, field := joined(path, key), structField.Type
		switch {
		case reflect.PointerTo(field).Implements(reflect.TypeFor[value]()):
			keys = append(keys, key)
		case field.Kind() == reflect.Slice:
			walkTables(field.Elem(), path, func(head string, keys []string) {
				if head == "["+path+"]" {
					head = "[" + head + "]"
				}
				visit(head, keys)
			})
		default:
			walkTables(field, path, visit)
		}
	}
	slices.Sort(keys)
	if path != "" {
		visit("["+path+"]", keys)
	}
}

// list is words for a sentence, with commas.
func list(words []string) string { return strings.Join(words, ", ") }
