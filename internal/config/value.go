package config

import (
	"time"
	"unicode"
)

// maxText is the longest string that is taken, in bytes: PATH_MAX, and twice
// the kernel command line of x86.
const maxText = 4096

// value is a leaf of the raw structs. fill takes what the TOML parser made of
// it; place tells where it stands, or would stand.
type value interface {
	fill(d *decoder, path string, v any)
	at(p place)
}

// table is embedded in each struct of keys.
type table struct{ place }

func (t *table) at(p place) { t.place = p }

type text struct {
	place
	value string
	set   bool
}

func (t *text) at(p place) { t.place = p }

func (t *text) fill(d *decoder, _ string, v any) {
	s, ok := v.(string)
	if !ok {
		d.wrong(t.place, "is %s; write it as a string in quotes", typeName(v))
		return
	}
	for _, r := range s {
		if unicode.IsControl(r) {
			d.wrong(t.place, "%s has a control character, which would break out of its line in a script; remove it", quoted(s))
			return
		}
	}
	if len(s) > maxText {
		d.wrong(t.place, "is %d bytes long; at most %d are taken", len(s), maxText)
		return
	}
	t.value, t.set = s, true
}

type number struct {
	place
	value int
	set   bool
}

func (n *number) at(p place) { n.place = p }

func (n *number) fill(d *decoder, _ string, v any) {
	i, ok := v.(int64)
	if !ok {
		d.wrong(n.place, "is %s; write it as a whole number without quotes", typeName(v))
		return
	}
	n.value, n.set = int(i), true
}

type boolean struct {
	place
	value bool
	set   bool
}

func (f *boolean) at(p place) { f.place = p }

func (f *boolean) fill(d *decoder, _ string, v any) {
	b, ok := v.(bool)
	if !ok {
		d.wrong(f.place, "is %s; write true or false without quotes", typeName(v))
		return
	}
	f.value, f.set = b, true
}

// texts is a list of strings; a single string stands for a list of one.
type texts struct {
	place
	items  []text
	set    bool
	single bool // it was written as one string
}

func (t *texts) at(p place) { t.place = p }

func (t *texts) fill(d *decoder, path string, v any) {
	t.set = true
	list, ok := v.([]any)
	if !ok {
		if _, t.single = v.(string); !t.single {
			d.wrong(t.place, "is %s; write it as a list of strings", typeName(v))
			return
		}
		list = []any{v}
	}
	for i, element := range list {
		item := text{place: place{t.key, d.lineOf(indexed(path, i), t.line)}}
		item.fill(d, "", element)
		if item.set {
			t.items = append(t.items, item)
		}
	}
}

// pairs is a list of pairs of strings; a single pair stands for a list of one.
type pairs struct {
	place
	items [][2]text
	set   bool
}

func (p *pairs) at(at place) { p.place = at }

func (p *pairs) fill(d *decoder, path string, v any) {
	p.set = true
	list, ok := v.([]any)
	if !ok {
		d.wrong(p.place, `is %s; write it as ["first", "last"]`, typeName(v))
		return
	}
	if len(list) > 0 {
		if _, nested := list[0].([]any); !nested {
			p.pair(d, path, p.line, list)
			return
		}
	}
	for i, element := range list {
		path := indexed(path, i)
		line := d.lineOf(path, p.line)
		pair, ok := element.([]any)
		if !ok {
			d.wrong(place{p.key, line}, `is %s; write several as [["first", "last"], ["first", "last"]]`, typeName(element))
			continue
		}
		p.pair(d, path, line, pair)
	}
}

func (p *pairs) pair(d *decoder, path string, line int, list []any) {
	both := texts{place: place{p.key, line}}
	both.fill(d, path, list)
	switch {
	case len(list) != 2:
		d.wrong(both.place, `has %d addresses; write it as ["first", "last"]`, len(list))
	case len(both.items) == 2:
		p.items = append(p.items, [2]text{both.items[0], both.items[1]})
	}
}

// typeName is what the TOML parser found, in words.
func typeName(v any) string {
	switch v.(type) {
	case string:
		return "a string"
	case int64:
		return "a whole number"
	case float64:
		return "a number with a fraction"
	case bool:
		return "true or false"
	case time.Time:
		return "a date or time"
	case []any:
		return "a list"
	case []map[string]any:
		return "a list of tables"
	case map[string]any:
		return "a table"
	default:
		return "a value of another type"
	}
}
