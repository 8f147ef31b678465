package state

import (
	"bytes"
	"encoding/binary"
	"errors"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.etcd.io/bbolt"

	"ravenboot/internal/machine"
)

var discard = slog.New(slog.DiscardHandler)

func addr(i int) netip.Addr { return netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}) }

func lease(i int) Lease {
	return Lease{Addr: addr(i), MAC: machine.MAC{2, 0, 0, 0, byte(i >> 8), byte(i)}, Expires: time.Unix(1700000000+int64(i), 0)}
}

func open(t testing.TB, dir string) *State {
	t.Helper()
	s, err := Open(dir, discard)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func leases(t testing.TB, s *State) []Lease {
	t.Helper()
	got, err := s.Leases()
	if err != nil {
		t.Fatal(err)
	}
	return got
}

var sameAddr = cmp.Comparer(func(a, b netip.Addr) bool { return a == b })

func TestLeasesOutliveARestart(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	s := open(t, dir)
	var want []Lease
	for i := range 300 {
		s.PutLease(lease(i))
		if i%3 == 0 {
			s.DeleteLease(addr(i))
			continue
		}
		renewed := lease(i)
		renewed.Expires = renewed.Expires.Add(time.Hour)
		s.PutLease(renewed)
		want = append(want, renewed)
	}
	if err := s.Close(); err != nil { // flushes what nobody waited for
		t.Fatal(err)
	}
	if err := s.PutLease(lease(1)).Wait(t.Context()); !errors.Is(err, ErrClosed) {
		t.Errorf("a write after Close: %v", err)
	}
	if err := s.Close(); !errors.Is(err, ErrClosed) {
		t.Errorf("a second Close: %v", err)
	}
	s = open(t, dir)
	defer s.Close()
	if diff := cmp.Diff(want, leases(t, s), sameAddr); diff != "" {
		t.Error(diff)
	}
	for path, mode := range map[string]os.FileMode{dir: 0o700, filepath.Join(dir, FileName): 0o600} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != mode {
			t.Errorf("%s: %v, %v, want mode %v", path, info.Mode(), err, mode)
		}
	}
}

func words(t testing.TB, s *State) []Word {
	t.Helper()
	got, err := s.Words()
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func TestWordsOutliveARestart(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	var want []Word
	for i := range 300 {
		w := Word{MAC: lease(i).MAC, Text: bytes.Repeat([]byte{byte(i)}, i*30)}
		s.PutWord(Word{MAC: w.MAC, Text: []byte("an earlier word")})
		s.PutWord(w)
		if i%3 == 0 {
			s.DeleteWord(w.MAC)
			continue
		}
		want = append(want, w)
	}
	s.PutLease(lease(1))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir)
	defer s.Close()
	if diff := cmp.Diff(want, words(t, s)); diff != "" {
		t.Error(diff)
	}
	if got := leases(t, s); len(got) != 1 {
		t.Errorf("leases %v", got)
	}
}

func TestGarbledWordsAreLeftOut(t *testing.T) {
	s := open(t, t.TempDir())
	defer s.Close()
	good := Word{MAC: lease(1).MAC, Text: []byte("{}")}
	key, value := encodeWord(good)
	flipped := bytes.Clone(value)
	flipped[1] ^= 1
	newer := []byte{wordVersion + 1, '{', '}'}
	newer = binary.BigEndian.AppendUint32(newer, checksum([]byte("newer!"), newer))
	for k, v := range map[string][]byte{
		string(key): value, "other!": value, "six by": flipped, "short": value, "nothin": {1, 2, 3}, "newer!": newer,
	} {
		if err := s.queue(func(tx *bbolt.Tx) error { return tx.Bucket(wordBucket).Put([]byte(k), v) }).Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff([]Word{good}, words(t, s)); diff != "" {
		t.Error(diff)
	}
}

func TestExpiryIsNeverBeforeWhatWasPut(t *testing.T) {
	s := open(t, t.TempDir())
	defer s.Close()
	l := lease(1)
	l.Expires = l.Expires.Add(time.Nanosecond)
	if err := s.PutLease(l).Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := leases(t, s)[0].Expires; got.Before(l.Expires) {
		t.Errorf("put %v, kept %v", l.Expires, got)
	}
}

// TestConcurrentWritesShareCommits has writers that wait for each of their
// writes, as the DHCP server's workers do.
func TestConcurrentWritesShareCommits(t *testing.T) {
	s := open(t, t.TempDir())
	defer s.Close()
	const writers, each = 32, 20
	commits := make([]map[*Commit]bool, writers)
	var wg sync.WaitGroup
	for w := range writers {
		commits[w] = map[*Commit]bool{}
		wg.Go(func() {
			for i := range each {
				c := s.PutLease(lease(w*each + i))
				if err := c.Wait(t.Context()); err != nil {
					t.Error(err)
				}
				commits[w][c] = true
			}
		})
	}
	wg.Wait()
	if got := len(leases(t, s)); got != writers*each {
		t.Errorf("%d leases, want %d", got, writers*each)
	}
	all := map[*Commit]bool{}
	for _, m := range commits {
		for c := range m {
			all[c] = true
		}
	}
	if len(all) > writers*each/2 {
		t.Errorf("%d writes took %d transactions", writers*each, len(all))
	}
}

func TestLockedFile(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	defer s.Close()
	_, err := Open(dir, discard)
	wantError(t, err, filepath.Join(dir, FileName), "another ravenboot")
}

func TestDirectoryThatCannotBeMade(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := Open(filepath.Join(file, "state"), discard)
	wantError(t, err, file, "state_dir")
}

// TestDamagedFile spoils a database in several ways. Each must be refused with
// the file's name and what to do, or opened without the records that it lost:
// bbolt itself panics or faults on some of them.
func TestDamagedFile(t *testing.T) {
	for name, row := range map[string]struct {
		spoil   func(db []byte) []byte
		refused bool
	}{
		"no database":         {func([]byte) []byte { return bytes.Repeat([]byte("lease 10.0.0.1;\n"), 4096) }, true},
		"short":               {func(db []byte) []byte { return db[:100] }, true},
		"cut after its heads": {func(db []byte) []byte { return db[:2*os.Getpagesize()] }, true},
		"cut in the middle":   {func(db []byte) []byte { return db[:6*os.Getpagesize()] }, true},
		"heads zeroed":        {func(db []byte) []byte { clear(db[:2*os.Getpagesize()]); return db }, true},
		"data zeroed":         {func(db []byte) []byte { clear(db[2*os.Getpagesize():]); return db }, true},
		"data full of 0xff":   {func(db []byte) []byte { fill(db[2*os.Getpagesize():]); return db }, true},
		"empty":               {func([]byte) []byte { return nil }, false},
		"a garbled record":    {func(db []byte) []byte { return bytes.ReplaceAll(db, []byte{2, 0, 0, 0, 1, 7}, []byte("garble")) }, false},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			s := open(t, dir)
			for i := range 2000 {
				s.PutLease(lease(i))
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(dir, FileName)
			db, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, row.spoil(db), 0o600); err != nil {
				t.Fatal(err)
			}
			s, err = Open(dir, discard)
			if row.refused {
				wantError(t, err, path, "move it away")
				if _, err = Open(dir, discard); err == nil || strings.Contains(err.Error(), "another") {
					t.Errorf("opened again: %v; the first attempt left its lock behind", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			if err := s.PutLease(lease(1)).Wait(t.Context()); err != nil {
				t.Errorf("the opened file can't be written: %v", err)
			}
		})
	}
}

func fill(b []byte) {
	for i := range b {
		b[i] = 0xff
	}
}

func TestGarbledRecordsAreLeftOut(t *testing.T) {
	var logged bytes.Buffer
	dir := t.TempDir()
	s, err := Open(dir, slog.New(slog.NewTextHandler(&logged, nil)))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	key, good := encodeLease(lease(1))
	flipped := bytes.Clone(good)
	flipped[3] ^= 1
	newer := append([]byte{leaseVersion + 1}, good[1:]...)
	for k, v := range map[string][]byte{
		string(key): good, "\x0a\x00\x00\x02": good /* another's */, "\x0a\x00\x00\x03": flipped, "\x0a\x00\x00\x04": newer,
		"\x0a\x00\x00\x05": good[:5], "\x0a": good, "sixteen bytes ip": good,
	} {
		if err := s.queue(func(tx *bbolt.Tx) error { return tx.Bucket(leaseBucket).Put([]byte(k), v) }).Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff([]Lease{lease(1)}, leases(t, s), sameAddr); diff != "" {
		t.Error(diff)
	}
	if got := strings.Count(logged.String(), "lease left out"); got != 6 {
		t.Errorf("%d warnings, want 6:\n%s", got, &logged)
	}
}

// TestWriteFails shuts the file under the writer's feet, as a disk that fails
// would.
func TestWriteFails(t *testing.T) {
	var logged bytes.Buffer
	s, err := Open(t.TempDir(), slog.New(slog.NewTextHandler(&logged, nil)))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.db.Close(); err != nil {
		t.Fatal(err)
	}
	wantError(t, s.PutLease(lease(1)).Wait(t.Context()), s.path)
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if !strings.Contains(logged.String(), "disk full") {
		t.Errorf("logged %q", &logged)
	}
}

func TestOnlyIPv4IsKept(t *testing.T) {
	s := open(t, t.TempDir())
	defer s.Close()
	wantError(t, s.PutLease(Lease{Addr: netip.IPv6Loopback()}).Wait(t.Context()), "::1")
}

func wantError(t *testing.T, err error, words ...string) {
	t.Helper()
	for _, word := range words {
		if err == nil || !strings.Contains(err.Error(), word) {
			t.Errorf("error %v, want one that says %q", err, word)
		}
	}
}

func FuzzLeaseRecord(f *testing.F) {
	key, value := encodeLease(lease(77))
	f.Add(key, value)
	f.Add([]byte{10, 0, 0, 1}, []byte{})
	f.Fuzz(func(t *testing.T, key, value []byte) {
		l, err := decodeLease(key, value)
		if err != nil {
			return
		}
		if k, v := encodeLease(l); !bytes.Equal(k, key) || !bytes.Equal(v, value) {
			t.Errorf("%x=%x is read as %v, which is written as %x=%x", key, value, l, k, v)
		}
	})
}

func FuzzWordRecord(f *testing.F) {
	key, value := encodeWord(Word{MAC: lease(77).MAC, Text: []byte("{}")})
	f.Add(key, value)
	f.Add([]byte("a mac!"), []byte{})
	f.Fuzz(func(t *testing.T, key, value []byte) {
		w, err := decodeWord(key, value)
		if err != nil {
			return
		}
		if k, v := encodeWord(w); !bytes.Equal(k, key) || !bytes.Equal(v, value) {
			t.Errorf("%x=%x is read as %v, which is written as %x=%x", key, value, w, k, v)
		}
	})
}
