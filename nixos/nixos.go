// Package nixos has real Nix evaluate the NixOS modules of this directory, and
// writes what NixOS makes of the answer: the initrd's units and networkd's files.
//
// It is for tests. It knows Nix's programs, the stand-in for nixpkgs in testdata,
// and the form of systemd's files. It must not know what the units do.
package nixos

import (
	"bytes"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// Modules are the files that Evaluate needs, for programs that run elsewhere.
//
//go:embed client.nix server.nix package.nix example testdata/*.nix
var Modules embed.FS

// Nix runs one of Nix's programs, with a store and settings of its own in dir.
func Nix(dir, program string, args ...string) ([]byte, error) {
	cmd := exec.Command(program, args...)
	cmd.Env = append(os.Environ(), "NIX_REMOTE=", "NIX_PATH=", "NIX_CONFIG=", "HOME="+dir,
		"NIX_STATE_DIR="+filepath.Join(dir, "state"), "NIX_CONF_DIR="+filepath.Join(dir, "etc"))
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		return stdout.Bytes(), errors.New(stderr.String())
	}
	if err != nil {
		return nil, fmt.Errorf("%w: install the Debian package nix-bin", err)
	}
	return stdout.Bytes(), nil
}

// Evaluate gives what an attribute of a directory's testdata/eval.nix comes to.
// dir is Nix's own.
func Evaluate(dir, modules, attribute string) (map[string]json.RawMessage, error) {
	file := filepath.Join(modules, "testdata/eval.nix")
	out, err := Nix(dir, "nix-instantiate", "--eval", "--strict", "--json", file, "-A", attribute)
	if err != nil {
		return nil, err
	}
	var values map[string]json.RawMessage
	if err := json.Unmarshal(out, &values); err != nil {
		return nil, fmt.Errorf("%s: %w", attribute, err)
	}
	return values, nil
}

// Initrd is what the modules put into an initrd with systemd.
type Initrd struct {
	Units   map[string]Unit // services, by name without ".service"
	Network struct {
		Networks   map[string]Network
		WaitOnline struct{ AnyInterface bool } `json:"wait-online"`
	}
	Bin   map[string]string // programs: where they come from
	Files map[string]string
	Fstab string // what it mounts
}

// Unit is what NixOS makes a service of.
type Unit struct {
	Description                                            string
	Wants, After, Before, Conflicts, OnFailure, RequiredBy []string
	Environment                                            map[string]string
	UnitConfig, ServiceConfig                              map[string]any
}

// Text is the unit's file.
func (u Unit) Text() string {
	unit := map[string]any{}
	for key, value := range u.UnitConfig {
		unit[key] = value
	}
	for key, names := range map[string][]string{
		"Wants": u.Wants, "After": u.After, "Before": u.Before, "Conflicts": u.Conflicts, "OnFailure": u.OnFailure,
	} {
		unit[key] = strings.Join(names, " ")
	}
	unit["Description"] = u.Description
	var variables []any
	for name, value := range u.Environment {
		variables = append(variables, name+"="+value)
	}
	service := map[string]any{"Environment": variables}
	for key, value := range u.ServiceConfig {
		service[key] = value
	}
	return section("Unit", unit) + section("Service", service)
}

// Network is what NixOS makes one of networkd's files of.
type Network struct{ MatchConfig, LinkConfig, NetworkConfig, DHCPV4Config map[string]any }

// Text is the file.
func (n Network) Text() string {
	return section("Match", n.MatchConfig) + section("Link", n.LinkConfig) +
		section("Network", n.NetworkConfig) + section("DHCPv4", n.DHCPV4Config)
}

func section(name string, settings map[string]any) string {
	var b strings.Builder
	fmt.Fprintf(&b, "[%s]\n", name)
	all := Lines(settings)
	var keys []string
	for key := range all {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	for _, key := range keys {
		for _, value := range all[key] {
			fmt.Fprintf(&b, "%s=%s\n", key, value)
		}
	}
	return b.String()
}

// Lines are the lines that NixOS makes of a unit's settings, by key.
func Lines(settings map[string]any) map[string][]string {
	all := map[string][]string{}
	add := func(key string, value any) {
		switch v := value.(type) {
		case bool:
			all[key] = append(all[key], map[bool]string{true: "yes", false: "no"}[v])
		case string:
			all[key] = append(all[key], v)
		case float64:
			number, _ := json.Marshal(v)
			all[key] = append(all[key], string(number))
		}
	}
	for key, value := range settings {
		if list, ok := value.([]any); ok {
			for _, one := range list {
				add(key, one)
			}
			continue
		}
		add(key, value)
	}
	return all
}
