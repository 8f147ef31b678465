package layout

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"unicode/utf8"
)

// maxDeclaration is in bytes, maxDepth in objects and lists inside each other.
const (
	maxDeclaration = 64 << 10
	maxDepth       = 8
)

// object is a JSON object that still knows its keys' order, so that problems
// come in the order of the text.
type object struct {
	keys   []string
	values map[string]any
}

// decode reads JSON into *object, []any, string, json.Number, bool and nil.
// Unlike encoding/json it takes no key twice: of two sizes, one would be
// dropped in silence.
func decode(text []byte) (any, error) {
	switch {
	case len(text) > maxDeclaration:
		return nil, fmt.Errorf("longer than %d bytes", maxDeclaration)
	case !utf8.Valid(text):
		return nil, errors.New("not UTF-8")
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	v, err := decodeValue(d, 0)
	if err == nil {
		if _, more := d.Token(); more != io.EOF {
			err = errors.New("something follows the closing brace")
		}
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		err = errors.New("it ends in the middle")
	}
	if err != nil {
		line := 1 + bytes.Count(text[:min(int(d.InputOffset()), len(text))], []byte("\n"))
		return nil, fmt.Errorf("not JSON, near line %d: %w", line, err)
	}
	return v, nil
}

func decodeValue(d *json.Decoder, depth int) (any, error) {
	token, err := d.Token()
	if err != nil {
		return nil, err
	}
	if depth > maxDepth {
		return nil, errors.New("too many objects inside each other")
	}
	switch token {
	case json.Delim('{'):
		return decodeObject(d, depth)
	case json.Delim('['):
		return decodeList(d, depth)
	}
	return token, nil
}

func decodeObject(d *json.Decoder, depth int) (any, error) {
	o := &object{values: map[string]any{}}
	for d.More() {
		token, err := d.Token()
		if err != nil {
			return nil, err
		}
		key := token.(string) // the decoder takes nothing else for a key
		if _, twice := o.values[key]; twice {
			return nil, fmt.Errorf("the key %s is there twice", quoted(key))
		}
		if o.values[key], err = decodeValue(d, depth+1); err != nil {
			return nil, err
		}
		o.keys = append(o.keys, key)
	}
	_, err := d.Token()
	return o, err
}

func decodeList(d *json.Decoder, depth int) (any, error) {
	list := []any{}
	for d.More() {
		v, err := decodeValue(d, depth+1)
		if err != nil {
			return nil, err
		}
		list = append(list, v)
	}
	_, err := d.Token()
	return list, err
}
