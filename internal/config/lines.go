package config

import (
	"strconv"
	"strings"
)

// indexLines finds the line of every key, table and list element of a document
// that the TOML parser has accepted; the parser keeps positions to itself.
// Paths are as in host[3].mac[0]. A key that can't be found here (quoted, with
// escapes that Go doesn't know) costs an error its exact line, nothing more.
func indexLines(data []byte) map[string]int {
	s := &lineScanner{data: string(data), line: 1, lines: make(map[string]int), tables: make(map[string]int)}
	s.document()
	return s.lines
}

func joined(path, key string) string {
	if !isBare(key) {
		key = strconv.Quote(key)
	}
	if path == "" {
		return key
	}
	return path + "." + key
}

func indexed(path string, i int) string { return path + "[" + strconv.Itoa(i) + "]" }

// isBare reports whether a key needs no quotes in TOML.
func isBare(key string) bool {
	for i := range len(key) {
		if !isBareByte(key[i]) {
			return false
		}
	}
	return key != ""
}

func isBareByte(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c == '-'
}

type lineScanner struct {
	data   string
	pos    int
	line   int
	lines  map[string]int
	tables map[string]int // lists of tables: how many there are so far
}

// peek is the next byte, or 0 at the end. TOML allows no NUL.
func (s *lineScanner) peek() byte {
	if s.pos < len(s.data) {
		return s.data[s.pos]
	}
	return 0
}

func (s *lineScanner) skip(n int) {
	end := min(s.pos+n, len(s.data))
	s.line += strings.Count(s.data[s.pos:end], "\n")
	s.pos = end
}

// take skips prefix if it comes next.
func (s *lineScanner) take(prefix string) bool {
	if !strings.HasPrefix(s.data[s.pos:], prefix) {
		return false
	}
	s.skip(len(prefix))
	return true
}

// until skips to the next of the bytes in stops, or to the end.
func (s *lineScanner) until(stops string) {
	n := strings.IndexAny(s.data[s.pos:], stops)
	if n < 0 {
		n = len(s.data) - s.pos
	}
	s.skip(n)
}

// blanks skips blanks, and with them comments and newlines.
func (s *lineScanner) blanks() {
	for {
		switch s.peek() {
		case ' ', '\t', '\r', '\n':
			s.skip(1)
		case '#':
			s.until("\n")
		default:
			return
		}
	}
}

func (s *lineScanner) document() {
	prefix := ""
	for s.blanks(); s.pos < len(s.data); s.blanks() {
		before := s.pos
		switch {
		case s.take("[["):
			prefix = s.header(true)
		case s.take("["):
			prefix = s.header(false)
		default:
			s.keyValue(prefix)
		}
		if s.pos == before {
			s.skip(1)
		}
	}
}

// header reads what follows the brackets of a table's head, and gives the
// table's path.
func (s *lineScanner) header(many bool) string {
	line := s.line
	path := ""
	keys := s.keys()
	for i, key := range keys {
		path = joined(path, key)
		s.note(path, line)
		if many && i == len(keys)-1 {
			s.tables[path]++
		}
		if n := s.tables[path]; n > 0 {
			path = indexed(path, n-1)
		}
	}
	s.lines[path] = line // the header's own line, if a subtable came before
	s.until("]")
	s.skip(1)
	if many {
		s.skip(1)
	}
	return path
}

// note keeps the first line of what may be met several times.
func (s *lineScanner) note(path string, line int) {
	if _, known := s.lines[path]; !known {
		s.lines[path] = line
	}
}

// keyValue reads key = value in the table at path.
func (s *lineScanner) keyValue(path string) {
	line := s.line
	for _, key := range s.keys() {
		path = joined(path, key)
		s.note(path, line)
	}
	s.blanks()
	if s.take("=") {
		s.value(path)
	}
}

// keys reads a dotted key.
func (s *lineScanner) keys() []string {
	var keys []string
	for {
		s.blanks()
		begin := s.pos
		switch s.peek() {
		case '"', '\'':
			s.str()
			keys = append(keys, unquoted(s.data[begin:s.pos]))
		default:
			for isBareByte(s.peek()) {
				s.pos++
			}
			keys = append(keys, s.data[begin:s.pos])
		}
		s.blanks()
		if !s.take(".") {
			return keys
		}
	}
}

func unquoted(s string) string {
	if len(s) >= 2 && s[0] == '\'' {
		return s[1 : len(s)-1]
	}
	if plain, err := strconv.Unquote(s); err == nil {
		return plain
	}
	return s
}

func (s *lineScanner) value(path string) {
	s.blanks()
	switch s.peek() {
	case '"', '\'':
		s.str()
	case '[':
		s.array(path)
	case '{':
		s.inlineTable(path)
	default:
		s.until(",]}#\n")
	}
}

// str skips a string of any of the four kinds.
func (s *lineScanner) str() {
	quote := s.data[s.pos : s.pos+1]
	if long := strings.Repeat(quote, 3); s.take(long) {
		s.quotedUntil(long, quote == `"`)
		for s.take(quote) { // up to two quotes may stand before the closing three
		}
		return
	}
	s.skip(1)
	s.quotedUntil(quote, quote == `"`)
}

func (s *lineScanner) quotedUntil(end string, escapes bool) {
	for s.pos < len(s.data) && !s.take(end) {
		if escapes && s.peek() == '\\' {
			s.skip(1)
		}
		s.skip(1)
	}
}

func (s *lineScanner) array(path string) {
	s.skip(1)
	for i := 0; ; i++ {
		s.blanks()
		if s.take("]") || s.pos == len(s.data) {
			return
		}
		element := indexed(path, i)
		s.note(element, s.line)
		s.value(element)
		s.blanks()
		if !s.take(",") && s.peek() != ']' {
			return
		}
	}
}

func (s *lineScanner) inlineTable(path string) {
	s.skip(1)
	for {
		s.blanks()
		if s.take("}") || s.pos == len(s.data) {
			return
		}
		s.keyValue(path)
		s.blanks()
		if !s.take(",") && s.peek() != '}' {
			return
		}
	}
}
