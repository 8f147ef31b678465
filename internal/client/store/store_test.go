package store

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestMain is the machine whose power is cut, too.
func TestMain(m *testing.M) {
	if root := os.Getenv("RAVENBOOT_TEST_REGISTER"); root != "" {
		registerForever(root)
	}
	os.Exit(m.Run())
}

// Nix takes what is registered for its own.
func TestNixAgrees(t *testing.T) {
	root := newRoot(t)
	s := open(t, root)
	one, two, three := plant(t, s, 1, "one"), plant(t, s, 2, "two", 1, 2), plant(t, s, 3, "three", 2, 1)
	two.Deriver, two.Signatures = base(9)+".drv", []string{"lab-1:AAAA", "lab-2:BBBB"}
	three.CA = "fixed:r:sha256:0lxjvvpr59c2mdram7ympy5ay741f180kv3349hvfc3f8nrmbqf6"
	register(t, s, three, two, one) // in any order
	if err := s.SetSystem(base(3)); err != nil {
		t.Fatal(err)
	}
	s.closeFor(t)

	all := full(base(1), base(2), base(3))
	mustNix(t, root, append([]string{"nix-store", "--check-validity"}, all...)...)
	mustNix(t, root, "nix-store", "--verify", "--check-contents")
	for query, want := range map[string]string{
		"--references":        strings.Join(full(base(1), base(2)), "\n"),
		"--deriver":           storeDir + "/" + base(9) + ".drv",
		"--requisites":        strings.Join(full(base(1), base(2)), "\n"),
		"--size":              fmt.Sprint(two.NarSize),
		"--hash":              mustNix(t, root, "nix-hash", "--type", "sha256", "--base32", filepath.Join(root, all[1])),
		"--referrers":         strings.Join(full(base(2), base(3)), "\n"),
		"--roots":             filepath.Join(root, "nix/var/nix/profiles/system-1-link") + " -> " + all[2],
		"--referrers-closure": strings.Join(full(base(2), base(3)), "\n"),
	} {
		got := mustNix(t, root, "nix-store", "-q", query, all[1])
		if got = strings.TrimPrefix(got, "sha256:"); got != want {
			t.Errorf("nix-store -q %s: %q, want %q", query, got, want)
		}
	}
	info := mustNix(t, root, "nix", "--extra-experimental-features", "nix-command", "path-info", "--sigs", all[1], all[2])
	if !strings.Contains(info, "lab-1:AAAA lab-2:BBBB") || !strings.Contains(info, "ca:"+three.CA) {
		t.Errorf("nix path-info: %s", info)
	}
	mustNix(t, root, "nix-store", "--gc")
	mustNix(t, root, append([]string{"nix-store", "--check-validity"}, all...)...)
}

// The database of a new store is the one that Nix makes.
func TestSchemaIsThatOfNix(t *testing.T) {
	theirs, ours := newRoot(t), newRoot(t)
	mustNix(t, theirs, "nix-store", "--verify")
	open(t, ours).closeFor(t)
	const query = "select type, name, tbl_name, sql from sqlite_master order by type, name"
	if diff := cmp.Diff(plainSQL(sqlite(t, theirs, query)), plainSQL(sqlite(t, ours, query))); diff != "" {
		t.Errorf("-Nix +ours\n%s", diff)
	}
	for _, pragma := range []string{"journal_mode", "encoding", "application_id", "user_version", "auto_vacuum"} {
		if a, b := sqlite(t, theirs, "pragma "+pragma), sqlite(t, ours, "pragma "+pragma); a != b {
			t.Errorf("%s is %s, and Nix has %s", pragma, b, a)
		}
	}
	const version = "nix/var/nix/db/schema"
	text, err := os.ReadFile(filepath.Join(theirs, version))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(filepath.Join(ours, version)); err != nil || string(got) != string(text) {
		t.Errorf("%s has %q, %v, and Nix has %q", version, got, err, text)
	}
}

var (
	sqlComment = regexp.MustCompile(`--[^\n]*`)
	sqlSpace   = regexp.MustCompile(`\s*([(),;|])\s*|\s+`)
)

// plainSQL takes comments, spaces and case away.
func plainSQL(text string) []string {
	var all []string
	text = sqlComment.ReplaceAllString(text, "")
	for _, statement := range regexp.MustCompile(`\n(?:index|table|trigger)\|`).Split(text, -1) {
		all = append(all, strings.ToLower(sqlSpace.ReplaceAllString(strings.TrimSpace(statement), "$1 ")))
	}
	return all
}

func TestRegisterRefusesWhatIsMissing(t *testing.T) {
	s := open(t, newRoot(t))
	defer s.closeFor(t)
	one, two := plant(t, s, 1, "one"), plant(t, s, 2, "two", 1, 3)
	err := s.Register(t.Context(), []Path{one, two})
	if err == nil || !strings.Contains(err.Error(), base(2)+" can't be valid: it refers to "+base(3)) {
		t.Errorf("%v, want what is missing", err)
	}
	if s.IsValid(base(1)) {
		t.Error("half of it was registered")
	}
	stopped, stop := context.WithCancel(t.Context())
	stop()
	if err := s.Register(stopped, []Path{one}); err == nil || s.IsValid(base(1)) {
		t.Errorf("%v when it was stopped", err)
	}
	register(t, s, one)
}

// A path that comes again takes the place of the former one in the database.
func TestRegisterAgain(t *testing.T) {
	root := newRoot(t)
	s := open(t, root)
	one, two := plant(t, s, 1, "one"), plant(t, s, 2, "two", 1)
	register(t, s, one, two)
	if err := s.Discard(base(2)); err != nil {
		t.Fatal(err)
	}
	if s.IsValid(base(2)) {
		t.Error("a path without files is valid")
	}
	again := plant(t, s, 2, "two, otherwise")
	register(t, s, again)
	if refs := s.References(base(2)); len(refs) > 0 {
		t.Errorf("it still refers to %q", refs)
	}
	s.closeFor(t)
	mustNix(t, root, "nix-store", "--verify", "--check-contents")
	s = open(t, root)
	defer s.closeFor(t)
	if !s.IsValid(base(2)) || len(s.References(base(2))) > 0 {
		t.Errorf("it is read back otherwise: %q", s.References(base(2)))
	}
}

func TestOpenRefusesOtherSchemas(t *testing.T) {
	for _, version := range []string{"9", "11", "", "x"} {
		root := newRoot(t)
		open(t, root).closeFor(t)
		file := filepath.Join(root, "nix/var/nix/db/schema")
		if err := os.WriteFile(file, []byte(version), 0o600); err != nil {
			t.Fatal(err)
		}
		if s, err := Open(root, storeDir); err == nil || !strings.Contains(err.Error(), "use the engine nix") {
			t.Errorf("schema %q: %v, %v", version, s, err)
		}
	}
}

func TestOpenRefusesADamagedDatabase(t *testing.T) {
	root := newRoot(t)
	open(t, root).closeFor(t)
	file := filepath.Join(root, "nix/var/nix/db/db.sqlite")
	if err := os.WriteFile(file, []byte(strings.Repeat("not a database. ", 1000)), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(root, storeDir); err == nil || !strings.Contains(err.Error(), file) {
		t.Errorf("%v, want the file", err)
	}
}

func TestOpenRemovesWhatIsHalfMade(t *testing.T) {
	root := newRoot(t)
	s := open(t, root)
	left := filepath.Join(s.Temporary(), base(1), "deep")
	if err := os.MkdirAll(left, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Dir(left), 0o555); err != nil {
		t.Fatal(err)
	}
	s = open(t, root)
	if exists(left) || !exists(s.Temporary()) {
		t.Error("what a former run left is still there")
	}
	info, err := os.Stat(s.Dir())
	if err != nil || info.Mode() != os.ModeDir|os.ModeSticky|0o775 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	s.closeFor(t)
	if exists(s.Temporary()) {
		t.Error("Close leaves its directory in the store")
	}
}

func TestRoom(t *testing.T) {
	s := open(t, newRoot(t))
	defer s.closeFor(t)
	if room, err := s.Room(); err != nil || room.Bytes <= 0 || room.Inodes == 0 {
		t.Errorf("%+v, %v", room, err)
	}
	if _, err := At("/does/not/exist", storeDir).Room(); err == nil {
		t.Error("no error without a disk")
	}
}

// What a round of registerForever registers.
const perRound = 60

// planted are the paths of a round; with a store, they are planted.
func planted(t testing.TB, s *Store, round int) (paths []Path) {
	first := 1_000_000 * (round + 1)
	for n := first; n < first+perRound; n++ {
		references := []int{n}
		if n > first {
			references = append(references, n-1)
		}
		paths = append(paths, plant(t, s, n, "", references...))
	}
	return paths
}

// registerForever registers one round of paths after the other, until it is
// killed. What it says is the round that is done.
func registerForever(root string) {
	s, err := Open(root, storeDir)
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println("open")
	names, err := os.ReadDir(s.Dir())
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	for {
		for round := 0; ; round++ {
			var paths []Path
			for _, name := range names {
				if strings.HasPrefix(name.Name(), fmt.Sprintf("%026d", round+1)) {
					paths = append(paths, Path{Base: name.Name(), NarSize: 1})
				}
			}
			if len(paths) == 0 {
				break
			}
			for i := range paths[1:] {
				paths[i+1].References = []string{paths[i].Base}
			}
			if err := s.Register(context.Background(), paths); err != nil {
				fmt.Println(err)
				os.Exit(1)
			}
			fmt.Println("done", round)
		}
	}
}

// A power cut in the middle of a registration leaves a database that Nix can
// open, with all of a registration or nothing.
func TestKilledWhileRegistering(t *testing.T) {
	root := newRoot(t)
	s := open(t, root)
	const rounds = 6
	var all [rounds][]string
	for round := range rounds {
		for _, p := range planted(t, s, round) {
			all[round] = append(all[round], p.Base)
		}
	}
	s.closeFor(t)
	var undone, finished int
	for try := range 8 {
		_ = os.Remove(filepath.Join(root, "nix/var/nix/db/db.sqlite"))
		_ = os.Remove(filepath.Join(root, "nix/var/nix/db/db.sqlite-wal"))
		_ = os.Remove(filepath.Join(root, "nix/var/nix/db/db.sqlite-shm"))
		done := killAfter(t, root, time.Duration(10+rand.IntN(300))*time.Millisecond)
		finished += len(done)
		invalid := mustNix(t, root, append([]string{"nix-store", "--check-validity", "--print-invalid"}, full(slices.Concat(all[:]...)...)...)...)
		for round, bases := range all {
			n := len(slices.DeleteFunc(full(bases...), func(path string) bool { return !strings.Contains(invalid, path) }))
			if n != 0 && n != len(bases) || n != 0 && slices.Contains(done, fmt.Sprint("done ", round)) {
				t.Errorf("try %d: round %d of %q has %d invalid paths", try, round, done, n)
			}
			if n != 0 {
				undone++
			}
		}
		if got := sqlite(t, root, "pragma integrity_check"); got != "ok" {
			t.Errorf("try %d: %s", try, got)
		}
	}
	if undone == 0 || finished == 0 {
		t.Errorf("%d registrations were done and %d were not, in all: it was killed too late or too early", finished, undone)
	}
}

// killAfter starts registerForever and kills it some time after it has opened
// the store. It returns what it has said.
func killAfter(t *testing.T, root string, d time.Duration) (said []string) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "RAVENBOOT_TEST_REGISTER="+root)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	if !lines.Scan() || lines.Text() != "open" {
		t.Fatalf("%q", lines.Text())
	}
	timer := time.AfterFunc(d, func() { _ = cmd.Process.Kill() })
	defer timer.Stop()
	for lines.Scan() {
		if !strings.HasPrefix(lines.Text(), "done ") {
			t.Errorf("it says %q", lines.Text())
		}
		said = append(said, lines.Text())
	}
	_ = cmd.Wait() // it was killed
	return said
}
