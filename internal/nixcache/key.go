package nixcache

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/nix-community/go-nix/pkg/narinfo/signature"

	"ravenboot/internal/statefile"
)

// KeyFile is the signing key's name in the state directory. It is in the form
// of `nix-store --generate-binary-cache-key`, so that a key that clients trust
// already can be put there.
const KeyFile = "cache.key"

// maxKeyFile is in bytes; a key takes about 110.
const maxKeyFile = 4096

// Key signs what the cache says of a store path.
type Key struct{ secret signature.SecretKey }

// Public is the public half as `trusted-public-keys` takes it, "NAME:BASE64".
func (k Key) Public() string { return k.secret.ToPublicKey().String() }

// OpenKey reads the signing key from the state directory, and makes both where
// they are missing. Clients look a key up by its name: name replaces the one in
// the file, and "" keeps it, which for a new key is HOSTNAME-1.
func OpenKey(stateDir, name string) (Key, error) {
	file := filepath.Join(stateDir, KeyFile)
	if err := checkKeyName(name); err != nil {
		return Key{}, err
	}
	key, err := readKey(file, name)
	if errors.Is(err, fs.ErrNotExist) {
		if err = makeKey(file, name); err == nil {
			key, err = readKey(file, name)
		}
	}
	if err != nil {
		return Key{}, fmt.Errorf("signing key of the cache: %w", err)
	}
	return key, nil
}

func checkKeyName(name string) error {
	if len(name) > 200 || strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r == ':' || r > '~' }) {
		return fmt.Errorf("the key name %q may not have blanks or colons, and at most 200 characters", shorten(name))
	}
	return nil
}

func readKey(file, name string) (Key, error) {
	text, err := statefile.ReadSecret(file, maxKeyFile,
		"whoever has it can sign systems that machines trust; run: chmod 600 "+file)
	if err != nil {
		return Key{}, err
	}
	secret, err := parseKey(strings.TrimSpace(string(text)), name)
	if err != nil {
		return Key{}, fmt.Errorf("%s: %w; restore it, or move it away: a new key is made then, which machines must be told to trust", file, err)
	}
	return Key{secret}, nil
}

func parseKey(text, name string) (signature.SecretKey, error) {
	if _, data, ok := strings.Cut(text, ":"); ok && name != "" {
		text = name + ":" + data
	}
	return signature.LoadSecretKey(text)
}

func makeKey(file, name string) error {
	if name == "" {
		host, err := os.Hostname()
		if err != nil || checkKeyName(host) != nil || host == "" {
			host = "ravenboot"
		}
		name = host + "-1"
	}
	secret, _, err := signature.GenerateKeypair(name, nil)
	if err != nil {
		return err
	}
	return statefile.Create(file, []byte(secret.String()+"\n"))
}
