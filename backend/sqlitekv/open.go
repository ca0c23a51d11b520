package sqlitekv

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"teleport/backend"
	"teleport/fault"
)

const (
	// schema is the version of the tables, in SQLite's user_version:
	//   1  2026-11  items, gone, meta
	schema = 1
	// application marks the file as ours in SQLite's header: "TPKV".
	application = 0x54504b56
	// checkMax is the size up to which the whole file is checked when it is
	// opened; of a larger one, damage shows where it is read.
	checkMax = 16 << 20
)

var tables = []string{
	`CREATE TABLE items(key TEXT PRIMARY KEY, value BLOB NOT NULL, expires INTEGER NOT NULL, rev INTEGER NOT NULL)`,
	`CREATE INDEX items_rev ON items(rev)`,
	`CREATE INDEX items_expires ON items(expires) WHERE expires > 0`,
	`CREATE TABLE gone(rev INTEGER NOT NULL, key TEXT NOT NULL, at INTEGER NOT NULL, PRIMARY KEY(rev, key)) WITHOUT ROWID`,
	`CREATE TABLE meta(name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID`,
	`INSERT INTO meta(name, value) VALUES('revision', 0), ('pruned', 0)`,
	fmt.Sprintf(`PRAGMA application_id = %d`, application),
	fmt.Sprintf(`PRAGMA user_version = %d`, schema),
}

// Open opens the file, making it where it does not exist, and holds it for this
// process alone until Close. Every error is a fault that says what is wrong
// with the file or its place, and what to do.
func Open(ctx context.Context, o Options) (*KV, error) {
	defaults(&o)
	if o.Sync != SyncFull && o.Sync != SyncNormal {
		return nil, fault.New(fault.Invalid, "unknown sync mode %q: use %s or %s", o.Sync, SyncFull, SyncNormal)
	}
	if err := prepareDir(filepath.Dir(o.Path)); err != nil {
		return nil, err
	}
	lock, err := acquire(o.Path)
	if err != nil {
		return nil, err
	}
	k := &KV{o: o, lock: lock, ending: make(chan struct{}), turn: make(chan struct{}, 1)}
	if err := k.open(ctx); err != nil {
		k.release() //nolint:errcheck // the reason is err
		return nil, err
	}
	return k, nil
}

func defaults(o *Options) {
	if o.Sync == "" {
		o.Sync = SyncFull
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Deletions == 0 {
		o.Deletions = 65536
	}
	if o.Retention == 0 {
		o.Retention = 24 * time.Hour
	}
}

// prepareDir makes the directory with mode 0700, or refuses one in which
// anybody could replace the file.
func prepareDir(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return explainPath(err, dir)
	}
	st, err := os.Stat(dir)
	if err != nil {
		return explainPath(err, dir)
	}
	if st.Mode().Perm()&0o002 != 0 {
		return fault.New(fault.Unavailable, "every user may write to the directory %s", dir).
			WithHint("run: chmod 0700 %s, or choose another data directory", dir)
	}
	return nil
}

// acquire takes the lock file beside the store and writes into it who has it.
func acquire(path string) (*os.File, error) {
	f, err := os.OpenFile(path+".lock", os.O_CREATE|os.O_RDWR|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, explainPath(err, path)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		defer f.Close()
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, explainPath(err, path)
		}
		holder, _ := io.ReadAll(io.LimitReader(f, 200))
		return nil, fault.New(fault.Unavailable, "the store %s is in use by %s", path, holderName(holder)).
			WithHint("stop that process, or give this one another data directory")
	}
	me := fmt.Sprintf("%s (pid %d)\n", filepath.Base(os.Args[0]), os.Getpid())
	if err = f.Truncate(0); err == nil {
		_, err = f.WriteAt([]byte(me), 0)
	}
	if err != nil {
		f.Close()
		return nil, explainPath(err, path)
	}
	return f, nil
}

func holderName(b []byte) string {
	if s := strings.TrimSpace(string(b)); s != "" {
		return s
	}
	return "another process"
}

// prepareFile makes the file, so that SQLite never does with other modes: it
// gives -wal and -shm the mode of the file itself.
func prepareFile(path string) (size int64, err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return 0, explainPath(err, path)
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return 0, explainPath(err, path)
	}
	if !st.Mode().IsRegular() {
		return 0, fault.New(fault.Unavailable, "%s is not a regular file", path)
	}
	for _, p := range []string{path, path + "-wal", path + "-shm"} {
		if err := os.Chmod(p, 0o600); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return 0, explainPath(err, p)
		}
	}
	return st.Size(), nil
}

func (k *KV) open(ctx context.Context) error {
	size, err := prepareFile(k.o.Path)
	if err != nil {
		return err
	}
	if k.write, err = sql.Open("sqlite", dsn(k.o.Path, "synchronous("+string(k.o.Sync)+")", "journal_mode(WAL)")); err != nil {
		return k.explain(err)
	}
	if k.conn, err = k.write.Conn(ctx); err != nil {
		return k.explain(err)
	}
	if err := k.checkFile(ctx, size); err != nil {
		return err
	}
	if err := k.prepare(ctx); err != nil {
		return k.explain(err)
	}
	var last backend.Revision
	if err := k.conn.QueryRowContext(ctx, `SELECT value FROM meta WHERE name = 'revision'`).Scan(&last); err != nil {
		return k.explain(err)
	}
	k.rev = last
	k.deleted = k.o.Deletions // look for old tombstones with the first deletion
	k.feed = backend.NewFeed(last, backend.FeedOptions{Changes: k.o.History, Backfill: k.backfill})
	return k.openReaders(ctx)
}

func (k *KV) openReaders(ctx context.Context) (err error) {
	if k.read, err = sql.Open("sqlite", dsn(k.o.Path, "query_only(1)")); err != nil {
		return k.explain(err)
	}
	k.read.SetMaxOpenConns(readers)
	k.read.SetMaxIdleConns(readers)
	if k.get, err = k.read.PrepareContext(ctx, `SELECT value, expires, rev FROM items WHERE key = ?`); err != nil {
		return k.explain(err)
	}
	k.scan, err = k.read.PrepareContext(ctx, `SELECT key, value, expires, rev FROM items
		WHERE key >= ? AND key < ? AND (expires = 0 OR expires > ?) ORDER BY key LIMIT ?`)
	return k.explain(err)
}

// checkFile refuses what is not ours, is newer or is damaged, and makes the
// tables of a new file in one transaction.
func (k *KV) checkFile(ctx context.Context, size int64) error {
	var app, version, objects int
	if err := k.conn.QueryRowContext(ctx, `SELECT application_id, user_version, (SELECT count(*) FROM sqlite_schema)
		FROM pragma_application_id, pragma_user_version`).Scan(&app, &version, &objects); err != nil {
		return k.explain(err)
	}
	switch {
	case app == 0 && version == 0 && objects == 0:
		return k.makeTables(ctx)
	case app != application:
		return fault.New(fault.Unavailable, "%s is a database of another program", k.o.Path).
			WithHint("move it away, or choose another data directory")
	case version > schema:
		return fault.New(fault.Unavailable, "the store %s was written by a newer version (schema %d, this one knows %d)",
			k.o.Path, version, schema).WithHint("start the newer version again, or restore a backup made before the upgrade")
	}
	if size > checkMax {
		return nil
	}
	var verdict string
	if err := k.conn.QueryRowContext(ctx, `PRAGMA quick_check(1)`).Scan(&verdict); err != nil {
		return k.explain(err)
	}
	if verdict != "ok" {
		return k.damaged(errors.New(verdict))
	}
	return nil
}

func (k *KV) makeTables(ctx context.Context) error {
	for _, q := range append(append([]string{`BEGIN IMMEDIATE`}, tables...), `COMMIT`) {
		if _, err := k.conn.ExecContext(ctx, q); err != nil {
			return k.explain(err)
		}
	}
	return nil
}

func dsn(path string, pragmas ...string) string {
	q := url.Values{"mode": {"rw"}, "_pragma": append(pragmas, "busy_timeout(5000)")}
	u := url.URL{Scheme: "file", Opaque: (&url.URL{Path: path}).EscapedPath(), RawQuery: q.Encode()}
	return u.String()
}
