package webapi

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io/fs"
	"mime"
	"net/http"
	"path"
	"strings"

	"teleport/api/rpc"
	"teleport/fault"
)

// policy is the Content-Security-Policy of every page: own scripts and styles,
// own addresses to talk to, nothing inline, no framing.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; style-src-attr 'none'; font-src 'self'; " +
	"img-src 'self' blob: data:; connect-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; " +
	"require-trusted-types-for 'script'"

// assets serves the built UI: hashed files under /web/assets/ for ever, the
// documents anew each time, and the app document for every route of the UI.
type assets struct {
	files map[string]asset
}

type asset struct {
	body     []byte
	gzip     []byte // the pre-compressed form, where the build made one
	mimeType string
	tag      string
}

func newAssets(fsys fs.FS) (*assets, error) {
	a := &assets{files: map[string]asset{}}
	err := fs.WalkDir(fsys, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || strings.HasSuffix(name, ".gz") || strings.HasPrefix(path.Base(name), ".") {
			return err
		}
		b, err := fs.ReadFile(fsys, name)
		if err != nil {
			return err
		}
		sum := sha256.Sum256(b)
		x := asset{body: b, mimeType: mime.TypeByExtension(path.Ext(name)), tag: `"` + hex.EncodeToString(sum[:8]) + `"`}
		if x.mimeType == "" {
			x.mimeType = "application/octet-stream"
		}
		x.gzip, err = fs.ReadFile(fsys, name+".gz")
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		a.files[name] = x
		return nil
	})
	return a, err
}

// document picks the page for a route of the UI: signing in needs nothing of
// the application and is a document of its own.
func document(route string) string {
	first, _, _ := strings.Cut(route, "/")
	switch first {
	case "login", "invite", "reset", "bye":
		return "signin.html"
	}
	return "index.html"
}

func (a *assets) serve(w http.ResponseWriter, r *http.Request, _ rpc.Caller) error {
	name := strings.TrimPrefix(strings.TrimPrefix(r.URL.Path, "/web"), "/")
	f, ok := a.files[name]
	if !ok && strings.HasPrefix(name, "assets/") {
		return fault.New(fault.NotFound, "there is no such file")
	}
	h := w.Header()
	if !ok || strings.HasSuffix(name, ".html") {
		if f, ok = a.files[document(name)]; !ok {
			return fault.New(fault.NotFound, "this program was built without the web UI").WithHint("Build it with make.")
		}
		h.Set("Content-Security-Policy", policy)
		h.Set("Cache-Control", "no-cache")
	} else if strings.HasPrefix(name, "assets/") {
		h.Set("Cache-Control", "public, max-age=31536000, immutable")
	} else {
		h.Set("Cache-Control", "no-cache")
	}
	h.Set("Content-Type", f.mimeType)
	h.Set("ETag", f.tag)
	h.Set("Vary", "Accept-Encoding")
	if r.Header.Get("If-None-Match") == f.tag {
		w.WriteHeader(http.StatusNotModified)
		return nil
	}
	body := f.body
	if f.gzip != nil && strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
		h.Set("Content-Encoding", "gzip")
		body = f.gzip
	}
	_, err := w.Write(body)
	return err
}
