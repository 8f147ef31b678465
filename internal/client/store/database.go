package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	_ "modernc.org/sqlite" // SQLite without cgo, which a static initrd program can't have
)

// schemaVersion is that of Nix 2.0 and every later one so far.
const schemaVersion = "10"

// schema is what Nix makes for a new store; it is Nix's interface, not ours.
const schema = `
create table if not exists ValidPaths (
	id integer primary key autoincrement not null, path text unique not null, hash text not null,
	registrationTime integer not null, deriver text, narSize integer, ultimate integer, sigs text, ca text);
create table if not exists Refs (
	referrer integer not null, reference integer not null, primary key (referrer, reference),
	foreign key (referrer) references ValidPaths(id) on delete cascade,
	foreign key (reference) references ValidPaths(id) on delete restrict);
create index if not exists IndexReferrer on Refs(referrer);
create index if not exists IndexReference on Refs(reference);
create trigger if not exists DeleteSelfRefs before delete on ValidPaths
	begin delete from Refs where referrer = old.id and reference = old.id; end;
create table if not exists DerivationOutputs (
	drv integer not null, id text not null, path text not null, primary key (drv, id),
	foreign key (drv) references ValidPaths(id) on delete cascade);
create index if not exists IndexDerivationOutputs on DerivationOutputs(path);`

// openDatabase opens a store's database, and makes one where there is none.
func openDatabase(dir string) (*sql.DB, error) {
	version := filepath.Join(dir, "schema")
	if err := checkSchemaVersion(version); err != nil {
		return nil, err
	}
	// As Nix has it: a write-ahead log. FULL, because a registration must be on
	// the disk before the system that it belongs to starts.
	options := url.Values{"_pragma": {"journal_mode(wal)", "synchronous(full)", "foreign_keys(on)", "busy_timeout(10000)"}}
	file := url.URL{Scheme: "file", Path: filepath.Join(dir, "db.sqlite"), RawQuery: options.Encode()}
	db, err := sql.Open("sqlite", file.String())
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(1)
	if _, err := db.Exec(schema); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", file.Path, err), db.Close())
	}
	// After the database, as Nix does it: with a version Nix expects that there
	// is one.
	if !exists(version) {
		err = writeFile(version, schemaVersion)
	}
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return db, nil
}

func checkSchemaVersion(file string) error {
	text, err := os.ReadFile(file)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if got := strings.TrimSpace(string(text)); got != schemaVersion {
		return fmt.Errorf("%s: the store's database has the form %.20q, and this program knows %s only; use the engine nix",
			file, got, schemaVersion)
	}
	return nil
}

// known reads what the database says of every path.
func (s *Store) known() (map[string]*entry, error) {
	rows, err := s.db.Query("select id, path, narSize from ValidPaths")
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	all := make(map[string]*entry)
	byID := make(map[int64]*entry)
	for rows.Next() {
		var e entry
		var path string
		var size sql.NullInt64
		if err := rows.Scan(&e.id, &path, &size); err != nil {
			return nil, err
		}
		e.base, e.narSize = strings.TrimPrefix(path, s.storeDir+"/"), size.Int64
		all[e.base], byID[e.id] = &e, &e
	}
	if err := rows.Err(); err != nil {
		return nil, err
	}
	return all, readReferences(s.db, byID)
}

func readReferences(db *sql.DB, byID map[int64]*entry) error {
	rows, err := db.Query("select referrer, reference from Refs")
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var from, to int64
		if err := rows.Scan(&from, &to); err != nil {
			return err
		}
		if referrer, reference := byID[from], byID[to]; referrer != nil && reference != nil {
			referrer.references = append(referrer.references, reference.base)
		}
	}
	return rows.Err()
}

// Register says that paths are valid, all or none of them. Their files must be
// on the disk (Sync), and each reference must be valid or among them.
func (s *Store) Register(ctx context.Context, paths []Path) error {
	if err := s.checkReferences(paths); err != nil {
		return err
	}
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	if err := s.insert(ctx, tx, paths); err != nil {
		return errors.Join(err, tx.Rollback())
	}
	if err := tx.Commit(); err != nil {
		return err
	}
	s.valid, err = s.known()
	return err
}

func (s *Store) checkReferences(paths []Path) error {
	among := make(map[string]bool, len(paths))
	for _, p := range paths {
		among[p.Base] = true
	}
	for _, p := range paths {
		for _, r := range p.References {
			if !among[r] && s.valid[r] == nil {
				return fmt.Errorf("%s can't be valid: it refers to %s, which is not", p.Base, r)
			}
		}
	}
	return nil
}

func (s *Store) insert(ctx context.Context, tx *sql.Tx, paths []Path) error {
	const path = `insert into ValidPaths (path, hash, registrationTime, deriver, narSize, sigs, ca) values (?, ?, ?, ?, ?, ?, ?)
		on conflict (path) do update set hash = excluded.hash, deriver = excluded.deriver,
			narSize = excluded.narSize, sigs = excluded.sigs, ca = excluded.ca returning id`
	// SQLite takes as long to read a statement as to do it.
	insertion, err := tx.PrepareContext(ctx, path)
	if err != nil {
		return err
	}
	defer insertion.Close()
	now := time.Now().Unix()
	ids := make(map[string]int64, len(paths))
	for _, p := range paths {
		var id int64
		row := insertion.QueryRowContext(ctx, s.full(p.Base), fmt.Sprintf("sha256:%x", p.NarHash), now,
			orNull(s.deriver(&p)), p.NarSize, orNull(strings.Join(p.Signatures, " ")), orNull(p.CA))
		if err := row.Scan(&id); err != nil {
			return fmt.Errorf("%s: %w", p.Base, err)
		}
		// A path that comes again, because its files were lost, may refer to less.
		if _, err := tx.ExecContext(ctx, "delete from Refs where referrer = ?", id); err != nil {
			return fmt.Errorf("%s: %w", p.Base, err)
		}
		ids[p.Base] = id
	}
	const reference = `insert or ignore into Refs (referrer, reference) select ?, id from ValidPaths where path = ?`
	statement, err := tx.PrepareContext(ctx, reference)
	if err != nil {
		return err
	}
	defer statement.Close()
	for _, p := range paths {
		for _, r := range p.References {
			if _, err := statement.ExecContext(ctx, ids[p.Base], s.full(r)); err != nil {
				return fmt.Errorf("%s: reference to %s: %w", p.Base, r, err)
			}
		}
	}
	return nil
}

func (s *Store) deriver(p *Path) string {
	if p.Deriver == "" {
		return ""
	}
	return s.full(p.Deriver)
}

func orNull(text string) sql.NullString { return sql.NullString{String: text, Valid: text != ""} }

// invalidate says that paths are not valid any more. Nothing that stays valid
// may refer to them.
func (s *Store) invalidate(ctx context.Context, bases []string) error {
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	if err := s.remove(ctx, tx, bases); err != nil {
		return errors.Join(err, tx.Rollback())
	}
	if err := tx.Commit(); err != nil {
		return err
	}
	for _, base := range bases {
		delete(s.valid, base)
	}
	return nil
}

func (s *Store) remove(ctx context.Context, tx *sql.Tx, bases []string) error {
	// References first: a path can't be removed while another row names it.
	for _, statement := range []string{"delete from Refs where referrer = ?", "delete from ValidPaths where id = ?"} {
		for _, base := range bases {
			if e := s.valid[base]; e != nil {
				if _, err := tx.ExecContext(ctx, statement, e.id); err != nil {
					return fmt.Errorf("%s: %w", base, err)
				}
			}
		}
	}
	return nil
}

// References are what a valid path refers to.
func (s *Store) References(base string) []string {
	if e := s.valid[base]; e != nil {
		return e.references
	}
	return nil
}

// mark adds a valid path's closure to seen.
func (s *Store) mark(base string, seen map[string]bool) {
	todo := []string{base}
	for len(todo) > 0 {
		base := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		e := s.valid[base]
		if e == nil || seen[base] {
			continue
		}
		seen[base] = true
		todo = append(todo, e.references...)
	}
}
