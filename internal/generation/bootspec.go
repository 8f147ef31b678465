package generation

import (
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	keyBootspec       = "org.nixos.bootspec.v1"
	keySpecialisation = "org.nixos.specialisation.v1"

	// MaxBootspec is the size in bytes up to which a boot.json is read. Real
	// ones have a few kilobytes for each specialisation.
	MaxBootspec = 1 << 20

	// maxCommandLine is the largest COMMAND_LINE_SIZE of any Linux architecture
	// (s390, loongarch; x86 and arm64 have 2048).
	maxCommandLine = 4096
	maxLabel       = 255  // bytes; a menu line shows about 80
	maxPath        = 4096 // PATH_MAX
	maxStoreName   = 255  // NAME_MAX; Nix itself stops at 211 after the hash
)

// ErrNotV1 is returned for a JSON document without a v1 bootspec: the preview
// form {"v1": ...} of NixOS 22.11, or a later version alone.
var ErrNotV1 = errors.New("not a v1 bootspec")

// Bootspec is a bootspec document of version 1 (RFC 0125). Paths are those of
// the machine that the system was built for.
type Bootspec struct {
	System   string // Nix system, "x86_64-linux"
	Label    string
	Toplevel string
	Init     string
	Kernel   string
	// Initrd and InitrdSecrets (a program that appends secrets to an initrd) are
	// "" if the system has none.
	Initrd        string
	InitrdSecrets string
	KernelParams  []string
	// Specialisations holds a whole document for each name. They are left
	// unparsed, so that a bad one doesn't take its generation with it and the
	// depth of parsing stays with the caller.
	Specialisations map[string]json.RawMessage
}

// ParseBootspec reads a boot.json. Required keys must be there, strings must be
// fit for a menu and a kernel command line; extensions and unknown keys are
// passed over. The error is ErrNotV1 if the document is of another version.
func ParseBootspec(data []byte) (*Bootspec, error) {
	if len(data) > MaxBootspec {
		return nil, fmt.Errorf("larger than %d bytes", MaxBootspec)
	}
	// encoding/json would replace what isn't UTF-8, and so change a path.
	if !utf8.Valid(data) {
		return nil, errors.New("not UTF-8")
	}
	document, err := object(data)
	if err != nil {
		return nil, err
	}
	raw, ok := document[keyBootspec]
	if !ok {
		return nil, ErrNotV1
	}
	keys, err := object(raw)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", keyBootspec, err)
	}
	spec, err := parseV1(keys)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", keyBootspec, err)
	}
	if raw, ok := document[keySpecialisation]; ok {
		if spec.Specialisations, err = object(raw); err != nil {
			return nil, fmt.Errorf("%s: %w", keySpecialisation, err)
		}
	}
	return spec, nil
}

// object decodes into a map and not into a struct, because struct fields match
// keys of any case and can't tell null from absent.
func object(data []byte) (map[string]json.RawMessage, error) {
	var keys map[string]json.RawMessage
	if err := json.Unmarshal(data, &keys); err != nil {
		return nil, err
	}
	if keys == nil {
		return nil, errors.New("null instead of an object")
	}
	return keys, nil
}

func parseV1(keys map[string]json.RawMessage) (*Bootspec, error) {
	spec := new(Bootspec)
	for _, field := range []struct {
		key      string
		value    *string
		required bool
		check    func(string) error
	}{
		{"system", &spec.System, true, checkSystem},
		{"label", &spec.Label, true, checkLabel},
		{"toplevel", &spec.Toplevel, true, checkStorePath},
		{"init", &spec.Init, true, checkStorePath},
		{"kernel", &spec.Kernel, true, checkPath},
		{"initrd", &spec.Initrd, false, checkPath},
		{"initrdSecrets", &spec.InitrdSecrets, false, checkPath},
	} {
		raw, ok := keys[field.key]
		if !ok {
			if field.required {
				return nil, fmt.Errorf("key %q is missing", field.key)
			}
			continue
		}
		value, err := text(raw)
		if err == nil {
			err = field.check(value)
		}
		if err != nil {
			return nil, fmt.Errorf("key %q: %w", field.key, err)
		}
		*field.value = value
	}
	params, err := parseParams(keys["kernelParams"])
	if err != nil {
		return nil, fmt.Errorf("key %q: %w", "kernelParams", err)
	}
	spec.KernelParams = params
	return spec, nil
}

func text(raw json.RawMessage) (string, error) {
	var value *string
	if err := json.Unmarshal(raw, &value); err != nil {
		return "", err
	}
	if value == nil {
		return "", errors.New("null instead of a string")
	}
	return *value, nil
}

func parseParams(raw json.RawMessage) ([]string, error) {
	if raw == nil {
		return nil, errors.New("missing")
	}
	var values []*string
	if err := json.Unmarshal(raw, &values); err != nil {
		return nil, err
	}
	if values == nil {
		return nil, errors.New("null instead of a list")
	}
	params := make([]string, len(values))
	for i, value := range values {
		if value == nil {
			return nil, errors.New("null instead of a string")
		}
		params[i] = *value
	}
	return params, checkParams(params)
}

func checkParams(params []string) error {
	length := len(params)
	for _, param := range params {
		if err := checkText(param); err != nil {
			return err
		}
		length += len(param)
	}
	if length > maxCommandLine {
		return fmt.Errorf("%d bytes long, and no kernel takes more than %d", length, maxCommandLine)
	}
	return nil
}

// checkText refuses control characters: they would break out of a line of a
// boot script, or write on the administrator's terminal.
func checkText(s string) error {
	for _, r := range s {
		if unicode.IsControl(r) {
			return fmt.Errorf("%q has a control character", shorten(s))
		}
	}
	return nil
}

func checkLabel(s string) error {
	if strings.TrimSpace(s) == "" {
		return errors.New("empty")
	}
	if len(s) > maxLabel {
		return fmt.Errorf("longer than %d bytes", maxLabel)
	}
	return checkText(s)
}

func checkPath(s string) error {
	if !path.IsAbs(s) {
		return fmt.Errorf("%q is not an absolute path", shorten(s))
	}
	if len(s) > maxPath {
		return fmt.Errorf("longer than %d bytes", maxPath)
	}
	return checkText(s)
}

// checkStorePath is for paths that go on the kernel command line, where a space
// would begin another argument. Nix allows no other characters in a store.
func checkStorePath(s string) error {
	if err := checkPath(s); err != nil {
		return err
	}
	if path.Clean(s) != s {
		return fmt.Errorf("%q is not a clean path", shorten(s))
	}
	for _, component := range strings.Split(s[1:], "/") {
		if !isStoreName(component) {
			return fmt.Errorf("%q has characters that Nix doesn't allow in a store path", shorten(s))
		}
	}
	return nil
}

func checkSystem(s string) error {
	if s == "" || len(s) > maxLabel {
		return errors.New("not a Nix system such as x86_64-linux")
	}
	for _, r := range s {
		if !isAlphanumeric(r) && r != '_' && r != '-' {
			return fmt.Errorf("%q is not a Nix system such as x86_64-linux", shorten(s))
		}
	}
	return nil
}

// isStoreName says whether s is made of the characters of a store path's name:
// letters, digits and +-._?=.
func isStoreName(s string) bool {
	if s == "" || len(s) > maxStoreName {
		return false
	}
	for _, r := range s {
		if !isAlphanumeric(r) && !strings.ContainsRune("+-._?=", r) {
			return false
		}
	}
	return true
}

func isAlphanumeric(r rune) bool {
	return r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z'
}

// shorten keeps a hostile string from filling the log.
func shorten(s string) string {
	if len(s) > 100 {
		return s[:100] + "..."
	}
	return s
}

// MarshalJSON writes the document as NixOS does, without extensions.
func (b *Bootspec) MarshalJSON() ([]byte, error) {
	type v1 struct {
		Init          string   `json:"init"`
		Initrd        string   `json:"initrd,omitempty"`
		InitrdSecrets string   `json:"initrdSecrets,omitempty"`
		Kernel        string   `json:"kernel"`
		KernelParams  []string `json:"kernelParams"`
		Label         string   `json:"label"`
		System        string   `json:"system"`
		Toplevel      string   `json:"toplevel"`
	}
	params := b.KernelParams
	if params == nil {
		params = []string{} // a list is required, null is none
	}
	return json.Marshal(struct {
		V1              v1                         `json:"org.nixos.bootspec.v1"`
		Specialisations map[string]json.RawMessage `json:"org.nixos.specialisation.v1,omitempty"`
	}{
		v1{b.Init, b.Initrd, b.InitrdSecrets, b.Kernel, params, b.Label, b.System, b.Toplevel},
		b.Specialisations,
	})
}
