package nixcache

import (
	"bytes"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"ravenboot/internal/batch"
	"ravenboot/internal/nar/nartest"
)

// ask asks for files in a batch. Those that aren't in the answer are nil.
func ask(t *testing.T, url string, names ...string) [][]byte {
	t.Helper()
	response, err := http.Post(url+"/"+batch.Path, "text/plain", bytes.NewReader(batch.Question(names)))
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK || response.Header.Get("Content-Type") != batch.ContentType {
		t.Fatalf("%s, %q", response.Status, response.Header.Get("Content-Type"))
	}
	files := make([][]byte, len(names))
	answer := batch.NewReader(response.Body)
	for i := range files {
		file, err := answer.Next()
		if err != nil {
			t.Fatalf("%s: %v", names[i], err)
		}
		files[i] = bytes.Clone(file)
	}
	if _, err := answer.Next(); err != io.ErrUnexpectedEOF {
		t.Errorf("after the last file: %v", err)
	}
	return files
}

// checkBatch compares each file in a batch with the one that comes by itself. Of
// those that are too large for a batch there must be none.
func checkBatch(t *testing.T, url string, names ...string) {
	t.Helper()
	for i, got := range ask(t, url, names...) {
		r, want := request(t, "GET", url+"/"+names[i], nil)
		if len(want) > batch.MaxFile {
			want = nil
		}
		if r.StatusCode != http.StatusOK || (got == nil) != (want == nil) || !bytes.Equal(got, want) {
			t.Errorf("%s: %d bytes, nil %v; alone it is %s, %d bytes", names[i], len(got), got == nil, r.Status, len(want))
		}
	}
}

func TestBatchFromStore(t *testing.T) {
	const large, damaged = "11bgd045z0d4icpbc2yyz4gx48ak44la-large", "12bgd045z0d4icpbc2yyz4gx48ak44la-damaged"
	c, server := planted(t, slog.New(slog.DiscardHandler), map[string][]nartest.Node{
		nartest.Base: {nartest.Dir(""), nartest.File("a", "text"), nartest.File("b", "another")},
		large:        {nartest.File("", strings.Repeat("x", batch.MaxFile))},
		damaged:      {nartest.File("", "content")},
	})
	if err := os.WriteFile(filepath.Join(c.store.dir, damaged), []byte("longer content"), 0o600); err != nil {
		t.Fatal(err)
	}
	nar := func(base string) string {
		return "nar/" + base[:hashLength] + "-" + strings.Repeat("0", narHashLength) + ".nar"
	}
	narinfo := func(base string) string { return base[:hashLength] + ".narinfo" }

	checkBatch(t, server.URL, narinfo(nartest.Base), nar(nartest.Base), narinfo(large), nar(nartest.Base)+".zst", nar(nartest.Base))
	for i, file := range ask(t, server.URL,
		nar(large), nar(large)+".zst", nar(damaged), strings.Repeat("0", hashLength)+".narinfo", "nix-cache-info", "batch", "../etc/passwd") {
		if file != nil {
			t.Errorf("file %d is in the batch: %.100q", i, file)
		}
	}
}

// TestBatchIsInChunks asks for more than is sent at a time.
func TestBatchIsInChunks(t *testing.T) {
	_, server := planted(t, slog.New(slog.DiscardHandler), map[string][]nartest.Node{
		nartest.Base: {nartest.File("", strings.Repeat("x", batch.MaxFile-1000))}})
	name := "nar/" + nartest.Base[:hashLength] + "-" + strings.Repeat("0", narHashLength) + ".nar"
	names := make([]string, 100)
	for i := range names {
		names[i] = name
	}
	_, want := request(t, "GET", server.URL+"/"+name, nil)
	for i, file := range ask(t, server.URL, names...) {
		if !bytes.Equal(file, want) {
			t.Fatalf("file %d has %d bytes, want %d", i, len(file), len(want))
		}
	}
}

// TestBatchIsCounted counts a batch's files as those that come alone.
func TestBatchIsCounted(t *testing.T) {
	c, server := planted(t, slog.New(slog.DiscardHandler), map[string][]nartest.Node{nartest.Base: {nartest.File("", "text")}})
	bytes := map[string]int64{}
	done := make(chan struct{})
	c.config.Observe = func(_, kind, result string, n int64) {
		bytes[kind+" "+result] += n
		if kind == string(kindBatch) {
			close(done)
		}
	}
	nar := "nar/" + nartest.Base[:hashLength] + "-" + strings.Repeat("0", narHashLength) + ".nar"
	files := ask(t, server.URL, nar, nartest.Base[:hashLength]+".narinfo", nar, "none")
	<-done
	lines := int64(len("120\n")*2 + len(strconv.Itoa(len(files[1]))+"\n") + len("-\n"))
	want := map[string]int64{"nar sent": int64(2 * len(files[0])), "narinfo sent": int64(len(files[1])), "batch sent": lines}
	if !maps.Equal(bytes, want) {
		t.Errorf("%v, want %v", bytes, want)
	}
}

func TestBadBatches(t *testing.T) {
	_, server := planted(t, slog.New(slog.DiscardHandler), map[string][]nartest.Node{nartest.Base: nartest.Objects["tree"]})
	for _, test := range []struct {
		method, body string
		status       int
	}{
		{"GET", "", 405},
		{"HEAD", "", 405},
		{"PUT", "nix-cache-info\n", 405},
		{"POST", "", 400},
		{"POST", strings.Repeat("a\n", batch.MaxNames+1), 400},
		{"POST", strings.Repeat("a", batch.MaxQuestion+1), 400},
	} {
		r, err := http.NewRequest(test.method, server.URL+"/"+batch.Path, strings.NewReader(test.body))
		if err != nil {
			t.Fatal(err)
		}
		response, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		if response.StatusCode != test.status {
			t.Errorf("%s, %d bytes: %s, want %d", test.method, len(test.body), response.Status, test.status)
		}
		if test.status == 405 && response.Header.Get("Allow") != "POST" {
			t.Errorf("%s: Allow %q", test.method, response.Header.Get("Allow"))
		}
	}
}
