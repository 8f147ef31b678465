package lockstep

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net/netip"
	"testing"
	"time"
)

// TestWrap sends more blocks than their numbers can count.
func TestWrap(t *testing.T) {
	content := randomBytes(8*70_000 + 3)
	r := Request{Remote: netip.MustParseAddrPort("192.0.2.1:2000"), Options: []Option{{"blksize", "8"}, {"tsize", "0"}}}
	x := newTransfer(r, content, 1468)
	var got []byte
	for ended := false; !ended; {
		m := x.message(time.Time{})
		block := x.block
		if block > 0 {
			if n := binary.BigEndian.Uint16(m.Buffers[0][2:]); n != uint16(block) {
				t.Fatalf("block %d has number %d", block, n)
			}
			got = append(got, m.Buffers[1]...)
		}
		if moved, _ := x.acknowledged(uint16(block)-1, time.Time{}); moved {
			t.Fatalf("block %d: a late acknowledgement counts", block)
		}
		_, ended = x.acknowledged(uint16(block), time.Time{})
	}
	if !bytes.Equal(got, content) || x.sent() != int64(len(content)) {
		t.Errorf("%d bytes, %d acknowledged, want %d", len(got), x.sent(), len(content))
	}
}

// TestPauses looks for a pause that lets a client speak which repeats its
// acknowledgement when nothing has come for 5 s, as atftp does, and for several
// repetitions before that, for those that never speak by themselves.
func TestPauses(t *testing.T) {
	begun := time.Now()
	transfer := newTransfer(Request{Begun: begun}, []byte("content"), 1468)
	repeated := 0
	for now := begun; now.Sub(begun) < patience; now = transfer.due {
		transfer.message(now)
		transfer.tries++
		if pause := transfer.due.Sub(now); pause > 5500*time.Millisecond {
			if repeated < 4 || transfer.due.Sub(begun) > patience {
				t.Errorf("the first long pause comes after %d repetitions, and ends after %v", repeated, transfer.due.Sub(begun))
			}
			return
		}
		repeated++
	}
	t.Errorf("no pause in %d repetitions lets a client speak", repeated)
}

func TestNegotiate(t *testing.T) {
	for _, row := range []struct {
		options []Option
		oack    string
		block   int
	}{
		{nil, "", 512},
		{[]Option{{"tsize", "0"}, {"blksize", "1468"}, {"windowsize", "4"}}, "\x00\x06tsize\x005000\x00blksize\x001468\x00", 1468},
		{[]Option{{"blksize", "1432"}, {"tsize", "0"}}, "\x00\x06blksize\x001432\x00tsize\x005000\x00", 1432},
		{[]Option{{"blksize", "65464"}}, "\x00\x06blksize\x001468\x00", 1468},
		{[]Option{{"blksize", "8"}}, "\x00\x06blksize\x008\x00", 8},
		{[]Option{{"blksize", "7"}, {"tsize", "-1"}}, "", 512},
		{[]Option{{"blksize", "65465"}, {"timeout", "3"}}, "", 512},
		{[]Option{{"blksize", "x"}, {"blksize", "1024"}, {"blksize", "600"}}, "\x00\x06blksize\x001024\x00", 1024},
	} {
		r := Request{Options: row.options}
		if oack, block := r.negotiate(5000, 1468); string(oack) != row.oack || block != row.block {
			t.Errorf("%v: %q, %d, want %q, %d", row.options, oack, block, row.oack, row.block)
		}
	}
}

func TestErrorPackets(t *testing.T) {
	r := Request{Options: []Option{{"tsize", "0"}}}
	x := newTransfer(r, make([]byte, 2000), 1468)
	if err := x.refused([]byte("\x00\x05\x00\x08no\x00")); !errors.Is(err, ErrProbe) {
		t.Errorf("before the first block: %v", err)
	}
	x.acknowledged(0, time.Time{})
	const want = `the machine sent error 3: "disk full"`
	if err := x.refused([]byte("\x00\x05\x00\x03disk full\x00rest")); err == nil || err.Error() != want {
		t.Errorf("later: %v, want %s", err, want)
	}
	if err := x.refused([]byte{0, 5, 0, 0}); err == nil {
		t.Error("an error without a text is none")
	}
}

// FuzzRequest reads anything, and writes what it has read again.
func FuzzRequest(f *testing.F) {
	for _, seed := range []string{
		"\x00\x01snponly.efi\x00octet\x00tsize\x000\x00blksize\x001468\x00windowsize\x004\x00",
		"\x00\x01undionly.kpxe\x00OCTET\x00BLKSIZE\x001456\x00", "\x00\x02x\x00netascii\x00", "\x00\x01a\x00b", "\x00\x01\x00\x00\x00\x00",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, p []byte) {
		op, r, err := parseRequest(p)
		if err != nil {
			return
		}
		if oack, block := r.negotiate(5000, 1468); block < smallestBlock || block > 1468 || len(oack) > 64 {
			t.Fatalf("%q: %q, block %d", p, oack, block)
		}
		again := []byte{0, op}
		for _, s := range []string{r.Name, r.Mode} {
			again = append(append(again, s...), 0)
		}
		for _, o := range r.Options {
			again = append(append(again, o.Name...), 0)
			again = append(append(again, o.Value...), 0)
		}
		op2, r2, err := parseRequest(again)
		if err != nil || op2 != op || r2.Name != r.Name || r2.Mode != r.Mode || len(r2.Options) != len(r.Options) {
			t.Fatalf("%q: read %v, again %v, %v", p, r, r2, err)
		}
	})
}
