package main

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

//go:embed closure.nix
var closureExpression string

// scratchStore is a Nix store of the run's own, the server's side of it.
type scratchStore struct{ dir string }

// system is a generation in a scratchStore.
type system struct {
	toplevel string
	paths    []string
	narSize  int64 // bytes, of all
}

// systemSize is how large a system is.
type systemSize struct {
	paths, files int
	bytes        int64
	texts        int // paths of some 4 kB beside
}

// planned is one store path to make.
type planned struct {
	Files  int   `json:"files"`
	Bytes  int64 `json:"bytes"`
	Before []int `json:"before"` // which it refers to
	Own    bool  `json:"own"`    // differs in each generation
}

// ownPaths is how many paths a generation has to itself, its toplevel included.
const ownPaths = 5

// plan spreads files and bytes over store paths as unevenly as real systems do:
// one path has a tenth of all, most have little. Half of the paths have nobody
// but the toplevel referring to them, and no path has a long way to the first.
func (s systemSize) plan() []planned {
	r := rand.New(rand.NewPCG(1, 2))
	bytes, files := make([]float64, s.paths), make([]float64, s.paths)
	var byteSum, fileSum float64
	for i := range bytes {
		bytes[i] = math.Exp(9 * r.Float64())
		files[i] = bytes[i] * math.Exp(3*r.Float64())
		byteSum, fileSum = byteSum+bytes[i], fileSum+files[i]
	}
	all := make([]planned, s.paths)
	for i := range all {
		all[i] = planned{Files: 1 + int(float64(s.files)*0.9*files[i]/fileSum), Bytes: int64(float64(s.bytes) * 0.9 * bytes[i] / byteSum), Before: []int{}}
		for _, before := range []int{i / 2, i / 3} {
			if i > 1 {
				all[i].Before = append(all[i].Before, before)
			}
		}
		if i > s.paths-ownPaths {
			all[i] = planned{Files: s.files / s.paths, Bytes: s.bytes / int64(s.paths), Before: all[i].Before, Own: true}
		}
	}
	if s.paths > 0 {
		all[0].Files += s.files / 10
		all[0].Bytes += s.bytes / 10
	}
	return all
}

// buildSystem makes the toplevel of a system.
func (b *bench) buildSystem(s *scratchStore, of systemSize, generation string) (sys system, err error) {
	text, err := json.Marshal(of.plan())
	if err != nil {
		return sys, err
	}
	dir := b.subdir()
	plan, err := write(dir, "plan.json", string(text))
	if err != nil {
		return sys, err
	}
	expression, err := write(dir, "closure.nix", closureExpression)
	if err != nil {
		return sys, err
	}
	sys.toplevel, err = s.nix(b, "", "nix-build", "--no-out-link", expression, "--quiet",
		"--option", "sandbox", "false", "--option", "build-users-group", "", "--option", "substitute", "false",
		"--argstr", "builder", b.self, "--arg", "plan", plan, "--arg", "texts", strconv.Itoa(of.texts), "--argstr", "generation", generation)
	if err != nil {
		return sys, err
	}
	closure, err := s.nix(b, "", "nix-store", "-qR", sys.toplevel)
	if err != nil {
		return sys, err
	}
	sys.paths = strings.Fields(closure)
	sizes, err := s.nix(b, "", append([]string{"nix-store", "-q", "--size"}, sys.paths...)...)
	for word := range strings.FieldsSeq(sizes) {
		n, _ := strconv.ParseInt(word, 10, 64)
		sys.narSize += n
	}
	return sys, err
}

func (s *scratchStore) store() string { return filepath.Join(s.dir, "store") }

func (s *scratchStore) state() string { return filepath.Join(s.dir, "var/nix") }

// url is the store below a machine's root, as Nix names it and as
// ravenboot-client lays it out.
func (s *scratchStore) url(root string) string {
	return "local?root=" + root + "&store=" + s.store() + "&state=" + root + s.state() + "&real=" + root + s.store()
}

// environment is what Nix's commands need to keep to the scratch store.
func (s *scratchStore) environment(home string) []string {
	return []string{
		"NIX_STORE_DIR=" + s.store(), "NIX_STATE_DIR=" + s.state(), "NIX_LOG_DIR=" + filepath.Join(s.dir, "log"),
		"NIX_CONF_DIR=" + filepath.Join(s.dir, "etc"), "NIX_REMOTE=", "NIX_PATH=", "HOME=" + home, "XDG_CACHE_HOME=" + home,
	}
}

// nix runs one of Nix's commands on the store, or with a root on a machine's.
func (s *scratchStore) nix(b *bench, root string, argv ...string) (string, error) {
	cmd := exec.CommandContext(b.ctx, argv[0], argv[1:]...)
	cmd.Env = append(os.Environ(), s.environment(s.dir)...)
	if root != "" {
		cmd.Env = append(cmd.Env, "NIX_REMOTE="+s.url(root))
	}
	var said strings.Builder
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		text := said.String()
		return "", fmt.Errorf("%s %s: %w\n%s", argv[0], argv[1], err, text[max(0, len(text)-2000):])
	}
	return strings.TrimSpace(string(out)), nil
}
