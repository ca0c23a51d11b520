package sqlitekv

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"teleport/backend"
	"teleport/fault"
)

func tempPath(t *testing.T) string {
	t.Helper()
	return filepath.Join(t.TempDir(), "data", "store.db")
}

func mustOpen(t *testing.T, path string) *KV {
	t.Helper()
	k, err := Open(t.Context(), Options{Path: path})
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	t.Cleanup(func() { k.Close() })
	return k
}

func fill(t *testing.T, k *KV, n int) {
	t.Helper()
	for i := range n {
		item := backend.Item{Key: fmt.Sprintf("/k/%05d", i), Value: bytes.Repeat([]byte{'v'}, 2000)}
		if _, err := k.Apply(t.Context(), backend.Op{Item: item}); err != nil {
			t.Fatal(err)
		}
	}
}

// refused checks for one clear line with advice.
func refused(t *testing.T, err error, words string) {
	t.Helper()
	if !errors.Is(err, fault.Unavailable) || !strings.Contains(fault.Message(err), words) {
		t.Fatalf("error %v, want unavailable with %q", err, words)
	}
	if fault.Hint(err) == "" || strings.Contains(fault.Message(err), "\n") {
		t.Fatalf("error %q with hint %q, want one line and advice", fault.Message(err), fault.Hint(err))
	}
}

func TestModes(t *testing.T) {
	old := syscall.Umask(0)
	defer syscall.Umask(old)
	path := tempPath(t)
	k := mustOpen(t, path)
	fill(t, k, 3)
	if _, err := k.Get(t.Context(), "/k/00000"); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]fs.FileMode{
		filepath.Dir(path): 0o700, path: 0o600, path + "-wal": 0o600, path + "-shm": 0o600, path + ".lock": 0o600,
	} {
		st, err := os.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		if st.Mode().Perm() != want {
			t.Errorf("%s has mode %o, want %o", filepath.Base(name), st.Mode().Perm(), want)
		}
	}
	k.Close()
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	mustOpen(t, path)
	if st, err := os.Stat(path); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("reopened with mode %v, %v", st.Mode(), err)
	}
}

func TestSync(t *testing.T) {
	k := mustOpen(t, tempPath(t))
	var sync int
	if err := k.conn.QueryRowContext(t.Context(), `PRAGMA synchronous`).Scan(&sync); err != nil || sync != 2 {
		t.Errorf("synchronous = %d, %v; want FULL", sync, err)
	}
	var mode string
	if err := k.conn.QueryRowContext(t.Context(), `PRAGMA journal_mode`).Scan(&mode); err != nil || mode != "wal" {
		t.Errorf("journal_mode = %q, %v; want wal", mode, err)
	}
	if _, err := k.read.ExecContext(t.Context(), `DELETE FROM items`); err == nil {
		t.Error("a reader may write")
	}
	_, err := Open(t.Context(), Options{Path: tempPath(t), Sync: "SOMETIMES"})
	if !errors.Is(err, fault.Invalid) {
		t.Errorf("unknown sync mode: %v", err)
	}
}

func TestLockNamesHolder(t *testing.T) {
	path := tempPath(t)
	k := mustOpen(t, path)
	_, err := Open(t.Context(), Options{Path: path})
	refused(t, err, fmt.Sprintf("(pid %d)", os.Getpid()))
	k.Close()
	mustOpen(t, path)
}

func TestDamagedFiles(t *testing.T) {
	ctx := t.Context()
	t.Run("garbage", func(t *testing.T) {
		path := tempPath(t)
		write(t, path, bytes.Repeat([]byte("this is no database\n"), 500))
		_, err := Open(ctx, Options{Path: path})
		refused(t, err, "damaged")
		if b, _ := os.ReadFile(path); !bytes.HasPrefix(b, []byte("this is no database")) {
			t.Error("the file was changed")
		}
	})
	t.Run("page", func(t *testing.T) {
		path := tempPath(t)
		k := mustOpen(t, path)
		fill(t, k, 200)
		k.Close()
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for i := 4096 * 5; i < 4096*40 && i < len(b); i++ {
			b[i] ^= 0x5a
		}
		write(t, path, b)
		_, err = Open(ctx, Options{Path: path})
		refused(t, err, "damaged")
	})
	t.Run("cut off", func(t *testing.T) {
		path := tempPath(t)
		k := mustOpen(t, path)
		fill(t, k, 200)
		k.Close()
		if err := os.Truncate(path, 4096*7+100); err != nil {
			t.Fatal(err)
		}
		_, err := Open(ctx, Options{Path: path})
		refused(t, err, "damaged")
	})
}

func write(t *testing.T, path string, b []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// edit changes a closed store behind the driver's back.
func edit(t *testing.T, path, query string) {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.ExecContext(t.Context(), query); err != nil {
		t.Fatal(err)
	}
}

func TestNewerSchema(t *testing.T) {
	path := tempPath(t)
	mustOpen(t, path).Close()
	edit(t, path, `PRAGMA user_version = 99`)
	_, err := Open(t.Context(), Options{Path: path})
	refused(t, err, "newer version (schema 99")
}

func TestForeignDatabase(t *testing.T) {
	path := tempPath(t)
	write(t, path, nil)
	edit(t, path, `CREATE TABLE theirs(x)`)
	_, err := Open(t.Context(), Options{Path: path})
	refused(t, err, "another program")
}

func TestEmptyFileIsNew(t *testing.T) {
	path := tempPath(t)
	write(t, path, nil)
	fill(t, mustOpen(t, path), 1)
}

func TestPlaces(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	write(t, file, nil)
	open := filepath.Join(dir, "open")
	if err := os.Mkdir(open, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(open, 0o777); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(dir, "link.db")
	if err := os.Symlink(file, link); err != nil {
		t.Fatal(err)
	}
	folder := filepath.Join(dir, "folder.db")
	if err := os.Mkdir(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	for path, words := range map[string]string{
		filepath.Join(file, "store.db"): "not a directory",
		filepath.Join(open, "store.db"): "every user may write",
		link:                            "symbolic link",
		folder:                          "cannot be opened",
	} {
		_, err := Open(t.Context(), Options{Path: path})
		refused(t, err, words)
	}
	odd := filepath.Join(dir, "a b%20c?d#e", "store.db") // nothing in a path is special
	mustOpen(t, odd)
	if _, err := os.Stat(odd); err != nil {
		t.Error(err)
	}
}

// TestReadOnlyDirectory runs as a user without rights there: a superuser's
// thread takes the file-system identity of one.
func TestReadOnlyDirectory(t *testing.T) {
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o555); err != nil {
		t.Fatal(err)
	}
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlock: the thread ends with the goroutine
		if os.Geteuid() == 0 {
			if err := syscall.Setfsuid(65534); err != nil {
				done <- err
				return
			}
		}
		_, err := Open(context.Background(), Options{Path: filepath.Join(dir, "store.db")})
		done <- err
	}()
	refused(t, <-done, "cannot be written")
	if entries, _ := os.ReadDir(dir); len(entries) != 0 {
		t.Errorf("left behind: %v", entries)
	}
}

func TestDiskFull(t *testing.T) {
	ctx := t.Context()
	path := tempPath(t)
	k := mustOpen(t, path)
	fill(t, k, 50)
	before, err := k.Revision(ctx)
	if err != nil {
		t.Fatal(err)
	}
	w, err := k.Watch(ctx, before)
	if err != nil {
		t.Fatal(err)
	}
	var pages int
	if err := k.conn.QueryRowContext(ctx, `PRAGMA page_count`).Scan(&pages); err != nil {
		t.Fatal(err)
	}
	limit := func(n int) { // SQLite's own bound gives the error of a full disk
		t.Helper()
		if _, err := k.conn.ExecContext(ctx, fmt.Sprintf(`PRAGMA max_page_count = %d`, n)); err != nil {
			t.Fatal(err)
		}
	}
	limit(pages + 10)
	big := backend.Item{Key: "/big", Value: make([]byte, backend.MaxValue)}
	small := backend.Item{Key: "/small", Value: []byte("x")}
	_, err = k.Apply(ctx, backend.Op{Item: small}, backend.Op{Item: big})
	refused(t, err, "is full")
	for _, key := range []string{"/big", "/small"} {
		if _, err := k.Get(ctx, key); !errors.Is(err, fault.NotFound) {
			t.Errorf("%s after a failed write: %v", key, err)
		}
	}
	limit(1 << 20)
	rev, err := k.Apply(ctx, backend.Op{Item: small})
	if err != nil || rev <= before {
		t.Fatalf("after space was freed: revision %d (before %d), %v", rev, before, err)
	}
	changes, err := w.Next(ctx)
	if err != nil || len(changes) != 1 || changes[0].Key != "/small" || changes[0].Revision != rev {
		t.Errorf("the watch saw %+v, %v", changes, err)
	}
	k.Close()
	if it, err := mustOpen(t, path).Get(ctx, "/small"); err != nil || it.Revision != rev {
		t.Errorf("after reopening: %+v, %v", it, err)
	}
}

// TestGroup holds the turn so that requests pile up, and lets one of them fail:
// the others commit, in one transaction, each with its own revision.
func TestGroup(t *testing.T) {
	ctx := t.Context()
	k := mustOpen(t, tempPath(t))
	fill(t, k, 1)
	k.turn <- struct{}{}
	type result struct {
		rev backend.Revision
		err error
	}
	const n = 8
	results := make(chan result, n)
	for i := range n {
		op := backend.Op{Item: backend.Item{Key: fmt.Sprintf("/g/%d", i)}}
		if i == 3 {
			op = backend.Op{Type: backend.OpCreate, Item: backend.Item{Key: "/k/00000"}}
		}
		go func() {
			rev, err := k.Apply(ctx, op)
			results <- result{rev, err}
		}()
	}
	for waiting := 0; waiting < n; {
		k.queueMu.Lock()
		waiting = len(k.queue)
		k.queueMu.Unlock()
		runtime.Gosched()
	}
	k.group()
	<-k.turn
	seen := map[backend.Revision]bool{}
	refusals := 0
	for range n {
		r := <-results
		if errors.Is(r.err, fault.AlreadyExists) {
			refusals++
		} else if r.err != nil || seen[r.rev] {
			t.Errorf("revision %d, %v", r.rev, r.err)
		}
		seen[r.rev] = true
	}
	if items, err := k.Range(ctx, "/g/", "/g0", 0); err != nil || len(items) != n-1 || refusals != 1 {
		t.Errorf("%d written, %d refused, %v", len(items), refusals, err)
	}
}

// TestCloseStrandsNobody: who waits for a turn when the store closes, with a
// context that never ends, is told so, and is not written.
func TestCloseStrandsNobody(t *testing.T) {
	path := tempPath(t)
	k := mustOpen(t, path)
	k.turn <- struct{}{}
	const n = 8
	results := make(chan error, n)
	for i := range n {
		go func() {
			_, err := k.Apply(context.Background(), backend.Op{Item: backend.Item{Key: fmt.Sprintf("/late/%d", i)}})
			results <- err
		}()
	}
	for waiting := 0; waiting < n; {
		k.queueMu.Lock()
		waiting = len(k.queue)
		k.queueMu.Unlock()
		runtime.Gosched()
	}
	closed := make(chan error)
	go func() { closed <- k.Close() }()
	for range n {
		if err := <-results; fault.KindOf(err) != fault.KindOf(backend.Closed()) {
			t.Errorf("%v", err)
		}
	}
	<-k.turn
	if err := <-closed; err != nil {
		t.Error(err)
	}
	again := mustOpen(t, path)
	if items, err := again.Range(t.Context(), "/late/", "/late0", 0); err != nil || len(items) != 0 {
		t.Errorf("%d written, %v", len(items), err)
	}
}

// TestWithdrawn: whoever gives up waiting is not written later.
func TestWithdrawn(t *testing.T) {
	k := mustOpen(t, tempPath(t))
	k.turn <- struct{}{}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() {
		_, err := k.Apply(ctx, backend.Op{Item: backend.Item{Key: "/late"}})
		done <- err
	}()
	cancel()
	if err := <-done; !errors.Is(err, fault.Canceled) {
		t.Errorf("error %v", err)
	}
	<-k.turn
	fill(t, k, 1)
	if _, err := k.Get(t.Context(), "/late"); !errors.Is(err, fault.NotFound) {
		t.Errorf("the withdrawn write took place: %v", err)
	}
}

// TestBackfillPages resumes a watch over more than one page of changes.
func TestBackfillPages(t *testing.T) {
	path := tempPath(t)
	k := mustOpen(t, path)
	for i := range 4 {
		var ops []backend.Op
		for j := range 400 {
			ops = append(ops, backend.Op{Item: backend.Item{Key: fmt.Sprintf("/p/%d/%d", i, j)}})
		}
		if _, err := k.Apply(t.Context(), ops...); err != nil {
			t.Fatal(err)
		}
	}
	fill(t, k, 1)
	k.Close()
	k = mustOpen(t, path)
	w, err := k.Watch(t.Context(), 1, "/p/")
	if err != nil {
		t.Fatal(err)
	}
	counts := map[backend.Revision]int{}
	for upTo := backend.Revision(0); upTo < 5; {
		changes, err := w.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range changes {
			if upTo = c.Revision; c.Key != "" {
				counts[c.Revision]++
			}
		}
	}
	if len(counts) != 3 || counts[2] != 400 || counts[3] != 400 || counts[4] != 400 {
		t.Errorf("changes by revision: %v", counts)
	}
}

// TestCloseLeavesOneFile: a copy of the file of a store that was closed is a
// backup of it.
func TestCloseLeavesOneFile(t *testing.T) {
	path := tempPath(t)
	k := mustOpen(t, path)
	fill(t, k, 100)
	if _, err := k.Range(t.Context(), "/", "0", 0); err != nil {
		t.Fatal(err)
	}
	if err := k.Close(); err != nil {
		t.Fatal(err)
	}
	for _, end := range []string{"-wal", "-shm"} {
		if st, err := os.Stat(path + end); err == nil {
			t.Errorf("%s%s is left, %d bytes", path, end, st.Size())
		}
	}
}
