package cloudtest

import (
	"bytes"
	"crypto/md5" //nolint:gosec // it is the service's checksum
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"io"
	"mime/multipart"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Buckets is Google Cloud Storage by its JSON API, as far as tools list, put, get and
// delete objects. It believes whoever asks: a Gate stands before it. Safe for
// concurrent use.
type Buckets struct {
	mu      sync.Mutex
	objects map[string]map[string]*object // by bucket and name
	uploads map[string]*upload            // that were begun
}

type object struct {
	data       []byte
	media      string
	generation int64
	made       time.Time
}

type upload struct{ bucket, name, media string }

// NewBuckets makes empty ones.
func NewBuckets(names ...string) *Buckets {
	b := &Buckets{objects: map[string]map[string]*object{}, uploads: map[string]*upload{}}
	for _, n := range names {
		b.objects[n] = map[string]*object{}
	}
	return b
}

// maxObject bounds an object, in bytes.
const maxObject = 64 << 20

// ServeHTTP implements http.Handler.
func (b *Buckets) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxObject))
	if err != nil {
		refuseAsGoogle(w, http.StatusBadRequest, err.Error())
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	path := strings.TrimPrefix(strings.TrimPrefix(r.URL.EscapedPath(), "/upload"), "/download")
	words := strings.Split(strings.TrimPrefix(path, "/storage/v1/b"), "/") // "", bucket, "o", object
	for i := range words {
		if words[i], err = url.PathUnescape(words[i]); err != nil {
			refuseAsGoogle(w, http.StatusBadRequest, err.Error())
			return
		}
	}
	up := strings.HasPrefix(r.URL.Path, "/upload/")
	switch n := len(words); {
	case !strings.HasPrefix(path, "/storage/v1/b") || n > 1 && b.objects[words[1]] == nil || n > 2 && words[2] != "o":
		refuseAsGoogle(w, http.StatusNotFound, "there is no "+r.URL.Path)
	case n == 1:
		b.list(w)
	case n == 2:
		writeJSON(w, b.bucket(words[1]))
	case n == 3 && up:
		b.put(w, r, words[1], body)
	case n == 3:
		b.find(w, words[1], r.URL.Query())
	default:
		b.one(w, r, words[1], words[3])
	}
}

func (b *Buckets) bucket(name string) map[string]any {
	return map[string]any{"kind": "storage#bucket", "id": name, "name": name, "location": "EU", "storageClass": "STANDARD", "timeCreated": "2026-01-01T00:00:00Z",
		"projectNumber": "1", "metageneration": "1"}
}

func (b *Buckets) list(w http.ResponseWriter) {
	items := []any{}
	for name := range b.objects {
		items = append(items, b.bucket(name))
	}
	writeJSON(w, map[string]any{"kind": "storage#buckets", "items": items})
}

func (o *object) about(bucket, name string) map[string]any {
	md := md5.Sum(o.data) //nolint:gosec // as above
	crc := binary.BigEndian.AppendUint32(nil, crc32.Checksum(o.data, crc32.MakeTable(crc32.Castagnoli)))
	at, gen := o.made.UTC().Format(time.RFC3339), strconv.FormatInt(o.generation, 10)
	return map[string]any{"kind": "storage#object", "id": bucket + "/" + name + "/" + gen, "name": name, "bucket": bucket, "generation": gen, "metageneration": "1",
		"contentType": o.media, "size": strconv.Itoa(len(o.data)), "timeCreated": at, "updated": at, "storageClass": "STANDARD",
		"md5Hash": base64.StdEncoding.EncodeToString(md[:]), "crc32c": base64.StdEncoding.EncodeToString(crc), "etag": gen,
		"mediaLink": "https://storage.googleapis.com/download/storage/v1/b/" + bucket + "/o/" + url.PathEscape(name) + "?alt=media"}
}

// find lists objects, and what stands for those below a delimiter.
func (b *Buckets) find(w http.ResponseWriter, bucket string, q url.Values) {
	items, prefixes := []any{}, []string{}
	names := []string{}
	for name := range b.objects[bucket] {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		rest, ok := strings.CutPrefix(name, q.Get("prefix"))
		if !ok {
			continue
		}
		if d := q.Get("delimiter"); d != "" {
			if i := strings.Index(rest, d); i >= 0 && i+len(d) < len(rest) {
				prefixes = append(prefixes, q.Get("prefix")+rest[:i+len(d)])
				continue
			}
		}
		items = append(items, b.objects[bucket][name].about(bucket, name))
	}
	writeJSON(w, map[string]any{"kind": "storage#objects", "items": items, "prefixes": slices.Compact(prefixes)})
}

// one answers for one object.
func (b *Buckets) one(w http.ResponseWriter, r *http.Request, bucket, name string) {
	o := b.objects[bucket][name]
	switch {
	case o == nil:
		refuseAsGoogle(w, http.StatusNotFound, "No such object: "+bucket+"/"+name)
	case r.Method == http.MethodDelete:
		delete(b.objects[bucket], name)
		w.WriteHeader(http.StatusNoContent)
	case r.URL.Query().Get("alt") == "media":
		about := o.about(bucket, name)
		w.Header().Set("X-Goog-Hash", fmt.Sprintf("crc32c=%v,md5=%v", about["crc32c"], about["md5Hash"]))
		w.Header().Set("X-Goog-Generation", strconv.FormatInt(o.generation, 10))
		w.Header().Set("Content-Type", o.media)
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(o.data))
	default:
		writeJSON(w, o.about(bucket, name))
	}
}

// put takes an upload: whole, with what is said about it before it, or begun here and
// sent in a request of its own.
func (b *Buckets) put(w http.ResponseWriter, r *http.Request, bucket string, body []byte) {
	q := r.URL.Query()
	if known := b.uploads[q.Get("upload_id")]; known != nil {
		b.keep(w, known, body)
		return
	}
	var about struct {
		Name  string `json:"name"`
		Media string `json:"contentType"`
	}
	up := &upload{bucket: bucket, name: q.Get("name"), media: r.Header.Get("Content-Type")}
	switch q.Get("uploadType") {
	case "media":
		b.keep(w, up, body)
	case "multipart":
		_, boundary, _ := strings.Cut(r.Header.Get("Content-Type"), "boundary=") // which Google's tools put between single quotes
		parts := multipart.NewReader(bytes.NewReader(body), strings.Trim(boundary, `"'`))
		var second []byte
		first, _, err := nextPart(parts)
		if err == nil {
			err = json.Unmarshal(first, &about)
		}
		if err == nil {
			second, up.media, err = nextPart(parts)
		}
		if err != nil {
			refuseAsGoogle(w, http.StatusBadRequest, err.Error())
			return
		}
		if about.Name != "" {
			up.name = about.Name
		}
		b.keep(w, up, second)
	case "resumable":
		if len(body) > 0 && json.Unmarshal(body, &about) == nil && about.Name != "" {
			up.name = about.Name
		}
		up.media = r.Header.Get("X-Upload-Content-Type")
		id := rand.Text()
		b.uploads[id] = up
		w.Header().Set("Location", "https://"+r.Host+"/upload/storage/v1/b/"+bucket+"/o?uploadType=resumable&upload_id="+id)
	default:
		refuseAsGoogle(w, http.StatusBadRequest, "no such uploadType")
	}
}

func nextPart(parts *multipart.Reader) (data []byte, media string, err error) {
	p, err := parts.NextPart()
	if err != nil {
		return nil, "", err
	}
	data, err = io.ReadAll(p)
	return data, p.Header.Get("Content-Type"), err
}

func (b *Buckets) keep(w http.ResponseWriter, up *upload, data []byte) {
	o := &object{data: data, media: up.media, generation: time.Now().UnixMicro(), made: time.Now()}
	b.objects[up.bucket][up.name] = o
	writeJSON(w, o.about(up.bucket, up.name))
}
