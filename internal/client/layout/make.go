package layout

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/siderolabs/go-blockdevice/v2/block"
	"github.com/siderolabs/go-blockdevice/v2/partitioning/gpt"
)

// Make destroys what is on the disk and makes the layout. Stopped at any
// moment, it leaves a disk that Compare calls Unfinished, unless nothing has
// been written yet, or everything. It says what it does in short lines.
func Make(ctx context.Context, l Layout, d Disk, log func(string)) error {
	m := making{disk: d, log: log, run: run, write: io.WriterAt.WriteAt}
	if err := m.make(ctx, l); err != nil {
		return fmt.Errorf("making %s: %w", d.Path, err)
	}
	return nil
}

// making is one run of Make. Whatever changes the disk goes through run and
// write, at which tests stop it.
type making struct {
	disk     Disk
	declared []placed
	log      func(string)
	run      func(ctx context.Context, program string, args ...string) error
	write    func(to io.WriterAt, b []byte, at int64) (int, error)
}

// patience is how long a disk may be kept busy by what looks at it, and how
// long a partition's device may take to appear.
const patience = 10 * time.Second

func (m *making) make(ctx context.Context, l Layout) error {
	var err error
	if m.declared, err = l.place(m.disk.Size); err != nil {
		return err
	}
	if err := m.programs(); err != nil {
		return err
	}
	found, err := Inspect(m.disk)
	if err != nil {
		return err
	}
	dev, err := m.open(ctx)
	if err != nil {
		return err
	}
	defer dev.Close()
	if err := m.build(ctx, dev, found); err != nil {
		return err
	}
	return m.commit(dev)
}

// programs are looked for before anything is written.
func (m *making) programs() error {
	var missing []error
	for _, p := range m.declared {
		if p.Format == None {
			continue
		}
		k := makers[p.Format]
		if _, err := exec.LookPath(k.program); err != nil {
			missing = append(missing, fmt.Errorf("%s is not in PATH; put the package %s into the initrd", k.program, k.pkg))
		}
	}
	return errors.Join(missing...)
}

// open takes the disk from nobody. A disk that is mounted, swapped to or part
// of another can't be opened exclusively; but open that way, it would keep mkfs
// from its partitions. The lock keeps udev from reading what is half there
// (https://systemd.io/BLOCK_DEVICE_LOCKING).
func (m *making) open(ctx context.Context) (*device, error) {
	probe, err := block.NewFromPath(m.disk.Path, func(o *block.Options) { o.Flag |= os.O_EXCL })
	if errors.Is(err, unix.EBUSY) {
		return nil, errors.New("it is in use: mounted, swapped to, or part of another device")
	}
	if err != nil {
		return nil, err
	}
	probe.Close()
	b, err := block.NewFromPath(m.disk.Path, block.OpenForWrite())
	if err != nil {
		return nil, err
	}
	dev := &device{b, m}
	size, err := b.GetSize()
	switch {
	case err != nil:
	case size != m.disk.Size || b.GetSectorSize() != m.disk.SectorSize:
		err = errors.New("it is another disk now than the one that was compared")
	case b.RetryLockWithTimeout(ctx, true, patience) != nil:
		err = errors.New("another program has locked it")
	}
	if err != nil {
		b.Close()
		return nil, err
	}
	return dev, nil
}

// build leaves the disk whole, but with its mark.
func (m *making) build(ctx context.Context, dev *device, found Found) error {
	mark := &mark{disk: m.disk.digest(), table: newGUID(), oldTable: found.GUID, oldContent: found.Whole.digest()}
	if err := dev.writeFirst(mark); err != nil {
		return err
	}
	m.log("clearing the old table, writing the new one")
	if err := dev.clear(); err != nil {
		return err
	}
	if err := m.writeTable(ctx, dev, mark); err != nil {
		return err
	}
	for i, p := range m.declared {
		if err := m.format(ctx, dev, i+1, p); err != nil {
			return fmt.Errorf("partition %d (%s): %w", i+1, quoted(p.Label), err)
		}
	}
	return dev.Sync()
}

// commit takes the mark away, once what was written has been read back.
func (m *making) commit(dev *device) error {
	if err := m.verify(); err != nil {
		return err
	}
	if err := dev.writeFirst(nil); err != nil {
		return err
	}
	return m.verify()
}

func (m *making) verify() error {
	f, err := Inspect(m.disk)
	if err != nil {
		return err
	}
	if diff := difference(m.declared, f); diff != "" {
		return fmt.Errorf("it was made, and isn't as declared: %s; the disk may be bad", diff)
	}
	return nil
}

func (m *making) writeTable(ctx context.Context, dev *device, mark *mark) error {
	t, err := gpt.New(dev, gpt.WithDiskGUID(mark.table))
	if err != nil {
		return err
	}
	for _, p := range m.declared {
		if _, _, err := t.AllocatePartition(p.size, p.Label, p.Type); err != nil {
			return fmt.Errorf("partition %s: %w", quoted(p.Label), err)
		}
	}
	// What the kernel knew of the old table can be open for a moment still, in
	// udev's hands.
	return patiently(ctx, func() (bool, error) {
		err := t.Write()
		return !errors.Is(err, unix.EBUSY), err
	})
}

// patiently tries until it is done, or takes too long.
func patiently(ctx context.Context, try func() (done bool, err error)) error {
	deadline := time.Now().Add(patience)
	for {
		done, err := try()
		if done || time.Now().After(deadline) {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func (m *making) format(ctx context.Context, dev *device, number int, p placed) error {
	path, err := m.node(ctx, dev, number)
	if err != nil {
		return err
	}
	if err := m.wipe(path, p.size); err != nil {
		return err
	}
	if p.Format == None {
		return nil
	}
	k := makers[p.Format]
	args := append(k.args(p, m.disk.SectorSize), path)
	m.log(fmt.Sprintf("partition %d (%s): %s %s", number, printable(p.Label), k.program, strings.Join(args, " ")))
	if err := m.run(ctx, k.program, args...); err != nil {
		return err
	}
	return flush(path)
}

// wipe clears both ends of a partition through its own device, whose cache is
// the one that mkfs will see. Signatures of RAID and ZFS stand at the end, and
// blkid doesn't name a file system beside such a one.
func (m *making) wipe(path string, size uint64) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	for _, at := range []uint64{0, size - mib} {
		if _, err := m.write(f, make([]byte, mib), int64(at)); err != nil {
			return err
		}
	}
	return f.Sync()
}

func flush(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}

// node waits for a partition's device. devtmpfs makes it, or udev; sysfs knows
// its name and number.
func (m *making) node(ctx context.Context, dev *device, number int) (string, error) {
	no, err := dev.GetDevNo()
	if err != nil {
		return "", err
	}
	var path string
	err = patiently(ctx, func() (bool, error) {
		path, err = partitionNode(unix.Major(no), unix.Minor(no), number)
		return err == nil, err
	})
	return path, err
}

func partitionNode(major, minor uint32, number int) (string, error) {
	files, err := filepath.Glob(fmt.Sprintf("/sys/dev/block/%d:%d/*/partition", major, minor))
	if err != nil {
		return "", err
	}
	for _, file := range files {
		dir := filepath.Dir(file)
		if readTrimmed(file) != fmt.Sprint(number) {
			continue
		}
		path := devicePath(filepath.Base(dir))
		var st unix.Stat_t
		if err := unix.Stat(path, &st); err != nil {
			return "", fmt.Errorf("%s: %w; is devtmpfs mounted on /dev?", path, err)
		}
		if fmt.Sprintf("%d:%d", unix.Major(st.Rdev), unix.Minor(st.Rdev)) != readTrimmed(filepath.Join(dir, "dev")) {
			return "", fmt.Errorf("%s is not this partition's device; is devtmpfs mounted on /dev?", path)
		}
		return path, nil
	}
	return "", errors.New("the kernel doesn't know it yet")
}

func readTrimmed(path string) string {
	b, _ := os.ReadFile(path)
	return strings.TrimSpace(string(b))
}

// maxOutput is how much of what a failed program said is told, in bytes.
const maxOutput = 2 * kib

func run(ctx context.Context, program string, args ...string) error {
	out, err := exec.CommandContext(ctx, program, args...).CombinedOutput()
	if err == nil {
		return nil
	}
	text := strings.TrimSpace(string(out[max(0, len(out)-maxOutput):]))
	return fmt.Errorf("%s: %w: %s", program, err, text)
}

// device is the disk as go-blockdevice sees it.
type device struct {
	*block.Device
	m *making
}

func (d *device) ReadAt(b []byte, at int64) (int, error)  { return d.File().ReadAt(b, at) }
func (d *device) WriteAt(b []byte, at int64) (int, error) { return d.m.write(d.File(), b, at) }
func (d *device) GetSize() uint64                         { return d.m.disk.Size }
func (d *device) Sync() error                             { return d.File().Sync() }

// GetIOSize keeps partitions at one MiB. Bridges to USB and RAID controllers
// name sizes that would align them to tens of MiB, or to no page.
func (d *device) GetIOSize() (uint, error) { return d.m.disk.SectorSize, nil }

func (d *device) writeFirst(m *mark) error {
	if _, err := d.WriteAt(firstSector(m, d.m.disk.Size, d.m.disk.SectorSize), 0); err != nil {
		return err
	}
	return d.Sync()
}

// clear wipes what stands before the first partition and behind the last one,
// but not the first sector.
func (d *device) clear() error {
	sector, end := int64(d.m.disk.SectorSize), int64(d.m.disk.Size)
	if _, err := d.WriteAt(make([]byte, alignment-sector), sector); err != nil {
		return err
	}
	if _, err := d.WriteAt(make([]byte, slack), end-slack); err != nil {
		return err
	}
	return d.Sync()
}
