package webapi

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"path"
	"strings"

	"teleport/api/rpc"
	"teleport/fault"
)

// policy is the Content-Security-Policy of every page, with the answer's nonce:
// own scripts and styles, own addresses to talk to, nothing inline but the style
// elements that carry the nonce, no text that turns into markup, no framing.
const policy = "default-src 'none'; script-src 'self'; style-src-elem 'self' 'nonce-%s'; style-src-attr 'none'; font-src 'self'; " +
	"img-src 'self' blob:; connect-src 'self'; worker-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'self'; " +
	"frame-ancestors 'none'; object-src 'none'; require-trusted-types-for 'script'; trusted-types default"

// permissions leaves pages the few abilities of a browser that they use.
const permissions = "accelerometer=(), camera=(), display-capture=(), geolocation=(), gyroscope=(), magnetometer=(), microphone=(), " +
	"midi=(), payment=(), usb=(), clipboard-write=(self), fullscreen=(self), publickey-credentials-get=(self)"

// noncePlace is where a document wants its nonce (web/vite.config.ts).
const noncePlace = "__CSP_NONCE__"

// mimeTypes of what the build makes; a host's own table may lack or change them.
var mimeTypes = map[string]string{
	".html": "text/html; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8",
	".svg": "image/svg+xml", ".woff2": "font/woff2", ".png": "image/png", ".wasm": "application/wasm",
}

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
		x := asset{body: b, mimeType: mimeTypes[path.Ext(name)], tag: `"` + hex.EncodeToString(sum[:8]) + `"`}
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
	case "login", "invite", "reset", "bye", "launch":
		return "signin.html"
	}
	return "index.html"
}

func (a *assets) serve(w http.ResponseWriter, r *http.Request, _ rpc.Caller) error {
	name := strings.TrimPrefix(strings.TrimPrefix(r.URL.Path, "/web"), "/")
	f, ok := a.files[name]
	switch {
	case !ok && strings.HasPrefix(name, "assets/"):
		return fault.New(fault.NotFound, "there is no such file")
	case !ok || strings.HasSuffix(name, ".html"):
		return a.serveDocument(w, name)
	}
	h := w.Header()
	if h.Set("Cache-Control", "no-cache"); strings.HasPrefix(name, "assets/") {
		h.Set("Cache-Control", "public, max-age=31536000, immutable")
	}
	h.Set("Content-Type", f.mimeType)
	h.Set("ETag", f.tag)
	h.Set("Vary", "Accept-Encoding")
	if r.Header.Get("If-None-Match") == f.tag {
		w.WriteHeader(http.StatusNotModified)
		return nil
	}
	body := f.body
	if f.gzip != nil && acceptsGzip(r) {
		h.Set("Content-Encoding", "gzip")
		body = f.gzip
	}
	_, err := w.Write(body)
	return err
}

// serveDocument answers a route of the UI with its document. No two answers have
// the same nonce, so none of them is stored.
func (a *assets) serveDocument(w http.ResponseWriter, route string) error {
	f, ok := a.files[document(route)]
	if !ok {
		return fault.New(fault.NotFound, "this program was built without the web UI").WithHint("Build it with make.")
	}
	nonce := rand.Text()
	h := w.Header()
	h.Set("Content-Security-Policy", fmt.Sprintf(policy, nonce))
	h.Set("Permissions-Policy", permissions)
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Type", f.mimeType)
	_, err := w.Write(bytes.ReplaceAll(f.body, []byte(noncePlace), []byte(nonce)))
	return err
}

// acceptsGzip reports whether a client takes gzip (RFC 9110 §12.5.3).
func acceptsGzip(r *http.Request) bool {
	for _, field := range r.Header.Values("Accept-Encoding") {
		for item := range strings.SplitSeq(field, ",") {
			coding, quality, _ := strings.Cut(item, ";")
			if strings.TrimSpace(coding) == "gzip" {
				q, has := strings.CutPrefix(strings.ReplaceAll(quality, " ", ""), "q=")
				return !has || strings.Trim(q, "0.") != ""
			}
		}
	}
	return false
}
