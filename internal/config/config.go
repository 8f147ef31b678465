package config

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"

	"ravenboot/dhcp/lease"
	"ravenboot/internal/boot"
)

// MaxFile is the largest configuration that is read, in bytes. A lab of a
// thousand machines needs about 200 kB.
const MaxFile = 4 << 20

// Config is a valid configuration: every value has been checked by itself and
// against the others. It is shared and must not be changed.
type Config struct {
	Server  Server
	DHCP    DHCP
	TFTP    TFTP
	HTTP    HTTP
	Cache   Cache
	Admin   Admin
	Loaders Loaders
	Boot    boot.Policy
	Log     Log
	// Warnings tell what is legal, but probably not meant, in the form of the
	// errors.
	Warnings []string
}

// Server is what all services have in common.
type Server struct {
	Address    netip.Addr // in every URL, where set; else the one that a machine asked
	Interfaces []string   // names, in the order of the file
	StateDir   string     // absolute, if the file's own path is
}

// DHCP modes.
const (
	ModeProxy  = "proxy"  // boot files only, beside another DHCP server
	ModeServer = "server" // addresses and boot files
	ModeOff    = "off"
)

// DHCP is how machines get addresses and boot file names.
type DHCP struct {
	Mode      string // ModeProxy, ModeServer or ModeOff
	Port      int    // UDP, of DHCP servers
	ProxyPort int    // UDP, where PXE clients ask again (PXE 2.1, 2.2.3)
	// EFIOption43 sends EFI clients option 43, too.
	EFIOption43 bool
	Subnets     []lease.Subnet // never empty in ModeServer
}

// TFTP is the TFTP service.
type TFTP struct {
	Listen       string // host:port; "" turns the service off
	BlockSize    int    // largest block that is agreed to, in bytes (RFC 2348)
	SinglePort   bool   // answer from the listening port
	MaxTransfers int    // at a time
	// ScriptForLoader is whether an iPXE that asks for a loader again is given
	// a script under the loader's name: ScriptAuto or ScriptNever.
	ScriptForLoader string
}

// Values of TFTP.ScriptForLoader.
const (
	ScriptAuto  = "auto"
	ScriptNever = "never"
)

// HTTP is the service for machines that boot.
type HTTP struct {
	Listen       string // host:port; "" turns the service off
	MaxTransfers int    // large downloads at a time
}

// Admin is the service for people: page, API, metrics.
type Admin struct {
	Listen string // host:port; "" turns the service off
}

// Loaders is where iPXE's loaders lie.
type Loaders struct {
	Dirs []string // searched in order, before the places of known distributions
}

// Log is what is logged, and how.
type Log struct {
	Level  slog.Level
	Format string // LogAuto, LogText or LogJSON
}

// Log formats.
const (
	LogAuto = "auto" // text on a terminal, else JSON
	LogText = "text"
	LogJSON = "json"
)

// Load reads and checks a configuration file. The error is of type Errors when
// the file could be read, but not used.
func Load(path string) (*Config, error) {
	absolute, data, err := readFile(path)
	if err != nil {
		return nil, err
	}
	return parse(path, filepath.Dir(absolute), data)
}

// Parse checks a configuration. The name stands in errors, and relative paths
// in the configuration begin at its directory. The error is of type Errors.
func Parse(name string, data []byte) (*Config, error) {
	return parse(name, filepath.Dir(name), data)
}

func readFile(path string) (absolute string, data []byte, err error) {
	if absolute, err = filepath.Abs(path); err != nil {
		return "", nil, fmt.Errorf("configuration %s: %w", path, err)
	}
	f, err := os.Open(absolute)
	if errors.Is(err, os.ErrNotExist) {
		return "", nil, fmt.Errorf("%w; name the configuration with -config, config.example.toml is a start", err)
	} else if err != nil {
		return "", nil, notReadable(err)
	}
	defer f.Close()
	if data, err = io.ReadAll(io.LimitReader(f, MaxFile+1)); err != nil {
		return "", nil, notReadable(err)
	}
	return absolute, data, nil
}

// notReadable adds to an error, which names the file, what there should be.
func notReadable(err error) error {
	return fmt.Errorf("%w; the configuration must be a file that this user may read", err)
}
