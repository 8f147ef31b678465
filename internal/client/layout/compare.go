package layout

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
)

// Kind is how a disk stands to a declaration.
type Kind string

const (
	// Same: the table, and order, types, labels, sizes and formats of all
	// partitions are as declared. There is nothing to do.
	Same Kind = "same"
	// Blank: there is nothing to lose.
	Blank Kind = "blank"
	// Unfinished: ravenboot was about to make this disk when it was stopped.
	// What there was has been given up before; making it again loses nothing.
	Unfinished Kind = "unfinished"
	// Ours: ravenboot has made the disk, but by another declaration, or it has
	// been changed since.
	Ours Kind = "ours"
	// Foreign: anything else, as another system's, or data without a table.
	Foreign Kind = "foreign"
)

// Verdict is how a disk stands to a declaration, and what to tell about it.
type Verdict struct {
	Kind Kind
	// Why is one line: what differs first, or what there is.
	Why string
	// SideBySide shows the declared and the found partitions, 80 columns wide.
	SideBySide string
	// Refusal stands for exactly this disk with this content and this
	// declaration: who approves of it approves of nothing else.
	Refusal string
}

// Compare judges. The error says that the declaration doesn't fit the disk,
// which no making would help.
func Compare(l Layout, f Found) (Verdict, error) {
	declared, err := l.place(f.Disk.Size)
	if err != nil {
		return Verdict{}, fmt.Errorf("%s: %w", f.Disk.Path, err)
	}
	v := Verdict{Refusal: refusal(l, f)}
	diff := difference(declared, f)
	switch {
	case f.mark != nil && f.mark.unfinished(f):
		v.Kind, v.Why = Unfinished, "ravenboot was stopped while it made this disk"
	case diff == "":
		v.Kind, v.Why = Same, "everything is as declared"
	case f.Empty:
		v.Kind, v.Why = Blank, "there is nothing on it"
	case f.Table == tableGPT && isOurs(f.GUID):
		v.Kind, v.Why = Ours, diff
	default:
		v.Kind, v.Why = Foreign, diff
	}
	v.SideBySide = sideBySide(declared, f, v)
	return v, nil
}

// refusal leaves out mount points, which are no matter of the disk's.
func refusal(l Layout, f Found) string {
	h := sha256.New()
	fmt.Fprintln(h, f.digest())
	for _, p := range l.Partitions {
		fmt.Fprintf(h, "%q %s %d %q %q\n", p.Label, p.Type, p.Size, p.Format, p.FormatLabel)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// difference is the first one, or "".
func difference(declared []placed, f Found) string {
	switch {
	case f.Table == tableNone && f.Whole.Format != "":
		return fmt.Sprintf("the whole disk is formatted as %s, without partitions", f.Whole.Format)
	case f.Table == tableNone:
		return "there is data on it, but no partition table"
	case f.Table != tableGPT:
		return "its partition table is an " + f.Table + ", not a GPT"
	case f.Unseen != "":
		return "Linux sees none of its partitions: " + f.Unseen
	case f.Whole.Format != "":
		return fmt.Sprintf("the whole disk has the signature of %s beside its partition table", f.Whole.Format)
	}
	for i, d := range declared {
		if i >= len(f.Partitions) {
			return fmt.Sprintf("partition %d (%s) is missing", i+1, quoted(d.Label))
		}
		if diff := d.difference(i+1, f.Partitions[i], f.Disk.Size); diff != "" {
			return fmt.Sprintf("partition %d: %s", i+1, diff)
		}
	}
	if len(f.Partitions) > len(declared) {
		return fmt.Sprintf("it has %d partitions, and %d are declared", len(f.Partitions), len(declared))
	}
	return disorder(f.Partitions)
}

// disorder is what makes a table one that no tool would take for sound.
func disorder(partitions []FoundPartition) string {
	for i, p := range partitions[1:] {
		if before := partitions[i]; p.Start < before.Start+before.Size {
			return fmt.Sprintf("partition %d doesn't lie behind partition %d", p.Number, before.Number)
		}
	}
	return ""
}

// slack is what other programs may leave free behind the last partition: up to
// an alignment, and the second copy of the table.
const slack = 2 * alignment

// difference between a declared partition and the one that is in its place.
func (d placed) difference(number int, p FoundPartition, disk uint64) string {
	differs := func(what, is, declared string) string {
		return fmt.Sprintf("its %s is %s, declared is %s", what, printable(cmp.Or(is, "none")), cmp.Or(declared, "none"))
	}
	size := p.Size == d.size
	if d.Size == Rest {
		size = p.Size > 0 && disk-(p.Start+p.Size) <= slack
	}
	switch {
	case p.Number != number:
		return fmt.Sprintf("its number is %d", p.Number)
	case p.Label != d.Label:
		return differs("label", quoted(p.Label), quoted(d.Label))
	case p.Type != d.Type:
		return differs("type", typeText(p.Type), typeText(d.Type))
	case !size:
		return differs("size", sizeText(p.Size), sizeText(d.size))
	case d.Format == None:
		return ""
	case p.Holds.Format != string(d.Format):
		return differs("format", p.Holds.Format, string(d.Format))
	case p.Holds.Label != d.FormatLabel:
		return differs("format's label", quoted(p.Holds.Label), quoted(d.FormatLabel))
	}
	return ""
}

// differing are the numbers of the rows that a person should look at.
func differing(declared []placed, f Found) []int {
	var rows []int
	for i := range max(len(declared), len(f.Partitions)) {
		if i >= len(declared) || i >= len(f.Partitions) || f.Table != tableGPT ||
			declared[i].difference(i+1, f.Partitions[i], f.Disk.Size) != "" {
			rows = append(rows, i)
		}
	}
	return slices.Clip(rows)
}
