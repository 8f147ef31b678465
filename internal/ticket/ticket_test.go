package ticket

import (
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"ravenboot/internal/machine"
)

var (
	mac  = machine.MAC{0x52, 0x54, 0, 0x12, 0x34, 0x56}
	noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
)

func TestTicketIsGoodForItsMachineAndItsTime(t *testing.T) {
	k, other := NewKey(), NewKey()
	ticket := k.Mint(mac, noon)
	for _, row := range []struct {
		name   string
		key    *Key
		ticket string
		now    time.Time
		want   error
	}{
		{"at once", k, ticket, noon, nil},
		{"in its last second", k, ticket, noon.Add(Life - time.Second), nil},
		{"by a clock that was set back", k, ticket, noon.Add(-time.Hour), nil},
		{"at its end", k, ticket, noon.Add(Life), ErrExpired},
		{"another server's", other, ticket, noon, ErrForged},
		{"none", k, "", noon, ErrForged},
		{"cut", k, ticket[:Length-1], noon, ErrForged},
		{"longer", k, ticket + "A", noon, ErrForged},
		{"with a line end in place of a character", k, ticket[:Length-1] + "\n", noon, ErrForged},
		{"other letters", k, strings.Repeat("*", Length), noon, ErrForged},
	} {
		t.Run(row.name, func(t *testing.T) {
			got, err := row.key.Check(row.ticket, row.now)
			if !errors.Is(err, row.want) || err == nil && got != mac || err != nil && !got.IsZero() {
				t.Errorf("%v, %v; want error %v", got, err, row.want)
			}
		})
	}
}

// TestNoCharacterCanBeChanged changes each to every other one: base64's last
// character has bits that mean nothing.
func TestNoCharacterCanBeChanged(t *testing.T) {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	k := NewKey()
	ticket := k.Mint(mac, noon)
	for i := range ticket {
		for _, c := range alphabet {
			changed := ticket[:i] + string(c) + ticket[i+1:]
			if _, err := k.Check(changed, noon); (err == nil) != (changed == ticket) {
				t.Errorf("%s for %s: %v", changed, ticket, err)
			}
		}
	}
}

func TestTicketIsOneShortWord(t *testing.T) {
	k := NewKey()
	for i := range 500 {
		ticket := k.Mint(machine.MAC{2, 0, 0, 0, byte(i >> 8), byte(i)}, noon)
		plain := strings.Trim(ticket, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_") == ""
		if len(ticket) != Length || len(ticket) > 44 || !plain {
			t.Fatalf("ticket %q", ticket)
		}
	}
}

// TestClockOfOtherCenturies: a board without a battery starts in 1970, or in
// 2036. No such clock makes a ticket without end.
func TestClockOfOtherCenturies(t *testing.T) {
	k := NewKey()
	for _, now := range []time.Time{{}, time.Unix(-1<<40, 0), time.Unix(1<<32-1, 0), time.Unix(1<<40, 0)} {
		if _, err := k.Check(k.Mint(mac, now), noon); !errors.Is(err, ErrExpired) {
			t.Errorf("made at %v: %v", now, err)
		}
	}
	if _, err := k.Check(k.Mint(mac, time.Unix(0, 0)), time.Unix(0, 0).Add(time.Hour)); err != nil {
		t.Errorf("a clock in 1970: %v", err)
	}
}

func TestKeyIsKept(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	if _, err := ReadKey(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("ReadKey without a key: %v", err)
	}
	k, err := OpenKey(dir)
	if err != nil {
		t.Fatal(err)
	}
	for name, open := range map[string]func(string) (*Key, error){"OpenKey": OpenKey, "ReadKey": ReadKey} {
		again, err := open(dir)
		if err != nil || *again != *k {
			t.Errorf("%s gives another key, %v", name, err)
		}
	}
	for path, mode := range map[string]os.FileMode{dir: 0o700, filepath.Join(dir, KeyFile): 0o600} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != mode {
			t.Errorf("%s: %v, %v, want mode %v", path, info, err, mode)
		}
	}
	if files, err := os.ReadDir(dir); err != nil || len(files) != 1 {
		t.Errorf("%v, %v: more than the key is left behind", files, err)
	}
}

// TestManyMakeOneKey: of several that make the key at once, all end with the
// one that is in the file.
func TestManyMakeOneKey(t *testing.T) {
	dir := t.TempDir()
	keys := make([]*Key, 8)
	var all sync.WaitGroup
	for i := range keys {
		all.Go(func() {
			k, err := OpenKey(dir)
			if err != nil {
				t.Error(err)
			}
			keys[i] = k
		})
	}
	all.Wait()
	for _, k := range keys[1:] {
		if *k != *keys[0] {
			t.Fatal("two keys")
		}
	}
}

func TestKeysThatAreNone(t *testing.T) {
	for _, row := range []struct {
		name, content string
		mode          os.FileMode
		want          string
	}{
		{"short", strings.Repeat("x", keyLength-1), 0o600, "does not have 32 bytes; delete it"},
		{"long", strings.Repeat("x", keyLength+1), 0o600, "does not have 32 bytes; delete it"},
		{"empty", "", 0o600, "does not have 32 bytes; delete it"},
		{"known to others", strings.Repeat("x", keyLength), 0o640, "can be read by others (-rw-r-----)"},
	} {
		t.Run(row.name, func(t *testing.T) {
			dir := t.TempDir()
			file := filepath.Join(dir, KeyFile)
			if err := os.WriteFile(file, []byte(row.content), row.mode); err != nil {
				t.Fatal(err)
			}
			_, err := OpenKey(dir)
			if err == nil || !strings.Contains(err.Error(), file) || !strings.Contains(err.Error(), row.want) {
				t.Errorf("error %v, want %q", err, row.want)
			}
			if text, err := os.ReadFile(file); err != nil || string(text) != row.content {
				t.Errorf("the file was changed: %q, %v", text, err)
			}
		})
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenKey(filepath.Join(file, "state")); err == nil || !strings.Contains(err.Error(), file) {
		t.Errorf("a directory that can't be made: %v", err)
	}
}

// FuzzCheck: what is accepted is exactly what was made.
func FuzzCheck(f *testing.F) {
	k := &Key{}
	f.Add(k.Mint(mac, noon), noon.Unix())
	f.Add("", int64(0))
	f.Fuzz(func(t *testing.T, ticket string, unix int64) {
		now := time.Unix(unix, 0)
		if got, err := k.Check(ticket, now); err == nil {
			raw, err := encoding.DecodeString(ticket)
			if err != nil {
				t.Fatalf("%q is accepted: %v", ticket, err)
			}
			made := time.Unix(int64(binary.BigEndian.Uint32(raw[6:])), 0).Add(-Life)
			if again := k.Mint(got, made); again != ticket {
				t.Errorf("%q is accepted for %v, %q was made", ticket, got, again)
			}
		}
		if minted, err := k.Check(k.Mint(mac, now), now); err == nil && minted != mac {
			t.Errorf("a ticket of %v is read as %v's", mac, minted)
		}
	})
}
