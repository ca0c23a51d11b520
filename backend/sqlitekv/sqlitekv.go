// Package sqlitekv is the backend in one SQLite file: the default of a single
// auth service. Writers share transactions (and so fsyncs), readers have
// connections of their own and never wait for a writer.
//
// The file holds three tables: items (key, value, expiry, revision), gone (a
// tombstone for each deleted key) and meta (the revision counter). A watch that
// resumes reads what is newer than its revision from items and gone, so no value
// is stored twice; only tombstones have to be pruned, by count and age, and
// only a watch older than the last pruned one must read everything anew.
package sqlitekv

import (
	"context"
	"database/sql"
	"errors"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"teleport/backend"
	"teleport/fault"
)

// Sync says what a finished write survives.
type Sync string

const (
	// SyncFull survives power loss: each transaction waits for the disk.
	SyncFull Sync = "FULL"
	// SyncNormal survives the death of the process; power loss may take the last
	// transactions, and never leaves a broken file.
	SyncNormal Sync = "NORMAL"
)

// Options configure Open. Only Path is needed.
type Options struct {
	Path      string           // the file; made with mode 0600 in a directory made with 0700
	Sync      Sync             // "": SyncFull
	Now       func() time.Time // nil: time.Now
	Log       *slog.Logger     // nil discards
	History   int              // changes kept in memory for watches; 0: 8,192
	Deletions int              // tombstones kept for watches that resume; 0: 65,536
	Retention time.Duration    // age of the oldest tombstone kept; 0: 24 hours
}

const (
	readers    = 4
	sweepEvery = time.Second
	sweepMax   = 500
	// A watch catching up reads about this many changes at a time.
	backfillBatch = 500
)

// KV is the store.
type KV struct {
	o      Options
	feed   *backend.Feed
	lock   *os.File
	read   *sql.DB
	write  *sql.DB
	get    *sql.Stmt
	scan   *sql.Stmt
	closed atomic.Bool
	ending chan struct{} // closed by Close

	queueMu sync.Mutex
	queue   []*request

	// turn is held by the one who writes; it guards what follows.
	turn    chan struct{}
	conn    *sql.Conn
	st      statements
	rev     backend.Revision
	deleted int // tombstones since the last pruning
}

var _ backend.Backend = (*KV)(nil)

// Get implements backend.Backend.
func (k *KV) Get(ctx context.Context, key string) (backend.Item, error) {
	if err := backend.CheckKey(key); err != nil {
		return backend.Item{}, err
	}
	it := backend.Item{Key: key}
	var expires int64
	err := k.get.QueryRowContext(ctx, key).Scan(&it.Value, &expires, &it.Revision)
	if errors.Is(err, sql.ErrNoRows) || err == nil && !backend.Live(expires, k.o.Now()) {
		return backend.Item{}, fault.New(fault.NotFound, "%q does not exist", key)
	}
	if err != nil {
		return backend.Item{}, k.explain(err)
	}
	it.Expires = backend.FromMillis(expires)
	return it, nil
}

// Range implements backend.Backend.
func (k *KV) Range(ctx context.Context, from, to string, limit int) ([]backend.Item, error) {
	if limit <= 0 || limit > backend.MaxRange {
		limit = backend.MaxRange
	}
	if to == "" {
		to = "\x7f" // keys are printable ASCII
	}
	rows, err := k.scan.QueryContext(ctx, from, to, k.o.Now().UnixMilli(), limit)
	if err != nil {
		return nil, k.explain(err)
	}
	defer rows.Close()
	var got []backend.Item
	for rows.Next() {
		var it backend.Item
		var expires int64
		if err := rows.Scan(&it.Key, &it.Value, &expires, &it.Revision); err != nil {
			return nil, k.explain(err)
		}
		it.Expires = backend.FromMillis(expires)
		got = append(got, it)
	}
	if err := rows.Err(); err != nil {
		return nil, k.explain(err)
	}
	return got, nil
}

// Revision implements backend.Backend.
func (k *KV) Revision(ctx context.Context) (backend.Revision, error) {
	if k.closed.Load() {
		return 0, backend.Closed()
	}
	return k.feed.Last(), nil
}

// Watch implements backend.Backend.
func (k *KV) Watch(ctx context.Context, after backend.Revision, prefixes ...string) (backend.Watcher, error) {
	return k.feed.Watch(ctx, after, prefixes...)
}

// Serve implements backend.Backend. A failed sweep is logged and tried again:
// a full disk must not end the process that shows it.
func (k *KV) Serve(ctx context.Context) error {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	failed := false
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		err := k.sweep(ctx)
		if err != nil && !failed && ctx.Err() == nil {
			k.o.Log.Warn("expired items could not be removed", "error", err)
		}
		failed = err != nil
	}
}

// sweep removes expired items.
func (k *KV) sweep(ctx context.Context) error {
	for {
		ops, err := k.expired(ctx)
		if err != nil || len(ops) == 0 {
			return err
		}
		if err := k.submit(ctx, &request{ops: ops, sweep: true, done: make(chan struct{})}); err != nil {
			return err
		}
	}
}

func (k *KV) expired(ctx context.Context) ([]backend.Op, error) {
	rows, err := k.read.QueryContext(ctx,
		`SELECT key, rev FROM items WHERE expires > 0 AND expires <= ? ORDER BY expires LIMIT ?`,
		k.o.Now().UnixMilli(), sweepMax)
	if err != nil {
		return nil, k.explain(err)
	}
	defer rows.Close()
	var ops []backend.Op
	for rows.Next() {
		op := backend.Op{Type: backend.OpDeleteIf}
		if err := rows.Scan(&op.Item.Key, &op.Item.Revision); err != nil {
			return nil, k.explain(err)
		}
		ops = append(ops, op)
	}
	return ops, k.explain(rows.Err())
}

// backfill reads the changes after a revision from the file, for the feed.
func (k *KV) backfill(ctx context.Context, after backend.Revision, prefixes []string) ([]backend.Change, backend.Revision, error) {
	tx, err := k.read.BeginTx(ctx, nil) // one moment for all the reads below
	if err != nil {
		return nil, 0, k.explain(err)
	}
	defer tx.Rollback() //nolint:errcheck // it only read
	var last, pruned backend.Revision
	if err := tx.QueryRowContext(ctx,
		`SELECT (SELECT value FROM meta WHERE name='revision'), (SELECT value FROM meta WHERE name='pruned')`,
	).Scan(&last, &pruned); err != nil {
		return nil, 0, k.explain(err)
	}
	if after < pruned {
		return nil, 0, backend.Gone(after)
	}
	upTo := last
	err = tx.QueryRowContext(ctx, `SELECT rev FROM
		(SELECT rev FROM items WHERE rev > ?1 UNION ALL SELECT rev FROM gone WHERE rev > ?1)
		ORDER BY rev LIMIT 1 OFFSET ?2`, after, backfillBatch).Scan(&upTo)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return nil, 0, k.explain(err)
	}
	rows, err := tx.QueryContext(ctx, `
		SELECT rev, key, value, expires, 0 FROM items WHERE rev > ?1 AND rev <= ?2 UNION ALL
		SELECT rev, key, NULL, 0, 1 FROM gone WHERE rev > ?1 AND rev <= ?2
		ORDER BY rev, key`, after, upTo)
	if err != nil {
		return nil, 0, k.explain(err)
	}
	defer rows.Close()
	var got []backend.Change
	for rows.Next() {
		var c backend.Change
		var expires int64
		if err := rows.Scan(&c.Revision, &c.Key, &c.Value, &expires, &c.Deleted); err != nil {
			return nil, 0, k.explain(err)
		}
		c.Expires = backend.FromMillis(expires)
		got = append(got, c)
	}
	if err := rows.Err(); err != nil {
		return nil, 0, k.explain(err)
	}
	return backend.Select(got, prefixes), upTo, nil
}

// Close implements backend.Backend. It waits for the write under way; callers
// that wait for their turn are told that the store is closed.
func (k *KV) Close() error {
	if k.closed.Swap(true) {
		return nil
	}
	close(k.ending)
	k.turn <- struct{}{} // and keep it: nobody writes any more
	k.feed.Close()
	return k.release()
}

// release closes what Open opened, readers first, so that the writer's
// connection is the last and folds the write-ahead log into the file. It does so
// only when no statement is open any more.
func (k *KV) release() error {
	var errs []error
	for _, st := range []*sql.Stmt{k.get, k.scan, k.st.look, k.st.put, k.st.del, k.st.bury, k.st.count} {
		if st != nil {
			errs = append(errs, st.Close())
		}
	}
	if k.read != nil {
		errs = append(errs, k.read.Close())
	}
	if k.conn != nil {
		errs = append(errs, k.conn.Close())
	}
	if k.write != nil {
		errs = append(errs, k.write.Close())
	}
	errs = append(errs, k.lock.Close()) // frees the lock
	return fault.Wrap(errors.Join(errs...), fault.Unavailable, "the store %s did not close cleanly", k.o.Path)
}
