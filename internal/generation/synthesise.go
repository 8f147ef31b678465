package generation

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// maxSmallFile bounds kernel-params, nixos-version, system and the script that
// appends secrets, in bytes.
const maxSmallFile = 64 << 10

// readSpec reads the bootspec of a toplevel, or makes one for a toplevel that
// has none (before NixOS 22.11) or only one of the preview form.
func readSpec(dir string) (spec *Bootspec, synthesised bool, err error) {
	file := filepath.Join(dir, "boot.json")
	data, err := readFile(file, MaxBootspec)
	if err == nil {
		spec, err = ParseBootspec(data)
		if err == nil {
			return spec, false, nil
		}
		if !errors.Is(err, ErrNotV1) {
			return nil, false, fmt.Errorf("%s is broken: %w", file, err)
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return nil, false, err
	}
	spec, err = synthesise(dir)
	return spec, true, err
}

// synthesise makes a bootspec from the files of a toplevel, as RFC 0125 says.
func synthesise(dir string) (*Bootspec, error) {
	line, err := readFile(filepath.Join(dir, "kernel-params"), maxSmallFile)
	if err != nil {
		return nil, fmt.Errorf("neither a v1 boot.json nor kernel-params: %w", err)
	}
	version, err := readLine(filepath.Join(dir, "nixos-version"))
	if err != nil {
		return nil, err
	}
	system, err := readLine(filepath.Join(dir, "system"))
	if err != nil {
		return nil, err
	}
	spec := &Bootspec{
		System:       system,
		Label:        synthesiseLabel(version, kernelRelease(dir)),
		Toplevel:     dir,
		Init:         filepath.Join(dir, "init"),
		Kernel:       filepath.Join(dir, "kernel"),
		KernelParams: strings.Fields(string(line)),
	}
	if exists(filepath.Join(dir, "initrd")) {
		spec.Initrd = filepath.Join(dir, "initrd")
	}
	if secrets := filepath.Join(dir, "append-initrd-secrets"); appendsSecrets(secrets) {
		spec.InitrdSecrets = secrets
	}
	if !exists(spec.Init) {
		takeInit(spec)
	}
	return spec, checkSynthesised(spec)
}

// takeInit is for a directory that was copied without its init: there the
// kernel parameters may say which system on the machine's disk is meant.
func takeInit(spec *Bootspec) {
	params := spec.KernelParams[:0]
	for _, param := range spec.KernelParams {
		if init, ok := strings.CutPrefix(param, "init="); ok {
			spec.Init, spec.Toplevel = init, filepath.Dir(init)
			continue
		}
		params = append(params, param)
	}
	spec.KernelParams = params
}

func synthesiseLabel(version, release string) string {
	label := "NixOS"
	if version != "" {
		label += " " + version
	}
	if release != "" {
		label += " (Linux " + release + ")"
	}
	return label
}

// checkSynthesised holds the files of a toplevel to the rules of a bootspec.
func checkSynthesised(spec *Bootspec) error {
	if spec.System != "" {
		if err := checkSystem(spec.System); err != nil {
			return fmt.Errorf("system: %w", err)
		}
	}
	if err := checkLabel(spec.Label); err != nil {
		return fmt.Errorf("nixos-version: %w", err)
	}
	if err := checkParams(spec.KernelParams); err != nil {
		return fmt.Errorf("kernel-params: %w", err)
	}
	for _, path := range []string{spec.Toplevel, spec.Init} {
		if err := checkStorePath(path); err != nil {
			return fmt.Errorf("init: %w", err)
		}
	}
	return nil
}

// kernelRelease is the kernel's version by its directory of modules, or "".
func kernelRelease(dir string) string {
	entries, err := os.ReadDir(filepath.Join(dir, "kernel-modules", "lib", "modules"))
	if err != nil || len(entries) != 1 || !isStoreName(entries[0].Name()) {
		return ""
	}
	return entries[0].Name()
}

var labelRelease = regexp.MustCompile(`\(Linux ([^()]+)\)$`)

func labelKernel(label string) string {
	if m := labelRelease.FindStringSubmatch(label); m != nil {
		return m[1]
	}
	return ""
}

// doesNothing is the line by which NixOS ends the script that appends secrets
// when there are none: the script itself was always there until bootspec.
var doesNothing = regexp.MustCompile(`(?m)^exit 0$`)

func appendsSecrets(script string) bool {
	data, err := readFile(script, maxSmallFile)
	if errors.Is(err, fs.ErrNotExist) {
		return false
	}
	return err != nil || !doesNothing.Match(data)
}

// readLine reads a small file that may be missing.
func readLine(file string) (string, error) {
	data, err := readFile(file, maxSmallFile)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	return strings.TrimSpace(string(data)), err
}

// readFile reads a regular file of at most limit bytes. Opening a FIFO would
// hang, so it looks first.
func readFile(file string, limit int64) ([]byte, error) {
	info, err := os.Stat(file)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is no regular file", file)
	}
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(data)) > limit {
		err = fmt.Errorf("%s is larger than %d bytes", file, limit)
	}
	return data, err
}

func exists(file string) bool {
	_, err := os.Lstat(file)
	return err == nil
}
