// Package batch is how many small files of a binary cache are asked for in one
// request: the question and the answer, as both ends write them.
//
// A lab's system has some two thousand store paths that hold a few kilobytes,
// and each is a narinfo and a NAR. In requests of their own, HTTP's work for
// them takes longer than their content, and in a batch it doesn't.
//
// The question is a POST to Path below the cache's URL. Its body holds the names
// of files, relative to that URL, a line each. The answer holds for each, in the
// same order, a line with its length in bytes and then the file; or a line with
// "-" for one that is not there, or too large, or has to be fetched first. Such a
// file, and all files where a cache knows no batches, are asked for as ever.
//
// It must not know what the files are: each is as trustworthy as if it had come
// alone.
package batch

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

const (
	// Path is where batches are asked for.
	Path = "batch"
	// ContentType is that of an answer.
	ContentType = "application/x-ravenboot-batch"
	// MaxNames is how many files one request may ask for.
	MaxNames = 1024
	// MaxName is how long a name may be, in bytes: "nar/", the hashes of a store
	// path and of a file, and two suffixes take 97.
	MaxName = 128
	// MaxQuestion is how long a question may be, in bytes.
	MaxQuestion = MaxNames * (MaxName + 1)
	// MaxFile is how long a file in a batch may be, in bytes. One of this size
	// takes half a millisecond on a gigabit, about as long as a request's work.
	MaxFile = 64 << 10
)

// Fits tells whether a file can be asked for in a batch by its name.
func Fits(name string) bool {
	return name != "" && len(name) <= MaxName && !strings.ContainsAny(name, "\r\n")
}

// Question is the body that asks for files, all of which fit.
func Question(names []string) []byte {
	return []byte(strings.Join(names, "\n") + "\n")
}

// ReadQuestion reads the names that a body asks for.
func ReadQuestion(body io.Reader) ([]string, error) {
	text, err := io.ReadAll(io.LimitReader(body, MaxQuestion+1))
	if err != nil {
		return nil, err
	}
	if len(text) > MaxQuestion {
		return nil, fmt.Errorf("more than %d bytes", MaxQuestion)
	}
	names := strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
	if len(names) > MaxNames {
		return nil, fmt.Errorf("%d names; at most %d are answered at a time", len(names), MaxNames)
	}
	for i, name := range names {
		if !Fits(name) {
			return nil, fmt.Errorf("line %d, %.200q, is no name of a file", i+1, name)
		}
	}
	return names, nil
}

// none stands for a file that a batch doesn't have.
const none = "-"

// AppendFile adds a file to an answer.
func AppendFile(answer, file []byte) []byte {
	answer = strconv.AppendInt(answer, int64(len(file)), 10)
	answer = append(answer, '\n')
	return append(answer, file...)
}

// AppendNone adds to an answer that a file has to be asked for alone.
func AppendNone(answer []byte) []byte { return append(answer, none+"\n"...) }

// Reader reads an answer.
type Reader struct {
	from *bufio.Reader
	file [MaxFile]byte
}

// ErrFormat is in the error of an answer that is none.
var ErrFormat = errors.New("not the answer to a batch")

// NewReader makes a Reader of an answer.
func NewReader(answer io.Reader) *Reader {
	return &Reader{from: bufio.NewReaderSize(answer, MaxFile)}
}

// Next returns the next file, which is valid until the call after this one; or
// nil if the batch hasn't got it. An answer that ends too early is
// io.ErrUnexpectedEOF.
func (r *Reader) Next() ([]byte, error) {
	line, err := r.from.ReadSlice('\n')
	if errors.Is(err, io.EOF) {
		return nil, io.ErrUnexpectedEOF
	}
	if errors.Is(err, bufio.ErrBufferFull) {
		return nil, ErrFormat
	}
	if err != nil {
		return nil, err
	}
	length, err := parseLength(bytes.TrimSuffix(line, []byte("\n")))
	if err != nil || length < 0 {
		return nil, err
	}
	if _, err := io.ReadFull(r.from, r.file[:length]); err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return nil, err
	}
	return r.file[:length], nil
}

// parseLength returns -1 for a file that isn't in the batch.
func parseLength(line []byte) (int, error) {
	if string(line) == none {
		return -1, nil
	}
	length, err := strconv.ParseUint(string(line), 10, 32)
	if err != nil || length > MaxFile {
		return 0, fmt.Errorf("%w: %.30q is no length of a file", ErrFormat, line)
	}
	return int(length), nil
}
