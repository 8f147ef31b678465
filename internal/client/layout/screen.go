package layout

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxRows keeps the text on one screen, whatever is in the table of the disk.
const maxRows = 9

// width is that of a screen; a cell takes what the number, the flag and the
// blanks between them leave, in half.
const (
	width = 80
	cell  = (width - 6) / 2
)

// sideBySide shows what is declared and what is there, each partition with two
// lines: label, size and type, then the format. A "!" stands where they differ.
func sideBySide(declared []placed, f Found, v Verdict) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n", cut(fmt.Sprintf("%s: %s, %s", f.Disk.Path, sizeText(f.Disk.Size), describe(f.Disk)), width))
	fmt.Fprintf(&b, "%s\n\n", cut(fmt.Sprintf("%s: %s", v.Kind, v.Why), width))
	row(&b, "", "declared", "on the disk: "+describeTable(f))
	flagged := differing(declared, f)
	total := max(len(declared), len(f.Partitions))
	for i := range min(total, maxRows) {
		var left, right [2]string
		number := i + 1
		if i < len(declared) {
			d := declared[i]
			left = lines(d.Label, d.size, typeText(d.Type), cmp.Or(string(d.Format), "anything"), d.FormatLabel)
		}
		if i < len(f.Partitions) {
			p := f.Partitions[i]
			right = lines(p.Label, p.Size, cmp.Or(p.MBRType, typeText(p.Type)), p.Holds.Format, p.Holds.Label)
			if p.Number != number {
				right[0] = fmt.Sprintf("(%d) %s", p.Number, right[0])
			}
		}
		flag := " "
		if slices.Contains(flagged, i) {
			flag = "!"
		}
		row(&b, fmt.Sprintf("%s%2d", flag, number), left[0], right[0])
		row(&b, "", left[1], right[1])
	}
	if total > maxRows {
		fmt.Fprintf(&b, "    and %d more\n", total-maxRows)
	}
	return b.String()
}

func describeTable(f Found) string {
	switch {
	case f.Table == tableNone && f.Whole.Format != "":
		return f.Whole.Format + " " + f.Whole.Label
	case f.Table == tableNone && f.Empty:
		return "nothing"
	case f.Table == tableNone:
		return "no table"
	case f.Backup:
		return f.Table + " (its second copy)"
	}
	return f.Table
}

func lines(label string, size uint64, kind, format, formatLabel string) [2]string {
	second := cmp.Or(format, "no known format")
	if formatLabel != "" {
		second += " " + formatLabel
	}
	return [2]string{fmt.Sprintf("%s  %s", sizeText(size), cmp.Or(label, "(no label)")), "  " + kind + ", " + second}
}

func row(b *strings.Builder, number, left, right string) {
	text := fmt.Sprintf("%-3s %s  %s", number, pad(cut(left, cell)), cut(right, cell))
	fmt.Fprintln(b, strings.TrimRight(text, " "))
}

func pad(s string) string { return s + strings.Repeat(" ", cell-utf8.RuneCountInString(s)) }

// cut marks what it has cut off by two dots: the font of a console that early
// has no ellipsis.
func cut(s string, n int) string {
	runes := []rune(printable(s))
	if len(runes) > n {
		return string(runes[:n-2]) + ".."
	}
	return string(runes)
}

// printable keeps a disk's labels from moving the cursor.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsGraphic(r) {
			return r
		}
		return '?'
	}, s)
}
