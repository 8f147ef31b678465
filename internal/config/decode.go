package config

import (
	"errors"
	"maps"
	"reflect"
	"slices"
	"strings"
	"sync"
	"unicode"

	"github.com/BurntSushi/toml"
)

// decoder fills the raw structs. The TOML library's own decoder stops at the
// first wrong type, takes keys in any case, and doesn't say where a key is;
// here every mistake is found, with its line.
type decoder struct {
	*problems
	lines map[string]int
	names map[[2]string]string // what keyName has made: all hosts have the same
}

// decode reads a file into the raw structs. It reports whether the file is
// TOML at all; what else is wrong is among the problems.
func decode(data []byte, p *problems) (*raw, bool) {
	if len(data) > MaxFile {
		p.wrong(place{}, "is larger than %d bytes; a thousand machines need about 200 kB, so this is hardly the right file", MaxFile)
		return nil, false
	}
	var tree map[string]any
	if err := toml.Unmarshal(data, &tree); err != nil {
		p.syntax(data, err)
		return nil, false
	}
	r := new(raw)
	d := &decoder{problems: p, lines: indexLines(data), names: make(map[[2]string]string)}
	d.table(reflect.ValueOf(r).Elem(), "", place{}, tree)
	return r, true
}

func (p *problems) syntax(data []byte, err error) {
	e := &Error{File: p.file, Text: plain(err.Error())}
	var parse toml.ParseError
	if errors.As(err, &parse) {
		e.Line, e.Column, e.Text = parse.Position.Line, parse.Position.Col, plain(parse.Message)
		// For keys that are given twice the library's column lies beyond the line.
		lines := strings.Split(string(data), "\n")
		e.Line = min(max(e.Line, 1), len(lines)) // 0 for some broken escapes
		if e.Column > len(lines[e.Line-1])+1 {
			e.Column = 0
		}
	}
	e.Text += "; correct the TOML syntax, the rest of the file was not checked"
	p.errors = append(p.errors, e)
}

// plain makes one line of the library's message, which may quote the file, at
// any length and with any bytes.
func plain(message string) string {
	const most = 200
	printable := func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return '?'
	}
	message = strings.TrimSuffix(strings.Map(printable, message), ".")
	if runes := []rune(message); len(runes) > most {
		message = string(runes[:most]) + "..."
	}
	return message
}

func (d *decoder) lineOf(path string, otherwise int) int {
	if line, ok := d.lines[path]; ok {
		return line
	}
	return otherwise
}

// table fills a struct from a table. The path has indexes and finds lines;
// at.key has none and is for people.
func (d *decoder) table(dst reflect.Value, path string, at place, keys map[string]any) {
	if t, ok := dst.Addr().Interface().(interface{ at(place) }); ok {
		t.at(at)
	}
	fields := keysOf(dst.Type())
	for _, key := range slices.Sorted(maps.Keys(keys)) {
		if _, known := fields[key]; !known {
			d.unknown(place{joined(at.key, key), d.lineOf(joined(path, key), at.line)}, key, slices.Collect(maps.Keys(fields)))
		}
	}
	for key, field := range fields {
		at := place{d.keyName(at.key, key), at.line}
		path := path
		v, present := keys[key]
		if present {
			path = joined(path, key)
			at.line = d.lineOf(path, at.line)
		}
		d.key(dst.FieldByIndex(field.Index), path, at, v, present)
	}
}

// keyName is a key's name for people, as in host.mac.
func (d *decoder) keyName(table, key string) string {
	parts := [2]string{table, key}
	name, ok := d.names[parts]
	if !ok {
		name = joined(table, key)
		d.names[parts] = name
	}
	return name
}

func (d *decoder) unknown(at place, key string, known []string) {
	if near, ok := nearest(key, known); ok {
		d.wrong(at, "is no key; do you mean %s?", near)
		return
	}
	if home, ok := homeOf(key); ok {
		d.wrong(at, "is no key here; it belongs in %s", home)
		return
	}
	slices.Sort(known)
	d.wrong(at, "is no key; known here are %s", list(known))
}

// key fills one field: a value, a table, or a list of tables.
func (d *decoder) key(field reflect.Value, path string, at place, v any, present bool) {
	if leaf, ok := field.Addr().Interface().(value); ok {
		leaf.at(at)
		if present {
			leaf.fill(d, path, v)
		}
		return
	}
	if field.Kind() == reflect.Slice {
		d.tables(field, path, at, v, present)
		return
	}
	keys, ok := v.(map[string]any)
	if present && !ok {
		d.wrong(at, "is %s; write it as a table, [%s]", typeName(v), at.key)
	}
	d.table(field, path, at, keys)
}

func (d *decoder) tables(field reflect.Value, path string, at place, v any, present bool) {
	if !present {
		return
	}
	elements, ok := tablesIn(v)
	if !ok {
		d.wrong(at, "is %s; write it as a list of tables, [[%s]]", typeName(v), at.key)
		return
	}
	field.Set(reflect.MakeSlice(field.Type(), len(elements), len(elements)))
	for i, keys := range elements {
		path := indexed(path, i)
		at := place{at.key, d.lineOf(path, at.line)}
		d.table(field.Index(i), path, at, keys)
	}
}

// tablesIn takes both forms of a list of tables: [[host]], and host = [{...}].
func tablesIn(v any) ([]map[string]any, bool) {
	if tables, ok := v.([]map[string]any); ok {
		return tables, true
	}
	elements, ok := v.([]any)
	if !ok {
		return nil, false
	}
	tables := make([]map[string]any, len(elements))
	for i, element := range elements {
		if tables[i], ok = element.(map[string]any); !ok {
			return nil, false
		}
	}
	return tables, true
}

// keysOf are the keys of a raw struct and the fields that hold them, those of
// embedded structs among them.
func keysOf(t reflect.Type) map[string]reflect.StructField {
	if known, ok := keysOfType.Load(t); ok {
		return known.(map[string]reflect.StructField)
	}
	fields := make(map[string]reflect.StructField)
	for _, field := range reflect.VisibleFields(t) {
		if key := field.Tag.Get("toml"); key != "" {
			fields[key] = field
		}
	}
	keysOfType.Store(t, fields)
	return fields
}

var keysOfType sync.Map // reflect.Type -> what keysOf gives
