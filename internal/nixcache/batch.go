package nixcache

import (
	"fmt"
	"io"
	"net/http"
	"sync"

	"ravenboot/internal/batch"
	"ravenboot/internal/nar"
)

// serveBatch answers for many small files at a time. It takes a place among the
// transfers: a batch is as much work as a NAR.
func (c *Cache) serveBatch(t *transfer) {
	names, err := batch.ReadQuestion(t.r.Body)
	if err != nil {
		t.fail(http.StatusBadRequest, "a batch: "+err.Error())
		return
	}
	if !c.enter(t) {
		return
	}
	defer c.leave()
	t.w.Header().Set("Content-Type", batch.ContentType)
	t.WriteHeader(http.StatusOK)
	pooled := answers.Get().(*[]byte)
	defer answers.Put(pooled)
	answer := (*pooled)[:0]
	var unsent []sent
	for i, name := range names {
		named, file := c.fileFor(name)
		if file == nil {
			answer = batch.AppendNone(answer)
		} else {
			answer = batch.AppendFile(answer, file)
			unsent = append(unsent, sent{named.kind, int64(len(file))})
		}
		if len(answer) < chunk && i < len(names)-1 {
			continue
		}
		if _, err := t.Write(answer); err != nil {
			return // it is in t.err
		}
		t.count(unsent)
		answer, unsent = answer[:0], unsent[:0]
	}
}

// sent is a file in a batch.
type sent struct {
	kind  kind
	bytes int64
}

// count lets each file in a batch count as one of its own kind.
func (t *transfer) count(files []sent) {
	for _, file := range files {
		t.cache.config.Observe("http", string(file.kind), "sent", file.bytes)
		t.counted += file.bytes
	}
}

// answers are buffers that hold a chunk and whatever file reaches beyond it.
var answers = sync.Pool{New: func() any { return new(make([]byte, 0, chunk+batch.MaxFile+16)) }}

// fileFor gives what is called name if a batch can hold it, else nil. Whatever is
// wrong with it is told and logged when the client asks for it alone.
func (c *Cache) fileFor(name string) (resource, []byte) {
	named, err := parseResource("/" + name)
	if err != nil {
		return named, nil
	}
	file, err := c.small(named)
	if err != nil || len(file) > batch.MaxFile {
		return named, nil
	}
	return named, file
}

// small gives a file that fits into a batch, or nil.
func (c *Cache) small(named resource) ([]byte, error) {
	o := c.view.Load().objects[named.hash]
	switch {
	case o == nil:
		return nil, nil
	case named.kind == kindNarinfo:
		return o.narinfo()
	case o.has(named):
		return c.source.small(o, named)
	}
	return nil, nil
}

func (s *storeSource) small(o *object, named resource) ([]byte, error) {
	if o.NarSize > batch.MaxFile {
		return nil, nil
	}
	content := nar.NewReader(s.dir, o.Base, o.NarSize)
	defer content.Close()
	file := make([]byte, o.NarSize)
	if _, err := io.ReadFull(content, file); err != nil {
		return nil, fmt.Errorf("%s: %w", content.Name(), err)
	}
	if err := checkEnd(content); err != nil || named.suffix == "" {
		return file, err
	}
	encoder := getEncoder()
	defer putEncoder(encoder)
	return encoder.EncodeAll(file, nil), nil
}

func (d *readyDir) small(o *object, _ resource) ([]byte, error) {
	if o.listed.FileSize > batch.MaxFile {
		return nil, nil
	}
	f, err := d.open(o.listed)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readShort(f)
}

// small gives what is kept here; the rest has to be fetched from upstream first.
func (u *upstream) small(o *object, named resource) ([]byte, error) {
	if o.listed.FileSize > batch.MaxFile {
		return nil, nil
	}
	f := u.openKept(o.listed)
	if f == nil {
		return nil, nil
	}
	defer f.Close()
	return readShort(f)
}

// readShort reads a file as far as a batch can hold it, and a byte more.
func readShort(f io.Reader) ([]byte, error) {
	return io.ReadAll(io.LimitReader(f, batch.MaxFile+1))
}
