package assets

import (
	"fmt"
	"io"
	"os"
	"sync"
)

// cache holds the loaders that were asked for in memory, so that a room full of
// machines costs one reading.
type cache struct {
	mu     sync.Mutex
	byPath map[string]*Content
}

// open gives a loader's content, read anew if size or time of the file differ.
func (c *cache) open(l Loader) (*Content, error) {
	info, err := os.Stat(l.Path)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	held := c.byPath[l.Path]
	if held == nil || held.Size != info.Size() || !held.ModTime.Equal(info.ModTime()) {
		if held, err = readLoader(l); err != nil {
			return nil, err
		}
		if c.byPath == nil {
			c.byPath = map[string]*Content{}
		}
		c.byPath[l.Path] = held
	}
	if held.Name == l.Name {
		return held, nil
	}
	named := *held
	named.Name = l.Name
	return &named, nil
}

func readLoader(l Loader) (*Content, error) {
	file, err := os.Open(l.Path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() == 0 || info.Size() > largestLoader {
		return nil, fmt.Errorf("%s: no regular file of at most %d bytes any more", l.Path, largestLoader)
	}
	data := make([]byte, info.Size())
	if _, err := io.ReadFull(file, data); err != nil {
		return nil, fmt.Errorf("%s: changed while it was read: %w", l.Path, err)
	}
	l.Size = info.Size()
	return &Content{Loader: l, ModTime: info.ModTime(), Data: data}, nil
}
