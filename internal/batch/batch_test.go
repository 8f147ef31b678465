package batch

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
)

func TestAnswer(t *testing.T) {
	files := [][]byte{[]byte("narinfo"), {}, nil, bytes.Repeat([]byte("x"), MaxFile)}
	var answer []byte
	for _, file := range files {
		if file == nil {
			answer = AppendNone(answer)
		} else {
			answer = AppendFile(answer, file)
		}
	}
	r := NewReader(bytes.NewReader(answer))
	for i, want := range files {
		got, err := r.Next()
		if err != nil || !bytes.Equal(got, want) || (got == nil) != (want == nil) {
			t.Errorf("file %d: %d bytes, nil %v, %v; want %d", i, len(got), got == nil, err, len(want))
		}
	}
	if _, err := r.Next(); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("after the last: %v", err)
	}
}

func TestBadAnswers(t *testing.T) {
	for answer, want := range map[string]error{
		"":                               io.ErrUnexpectedEOF,
		"5":                              io.ErrUnexpectedEOF,
		"5\n":                            io.ErrUnexpectedEOF,
		"5\nfour":                        io.ErrUnexpectedEOF,
		"\n":                             ErrFormat,
		"-1\n":                           ErrFormat,
		"+1\nx":                          ErrFormat,
		"65537\n":                        ErrFormat,
		"99999999999999999999\n":         ErrFormat,
		"<html>\n":                       ErrFormat,
		strings.Repeat("1", MaxFile+100): ErrFormat,
	} {
		if file, err := NewReader(strings.NewReader(answer)).Next(); !errors.Is(err, want) {
			t.Errorf("%.30q: %q, %v; want %v", answer, file, err, want)
		}
	}
}

func TestBadQuestions(t *testing.T) {
	for _, test := range []struct{ body, want string }{
		{"", "line 1"},
		{"a\n\nb\n", "line 2"},
		{"a\r\n", "line 1"},
		{strings.Repeat("a", MaxName+1), "line 1"},
		{strings.Repeat("a\n", MaxNames+1), "at most 1024"},
		{strings.Repeat("a", MaxQuestion+1), "more than"},
	} {
		if names, err := ReadQuestion(strings.NewReader(test.body)); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%.30q: %d names, %v; want an error with %q", test.body, len(names), err, test.want)
		}
	}
}

func FuzzQuestion(f *testing.F) {
	f.Add("nix-cache-info\n00bgd045z0d4icpbc2yyz4gx48ak44la.narinfo\n")
	f.Fuzz(func(t *testing.T, body string) {
		names, err := ReadQuestion(strings.NewReader(body))
		if err != nil {
			return
		}
		again, err := ReadQuestion(bytes.NewReader(Question(names)))
		if err != nil || !slices.Equal(names, again) {
			t.Errorf("%q became %q, %v", names, again, err)
		}
	})
}

// FuzzAnswer reads all that an answer holds; each file that it has comes out of
// an answer that is made of it again.
func FuzzAnswer(f *testing.F) {
	f.Add([]byte("3\nabc-\n0\n"))
	f.Fuzz(func(t *testing.T, answer []byte) {
		var again []byte
		for r := NewReader(bytes.NewReader(answer)); ; {
			file, err := r.Next()
			if err != nil {
				break
			}
			if file == nil {
				again = AppendNone(again)
			} else {
				again = AppendFile(again, file)
			}
		}
		if len(again) > len(answer) {
			t.Errorf("%q became the longer %q", answer, again)
		}
	})
}
