package layout

import (
	"errors"
	"fmt"
	"path"
	"runtime"
	"slices"
	"strings"
	"unicode"
	"unicode/utf16"

	"github.com/google/uuid"
)

// maxPartitions is what a table of the usual size holds (UEFI 2.10, 5.3.2).
const maxPartitions = 128

// maxPartitionLabel is in UTF-16 code units (UEFI 2.10, table 5-7).
const maxPartitionLabel = 36

// Parse reads a declaration from JSON. The error has a line for every problem,
// with its place.
func Parse(text []byte) (Layout, error) {
	v, err := decode(text)
	if err != nil {
		return Layout{}, err
	}
	var p parser
	l := p.layout(v)
	if len(p.problems) > 0 {
		return Layout{}, errors.Join(p.problems...)
	}
	return l, nil
}

type parser struct {
	problems []error
}

func (p *parser) wrong(place, format string, args ...any) {
	p.problems = append(p.problems, fmt.Errorf("%s: %s", place, fmt.Sprintf(format, args...)))
}

func quoted(s string) string {
	if len(s) > 60 {
		s = s[:60] + "..."
	}
	return fmt.Sprintf("%q", s)
}

func join(place, key string) string {
	if place == "" {
		return key
	}
	return place + "." + key
}

// object takes no key that it doesn't know: a misspelt one would be a
// partition other than the one that was meant.
func (p *parser) object(place string, v any, known ...string) map[string]any {
	o, ok := v.(*object)
	if !ok {
		if place == "" {
			place = "the declaration"
		}
		p.wrong(place, "must be an object, {...}")
		return nil
	}
	for _, key := range o.keys {
		if !slices.Contains(known, key) {
			p.wrong(join(place, key), "unknown key; known here are %s", strings.Join(known, ", "))
		}
	}
	return o.values
}

// text is "" for a key that isn't there.
func (p *parser) text(place string, values map[string]any, key string) string {
	v, ok := values[key]
	if !ok {
		return ""
	}
	s, ok := v.(string)
	switch {
	case !ok:
		p.wrong(join(place, key), "must be a string")
	case s == "":
		p.wrong(join(place, key), "is empty; leave the key out")
	case strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsGraphic(r) || r == unicode.ReplacementChar }):
		p.wrong(join(place, key), "%s has characters that can't be shown", quoted(s))
	default:
		return s
	}
	return ""
}

func (p *parser) layout(v any) Layout {
	values := p.object("", v, "disk", "partitions")
	if values == nil {
		return Layout{}
	}
	l := Layout{Disk: p.rule(values["disk"])}
	list, ok := values["partitions"].([]any)
	switch {
	case !ok || len(list) == 0:
		p.wrong("partitions", "must be a list with at least one partition")
	case len(list) > maxPartitions:
		p.wrong("partitions", "has %d partitions; a table holds %d", len(list), maxPartitions)
	default:
		for i, v := range list {
			l.Partitions = append(l.Partitions, p.partition(fmt.Sprintf("partitions[%d]", i), v, i == len(list)-1))
		}
		p.distinct(l.Partitions)
	}
	return l
}

func (p *parser) rule(v any) Rule {
	const place = "disk"
	values := p.object(place, v, "path", "byId", "size")
	if values == nil {
		return Rule{}
	}
	if len(values) != 1 {
		p.wrong(place, `must have exactly one of "path", "byId" and "size"`)
	}
	r := Rule{Path: p.text(place, values, "path"), ByID: p.text(place, values, "byId")}
	if r.Path != "" && !strings.HasPrefix(r.Path, "/dev/") {
		p.wrong("disk.path", "%s is not below /dev", quoted(r.Path))
	}
	if strings.Contains(r.ByID, "/") {
		p.wrong("disk.byId", "%s has a slash; write the name alone, as `ls /dev/disk/by-id` shows it", quoted(r.ByID))
	}
	if size, ok := values["size"]; ok {
		r.Size = p.sizeRule(size)
	}
	return r
}

func (p *parser) sizeRule(v any) *SizeRule {
	const place = "disk.size"
	values := p.object(place, v, "min", "max")
	if values != nil && len(values) == 0 {
		p.wrong(place, `must have "min", "max" or both`)
	}
	r := &SizeRule{Min: p.size(place, values, "min"), Max: p.size(place, values, "max")}
	if r.Max == 0 {
		r.Max = maxSize
	}
	if r.Min > r.Max {
		p.wrong(place, "min is more than max")
	}
	return r
}

func (p *parser) size(place string, values map[string]any, key string) uint64 {
	text := p.text(place, values, key)
	if text == "" {
		return 0
	}
	n, err := parseSize(text)
	if err != nil {
		p.wrong(join(place, key), "%v", err)
	}
	return n
}

func (p *parser) partition(place string, v any, last bool) Partition {
	values := p.object(place, v, "label", "type", "size", "format", "formatLabel", "mountPoint")
	if values == nil {
		return Partition{}
	}
	for _, key := range []string{"label", "type", "size"} {
		if _, ok := values[key]; !ok {
			p.wrong(join(place, key), "is missing")
		}
	}
	out := Partition{
		Label:       p.text(place, values, "label"),
		Type:        p.partitionType(place, values),
		Format:      p.format(place, values),
		FormatLabel: p.text(place, values, "formatLabel"),
		MountPoint:  p.text(place, values, "mountPoint"),
	}
	if n := len(utf16.Encode([]rune(out.Label))); n > maxPartitionLabel {
		p.wrong(join(place, "label"), "has %d UTF-16 units; a table has room for %d", n, maxPartitionLabel)
	}
	out.Size = p.partitionSize(place, values, out.Format, last)
	p.formatLabel(join(place, "formatLabel"), out)
	p.mountPoint(join(place, "mountPoint"), out)
	return out
}

func (p *parser) partitionType(place string, values map[string]any) uuid.UUID {
	text := p.text(place, values, "type")
	if text == "" {
		return uuid.Nil
	}
	if text == "root" {
		text = map[string]string{"amd64": "root-x86-64", "arm64": "root-arm64"}[runtime.GOARCH]
	}
	if guid, ok := typeNames[text]; ok {
		return guid
	}
	guid, err := uuid.Parse(text)
	if err != nil || len(text) != len(guid.String()) || guid == uuid.Nil {
		p.wrong(join(place, "type"), "%s is no type; known are root, %s, and GUIDs as %s",
			quoted(text), strings.Join(sortedNames(), ", "), typeNames["linux"])
	}
	return guid
}

func (p *parser) partitionSize(place string, values map[string]any, format Format, last bool) uint64 {
	at := join(place, "size")
	if values["size"] == "rest" {
		if !last {
			p.wrong(at, `only the last partition can have the "rest"`)
		}
		return Rest
	}
	n := p.size(place, values, "size")
	if n%alignment != 0 {
		p.wrong(at, "%q is no multiple of 1M, at which partitions are aligned", values["size"])
	}
	if least := makers[format].smallest; n != 0 && n < least {
		p.wrong(at, "%q is too small; %s needs %s", values["size"], format, sizeText(least))
	}
	return n
}

func (p *parser) format(place string, values map[string]any) Format {
	text := p.text(place, values, "format")
	if _, ok := makers[Format(text)]; ok {
		return Format(text)
	}
	if text != "" && text != "none" {
		p.wrong(join(place, "format"), "%s is no format; known are ext4, xfs, btrfs, vfat, swap and none", quoted(text))
	}
	return None
}

func (p *parser) formatLabel(place string, of Partition) {
	label, most := of.FormatLabel, makers[of.Format].label
	switch {
	case label == "":
	case of.Format == None:
		p.wrong(place, "a partition without a format has no such label")
	case len(label) > most:
		p.wrong(place, "%s has %d bytes; %s has room for %d", quoted(label), len(label), of.Format, most)
	case of.Format == VFAT && strings.ContainsFunc(label, notInFAT):
		p.wrong(place, "%s has lower-case letters, or others that FAT doesn't know; write it as ESP", quoted(label))
	case label != strings.TrimSpace(label):
		p.wrong(place, "%s begins or ends with a blank", quoted(label))
	case of.Format == VFAT && label == "NO NAME":
		p.wrong(place, "%s is how FAT says that there is no label", quoted(label))
	}
}

// notInFAT is true for what firmware and systems show each in its own way.
func notInFAT(r rune) bool {
	return r > '~' || r >= 'a' && r <= 'z' || strings.ContainsRune(`"*+,./:;<=>?[\]|`, r)
}

func (p *parser) mountPoint(place string, of Partition) {
	switch {
	case of.MountPoint == "":
	case !path.IsAbs(of.MountPoint) || path.Clean(of.MountPoint) != of.MountPoint:
		p.wrong(place, "%s is no absolute path without dots and doubled slashes", quoted(of.MountPoint))
	case !makers[of.Format].mounts:
		p.wrong(place, "only ext4, xfs, btrfs and vfat can be mounted")
	}
}

// distinct sees that nothing that is looked up by its name has the name of
// another: which one /dev/disk/by-partlabel shows would be chance.
func (p *parser) distinct(partitions []Partition) {
	for _, name := range []struct {
		key string
		of  func(Partition) string
	}{
		{"label", func(q Partition) string { return q.Label }},
		{"formatLabel", func(q Partition) string { return q.FormatLabel }},
		{"mountPoint", func(q Partition) string { return q.MountPoint }},
	} {
		first := map[string]int{}
		for i, q := range partitions {
			text := name.of(q)
			if text == "" {
				continue
			}
			if j, taken := first[text]; taken {
				p.wrong(fmt.Sprintf("partitions[%d].%s", i, name.key), "%s is that of partitions[%d], too", quoted(text), j)
				continue
			}
			first[text] = i
		}
	}
}
