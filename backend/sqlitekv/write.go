package sqlitekv

import (
	"context"
	"database/sql"
	"errors"
	"slices"
	"time"

	"teleport/backend"
	"teleport/fault"
)

// groupMax bounds how many writers share one transaction.
const groupMax = 256

// request is one Apply waiting for its transaction.
type request struct {
	ops     []backend.Op
	sweep   bool // its deletions lapse singly instead of failing together
	rev     backend.Revision
	changes []backend.Change
	err     error
	done    chan struct{}
}

// statements are prepared on the writer's connection.
type statements struct {
	look, put, del, bury, count *sql.Stmt
}

func (k *KV) prepare(ctx context.Context) error {
	for _, p := range []struct {
		to  **sql.Stmt
		sql string
	}{
		{&k.st.look, `SELECT rev, expires FROM items WHERE key = ?`},
		{&k.st.put, `INSERT INTO items(key, value, expires, rev) VALUES(?1, ?2, ?3, ?4)
			ON CONFLICT(key) DO UPDATE SET value = ?2, expires = ?3, rev = ?4`},
		{&k.st.del, `DELETE FROM items WHERE key = ?`},
		{&k.st.bury, `INSERT INTO gone(rev, key, at) VALUES(?, ?, ?)`},
		{&k.st.count, `UPDATE meta SET value = ? WHERE name = 'revision'`},
	} {
		st, err := k.conn.PrepareContext(ctx, p.sql)
		if err != nil {
			return err
		}
		*p.to = st
	}
	return nil
}

// Apply implements backend.Backend.
func (k *KV) Apply(ctx context.Context, ops ...backend.Op) (backend.Revision, error) {
	if err := backend.CheckOps(ops); err != nil {
		return 0, err
	}
	r := &request{ops: ops, done: make(chan struct{})}
	err := k.submit(ctx, r)
	if err != nil {
		return 0, err
	}
	return r.rev, nil
}

// submit queues a request and has it done: by whoever writes now, or, when it is
// this caller's turn, together with all others that wait. So one fsync serves
// as many writers as came while the last one ran, and no goroutine is needed.
func (k *KV) submit(ctx context.Context, r *request) error {
	if err := ctx.Err(); err != nil {
		return fault.Wrap(err, fault.KindOf(err), "the store was not asked: the caller went away")
	}
	k.queueMu.Lock()
	k.queue = append(k.queue, r)
	k.queueMu.Unlock()
	for {
		select {
		case <-r.done:
			return r.err
		default:
		}
		select {
		case <-r.done:
		case <-k.ending:
			if k.withdraw(r) {
				return backend.Closed()
			}
			<-r.done // it is being done: Close waits for it
		case k.turn <- struct{}{}:
			k.group()
			<-k.turn
		case <-ctx.Done():
			k.withdraw(r)
			return fault.Wrap(ctx.Err(), fault.KindOf(ctx.Err()), "the store did not answer in time")
		}
	}
}

// withdraw takes a request back, or reports that it is being done already.
func (k *KV) withdraw(r *request) bool {
	k.queueMu.Lock()
	defer k.queueMu.Unlock()
	i := slices.Index(k.queue, r)
	if i < 0 {
		return false
	}
	k.queue = slices.Delete(k.queue, i, i+1)
	return true
}

// group does the requests that wait, in one transaction. The caller has the turn.
func (k *KV) group() {
	k.queueMu.Lock()
	n := min(len(k.queue), groupMax)
	reqs := slices.Clone(k.queue[:n])
	k.queue = slices.Delete(k.queue, 0, n)
	k.queueMu.Unlock()
	if n == 0 {
		return
	}
	err := k.transact(reqs)
	for _, r := range reqs {
		if err != nil {
			r.err = err
		} else if r.err == nil {
			k.feed.Publish(r.rev, r.changes)
		}
		close(r.done)
	}
}

// transact runs one transaction over all requests. A request whose condition
// does not hold gets its own error and leaves the others alone; an error of the
// file undoes them all and is returned.
func (k *KV) transact(reqs []*request) (err error) {
	ctx := context.Background() // no caller may interrupt what others wait for
	if _, err := k.conn.ExecContext(ctx, `BEGIN IMMEDIATE`); err != nil {
		return k.explain(err)
	}
	defer func() {
		if err != nil {
			k.conn.ExecContext(ctx, `ROLLBACK`) //nolint:errcheck // fails only where SQLite has rolled back by itself
		}
	}()
	rev, now := k.rev, k.o.Now()
	for _, r := range reqs {
		if err := k.check(ctx, r, now); err != nil {
			return k.explain(err)
		}
		if r.err != nil || len(r.ops) == 0 {
			continue
		}
		rev++
		r.rev = rev
		if err := k.perform(ctx, r, now); err != nil {
			return k.explain(err)
		}
	}
	if _, err := k.st.count.ExecContext(ctx, rev); err != nil {
		return k.explain(err)
	}
	if err := k.prune(ctx, now); err != nil {
		return k.explain(err)
	}
	if _, err := k.conn.ExecContext(ctx, `COMMIT`); err != nil {
		return k.explain(err)
	}
	k.rev = rev
	return nil
}

// check tests the conditions of a request's ops, all before the first write.
func (k *KV) check(ctx context.Context, r *request, now time.Time) error {
	for i := 0; i < len(r.ops); i++ {
		op := r.ops[i]
		if op.Type == backend.OpPut || op.Type == backend.OpDelete {
			continue
		}
		var current backend.Revision
		var expires int64
		err := k.st.look.QueryRowContext(ctx, op.Item.Key).Scan(&current, &expires)
		if err != nil && !errors.Is(err, sql.ErrNoRows) {
			return err
		}
		if r.sweep { // renewed or deleted since it was found expired: leave it
			if current != op.Item.Revision {
				r.ops = slices.Delete(r.ops, i, i+1)
				i--
			}
			continue
		}
		if !backend.Live(expires, now) {
			current = 0
		}
		if r.err = op.Refuse(current); r.err != nil {
			return nil
		}
	}
	return nil
}

// perform writes a request whose conditions hold.
func (k *KV) perform(ctx context.Context, r *request, now time.Time) error {
	for _, op := range r.ops {
		key := op.Item.Key
		if op.Deletes() {
			res, err := k.st.del.ExecContext(ctx, key)
			if err != nil {
				return err
			}
			if n, err := res.RowsAffected(); err != nil || n == 0 {
				continue
			}
			if _, err := k.st.bury.ExecContext(ctx, r.rev, key, now.UnixMilli()); err != nil {
				return err
			}
			k.deleted++
			r.changes = append(r.changes, backend.Change{Revision: r.rev, Key: key, Deleted: true})
			continue
		}
		value, expires := append([]byte{}, op.Item.Value...), backend.Millis(op.Item.Expires)
		if _, err := k.st.put.ExecContext(ctx, key, value, expires, r.rev); err != nil {
			return err
		}
		r.changes = append(r.changes, backend.Change{Revision: r.rev, Key: key, Value: value, Expires: backend.FromMillis(expires)})
	}
	return nil
}

// prune forgets tombstones beyond their count and age, now and then, and notes
// from which revision on a watch can still resume.
func (k *KV) prune(ctx context.Context, now time.Time) error {
	if k.deleted <= k.o.Deletions/4 {
		return nil
	}
	k.deleted = 0
	var cut backend.Revision
	if err := k.conn.QueryRowContext(ctx, `SELECT max(
		coalesce((SELECT rev FROM gone ORDER BY rev DESC LIMIT 1 OFFSET ?), 0),
		coalesce((SELECT max(rev) FROM gone WHERE at < ?), 0))`,
		k.o.Deletions, now.Add(-k.o.Retention).UnixMilli()).Scan(&cut); err != nil {
		return err
	}
	if cut == 0 {
		return nil
	}
	if _, err := k.conn.ExecContext(ctx, `DELETE FROM gone WHERE rev <= ?`, cut); err != nil {
		return err
	}
	_, err := k.conn.ExecContext(ctx, `UPDATE meta SET value = max(value, ?) WHERE name = 'pruned'`, cut)
	return err
}
