package nixcache

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"slices"

	"ravenboot/internal/narinfo"
	"ravenboot/internal/statefile"
)

// FactsFile is the name in the state directory of what is known of store
// paths. It can be deleted: what it held is asked of the store again.
const FactsFile = "cache-paths.json"

// factsVersion is that of the file's form. Files of another are passed over.
const factsVersion = 1

// factsHeader is the file's first line.
type factsHeader struct {
	Version  int    `json:"version"`
	StoreDir string `json:"store"`
}

// factsLine is each other line.
type factsLine struct {
	Path       string   `json:"path"`
	NarHash    string   `json:"narHash"` // SHA-256 in hexadecimal
	NarSize    int64    `json:"narSize"`
	Deriver    string   `json:"deriver,omitempty"`
	References []string `json:"references,omitempty"`
	stamp
}

// save writes what is known to a file, which is replaced whole.
func (c *closures) save(file string) error {
	text, err := c.encode()
	if err != nil {
		return err
	}
	if err := statefile.Replace(file, text); err != nil {
		return err
	}
	c.changed = false
	return nil
}

func (c *closures) encode() ([]byte, error) {
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	err := encoder.Encode(factsHeader{factsVersion, c.store.dir})
	for _, base := range slices.Sorted(maps.Keys(c.known)) {
		o := c.known[base]
		err = errors.Join(err, encoder.Encode(factsLine{
			Path: o.Base, NarHash: hex.EncodeToString(o.NarHash[:]), NarSize: o.NarSize,
			Deriver: o.Deriver, References: o.References, stamp: o.stamp,
		}))
	}
	return text.Bytes(), err
}

// load adds what save has written. A file that isn't there is no error, nor is
// one for another store or of another version; of a damaged one nothing is
// taken.
func (c *closures) load(file string) error {
	f, err := os.Open(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	if err := c.decode(bufio.NewReader(f)); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	return nil
}

func (c *closures) decode(text io.Reader) error {
	decoder := json.NewDecoder(text)
	var header factsHeader
	if err := decoder.Decode(&header); err != nil {
		return err
	}
	if header != (factsHeader{factsVersion, c.store.dir}) {
		return nil
	}
	lines, err := readFacts(decoder)
	if err != nil {
		return err
	}
	for _, line := range lines {
		c.add(line.Facts, line.stamp)
	}
	c.changed = false
	return nil
}

type stampedFacts struct {
	narinfo.Facts
	stamp
}

func readFacts(decoder *json.Decoder) ([]stampedFacts, error) {
	var all []stampedFacts
	for {
		var line factsLine
		err := decoder.Decode(&line)
		if errors.Is(err, io.EOF) {
			return all, nil
		}
		if err != nil {
			return nil, err
		}
		f, err := line.facts()
		if err != nil {
			return nil, err
		}
		all = append(all, stampedFacts{f, line.stamp})
	}
}

func (l *factsLine) facts() (f narinfo.Facts, err error) {
	f = narinfo.Facts{Base: l.Path, NarSize: l.NarSize, Deriver: l.Deriver, References: l.References}
	if f.NarHash, err = parseHash(l.NarHash); err != nil {
		return f, err
	}
	names := append([]string{l.Path}, l.References...)
	if l.Deriver != "" {
		names = append(names, l.Deriver)
	}
	for _, name := range names {
		if err := narinfo.CheckBase(name); err != nil {
			return f, err
		}
	}
	if l.NarSize <= 0 || !slices.IsSorted(l.References) {
		return f, fmt.Errorf("%s: its size or the order of its references is wrong", l.Path)
	}
	return f, nil
}
