package layout

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"unsafe"

	"github.com/google/uuid"
	"golang.org/x/sys/unix"

	"github.com/siderolabs/go-blockdevice/v2/block"
)

// Found is what is on a disk.
type Found struct {
	Disk       Disk
	Table      string    // tableGPT, tableMBR or tableNone
	GUID       uuid.UUID // of a GPT
	Backup     bool      // the first copy of the GPT is damaged
	Unseen     string    // why Linux has no devices for the partitions; "" if it does
	Partitions []FoundPartition
	Whole      content // of the disk by itself, without a table
	// Empty says that the disk holds nothing but zeroes, as far as was looked.
	Empty bool

	mark *mark
	ends [sha256.Size]byte // of both ends, for what isn't known by any name
}

// FoundPartition is a partition as the table has it.
type FoundPartition struct {
	Number      int // from 1, as in the name of its device
	Label       string
	Type        uuid.UUID // of a GPT
	MBRType     string
	GUID        uuid.UUID
	Start, Size uint64 // bytes; 0 where the table's figures can't be
	Holds       content
}

// Inspect reads what is on the disk, and writes nothing.
func Inspect(d Disk) (Found, error) {
	r, err := openDirect(d.Path)
	if err != nil {
		return Found{}, err
	}
	defer r.close()
	f, err := inspect(r, d)
	if err != nil {
		return Found{}, fmt.Errorf("%s can't be read: %w; the disk or its cable may be bad", d.Path, err)
	}
	return f, nil
}

// smallest is the smallest disk that is looked at: one that has room for a
// partition between two tables.
const smallest = 4 * mib

func inspect(r io.ReaderAt, d Disk) (Found, error) {
	if d.Size < smallest || d.SectorSize < 512 || d.SectorSize > 4096 || !powerOf2(int64(d.SectorSize)) {
		return Found{}, fmt.Errorf("it has %d bytes in sectors of %d", d.Size, d.SectorSize)
	}
	f := Found{Disk: d}
	t, err := readTable(r, d.Size, d.SectorSize)
	if err != nil {
		return Found{}, err
	}
	f.Table, f.GUID, f.Backup, f.Unseen, f.Partitions = t.kind, t.guid, t.backup, t.unseen, t.partitions
	for i := range f.Partitions {
		p := &f.Partitions[i]
		if p.Size > d.Size || p.Start > d.Size-p.Size {
			p.Start, p.Size = 0, 0
		}
		if p.Holds, err = probe(io.NewSectionReader(r, int64(p.Start), int64(p.Size))); err != nil {
			return Found{}, err
		}
	}
	if f.Whole, err = probe(io.NewSectionReader(r, 0, int64(d.Size))); err != nil {
		return Found{}, err
	}
	if err := f.look(r); err != nil {
		return Found{}, err
	}
	return f, nil
}

// look reads the mark and both ends, and whether there is anything else.
func (f *Found) look(r io.ReaderAt) error {
	const end = 32 * kib
	b := make([]byte, 2*end)
	if _, err := r.ReadAt(b[:end], 0); err != nil {
		return err
	}
	if _, err := r.ReadAt(b[end:], int64(f.Disk.Size)-end); err != nil {
		return err
	}
	f.mark, f.ends = readMark(b, f.Disk.Size, f.Disk.SectorSize), sha256.Sum256(b)
	var err error
	f.Empty, err = empty(r, int64(f.Disk.Size))
	return err
}

// empty looks for anything but zeroes: throughout the first and the last MiBs,
// where tables, boot loaders and signatures stand, and here and there between
// them, where the data of a disk is that has lost its table, and could still be
// rescued. A disk that isn't empty shows that mostly at once, and an empty one
// takes some seconds, once.
func empty(r io.ReaderAt, size int64) (bool, error) {
	const ends, samples, sample = 4 * mib, 256, 64 * kib
	if zero, err := zeroes(r, 0, min(ends, size)); !zero || err != nil {
		return false, err
	}
	if zero, err := zeroes(r, max(0, size-ends), size); !zero || err != nil {
		return false, err
	}
	for i := range int64(samples) {
		from := size / samples * i
		if zero, err := zeroes(r, from, min(from+sample, size)); !zero || err != nil {
			return false, err
		}
	}
	return true, nil
}

func zeroes(r io.ReaderAt, from, to int64) (bool, error) {
	b, zero := make([]byte, 64*kib), make([]byte, 64*kib)
	for ; from < to; from += int64(len(b)) {
		b = b[:min(int64(len(b)), to-from)]
		if _, err := r.ReadAt(b, from); err != nil {
			return false, err
		}
		if !bytes.Equal(b, zero[:len(b)]) {
			return false, nil
		}
	}
	return true, nil
}

// digest stands for this disk with this content.
func (f Found) digest() string {
	h := sha256.New()
	fmt.Fprintf(h, "%q %x %q %q %v %x", f.Disk.digest(), f.ends, f.Table, f.GUID, f.Backup, f.Whole.digest())
	for _, p := range f.Partitions {
		fmt.Fprintf(h, "%d %q %q %q %q %d %d %x", p.Number, p.Label, p.Type, p.MBRType, p.GUID, p.Start, p.Size, p.Holds.digest())
	}
	return hex.EncodeToString(h.Sum(nil))
}

// direct reads past the kernel's page cache. The cache of a disk and those of
// its partitions don't know of each other: what mkfs has written to a
// partition would not be seen through a page of the disk that is older.
type direct struct {
	file   *os.File
	buffer []byte
}

// directAlign is what every disk takes.
const directAlign = 4 * kib

func openDirect(path string) (*direct, error) {
	d, err := block.NewFromPath(path, func(o *block.Options) { o.Flag |= unix.O_DIRECT })
	if err != nil {
		return nil, err
	}
	b := make([]byte, 256*kib+directAlign)
	b = b[-uintptr(unsafe.Pointer(&b[0]))%directAlign:]
	return &direct{d.File(), b[:256*kib]}, nil
}

func (d *direct) close() { d.file.Close() }

func (d *direct) ReadAt(p []byte, offset int64) (int, error) {
	done := 0
	for done < len(p) {
		at := offset + int64(done)
		skip := at % directAlign
		want := min(int64(len(d.buffer)), (skip+int64(len(p)-done)+directAlign-1)/directAlign*directAlign)
		n, err := d.file.ReadAt(d.buffer[:want], at-skip)
		if int64(n) <= skip {
			if err == nil || errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return done, err
		}
		done += copy(p[done:], d.buffer[skip:n])
	}
	return done, nil
}
