package cloudtest

import (
	"bytes"
	"encoding/json"
	"encoding/pem"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
)

// DynamoDB is a region's DynamoDB: it verifies every signature, and keeps tables
// of items with the key "id" in memory, or lets an emulator keep them. Safe for
// concurrent use.
type DynamoDB struct {
	*httptest.Server
	Emulator string        // URL; "" is none
	Hold     chan struct{} // not nil: answers wait until it is closed
	Held     chan struct{} // has one element for each that waits
	aws      *AWS
	region   string
	mu       sync.Mutex
	tables   map[string]map[string]json.RawMessage
	requests []*http.Request
	signers  []Principal
}

// NewDynamoDB starts one that ends with the test. It has the table orders.
func NewDynamoDB(t testing.TB, a *AWS, region string) *DynamoDB {
	t.Helper()
	d := &DynamoDB{aws: a, region: region, Held: make(chan struct{}, 16), tables: map[string]map[string]json.RawMessage{"orders": {}}}
	d.Server = httptest.NewTLSServer(d)
	t.Cleanup(d.Close)
	return d
}

// CA is PEM of the authority of its certificate.
func (d *DynamoDB) CA() string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: d.Certificate().Raw}))
}

// Seen returns the requests so far whose signatures were good, and who signed
// them.
func (d *DynamoDB) Seen() ([]*http.Request, []Principal) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.requests), slices.Clone(d.signers)
}

// ServeHTTP implements http.Handler.
func (d *DynamoDB) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	w.Header().Set("X-Amzn-Requestid", "r1")
	w.Header().Set("X-Secret", "of the service")
	who, err := d.aws.Verify(r, body, "dynamodb", d.region)
	if err != nil {
		refuse(w, "com.amazon.coral.service#InvalidSignatureException", err.Error())
		return
	}
	d.mu.Lock()
	hold := d.Hold
	d.requests, d.signers = append(d.requests, r), append(d.signers, who)
	d.mu.Unlock()
	if hold != nil {
		d.Held <- struct{}{}
		<-hold
	}
	if d.Emulator != "" {
		d.forward(w, r, body)
		return
	}
	d.answer(w, r, body)
}

func refuse(w http.ResponseWriter, name, message string) {
	w.WriteHeader(http.StatusBadRequest)
	writeJSON(w, map[string]string{"__type": name, "message": message})
}

func (d *DynamoDB) answer(w http.ResponseWriter, r *http.Request, body []byte) {
	d.mu.Lock()
	defer d.mu.Unlock()
	var in struct {
		TableName string
		Item, Key json.RawMessage
	}
	if json.Unmarshal(body, &in) != nil {
		refuse(w, "com.amazon.coral.service#SerializationException", "")
		return
	}
	_, operation, _ := strings.Cut(r.Header.Get("X-Amz-Target"), ".")
	items := d.tables[in.TableName]
	described := map[string]any{"TableName": in.TableName, "TableStatus": "ACTIVE"}
	switch {
	case operation == "ListTables":
		writeJSON(w, map[string]any{"TableNames": slices.Sorted(maps.Keys(d.tables))})
	case operation == "CreateTable" && items == nil:
		d.tables[in.TableName] = map[string]json.RawMessage{}
		writeJSON(w, map[string]any{"TableDescription": described})
	case operation == "ListStreams":
		writeJSON(w, map[string]any{"Streams": []any{}})
	case items == nil:
		refuse(w, "com.amazonaws.dynamodb.v20120810#ResourceNotFoundException", "Requested resource not found")
	case operation == "DescribeTable":
		writeJSON(w, map[string]any{"Table": described})
	case operation == "PutItem":
		items[id(in.Item)] = in.Item
		writeJSON(w, map[string]any{})
	case operation == "GetItem":
		writeJSON(w, map[string]any{"Item": items[id(in.Key)]})
	case operation == "Scan":
		writeJSON(w, map[string]any{"Items": slices.Collect(maps.Values(items)), "Count": len(items), "ScannedCount": len(items)})
	default:
		refuse(w, "com.amazon.coral.service#UnknownOperationException", "")
	}
}

// id is the key of an item.
func id(item json.RawMessage) string {
	var in struct {
		ID map[string]string `json:"id"`
	}
	if json.Unmarshal(item, &in) != nil {
		return ""
	}
	return in.ID["S"]
}

// forward lets the emulator answer: it looks at no signature.
func (d *DynamoDB) forward(w http.ResponseWriter, r *http.Request, body []byte) {
	out, err := http.NewRequestWithContext(r.Context(), r.Method, d.Emulator+"/", bytes.NewReader(body))
	if err != nil {
		return
	}
	out.Header = r.Header.Clone()
	resp, err := http.DefaultTransport.RoundTrip(out)
	if err != nil {
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	defer resp.Body.Close()
	maps.Copy(w.Header(), resp.Header)
	w.WriteHeader(resp.StatusCode)
	_, _ = io.Copy(w, resp.Body) // whoever asked may be gone
}
