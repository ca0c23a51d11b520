package transcript

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strconv"
	"time"

	"teleport/types/event"
)

// said has the fields of all events of such sessions that are told.
type said struct {
	Event       string    `json:"event"`
	Time        time.Time `json:"time"`
	User        string    `json:"user"`
	Service     string    `json:"db_service"`
	DBUser      string    `json:"db_user"`
	DBName      string    `json:"db_name"`
	Hostname    string    `json:"server_hostname"`
	Query       string    `json:"db_query"`
	Bytes       int       `json:"db_query_bytes"`
	Success     bool      `json:"success"`
	Error       string    `json:"error"`
	Command     string    `json:"command"`
	Rows        uint64    `json:"affected_records"`
	ErrorCode   string    `json:"error_code"`
	StatementID uint32    `json:"statement_id"`
	Name        string    `json:"statement_name"`
	Portal      string    `json:"portal_name"`
	Count       int       `json:"parameter_count"`
	Types       []string  `json:"parameter_types"`
	Values      []string  `json:"parameters"`
	MaxRows     uint32    `json:"max_rows"`
	FetchRows   uint32    `json:"rows_count"`
	Function    uint32    `json:"function_oid"`
	Reason      string    `json:"reason"`
	Schema      string    `json:"schema_name"`
	Process     uint32    `json:"process_id"`
	Operation   string    `json:"operation"`
	Tables      []string  `json:"tables"`
	StatusCode  int       `json:"status_code"`
	Method      string    `json:"method"`
	Path        string    `json:"path"`
	RawQuery    string    `json:"raw_query"`
	Upgrade     string    `json:"upgrade"`
	AWSService  string    `json:"aws_service"`
	AWSAction   string    `json:"aws_action"`
	AWSRegion   string    `json:"aws_region"`
	CloudHost   string    `json:"cloud_host"`
}

// places are the fields of said by the keys of their values.
var places = func() map[string]int {
	t := reflect.TypeFor[said]()
	all := make(map[string]int, t.NumField())
	for i := range t.NumField() {
		all[t.Field(i).Tag.Get("json")] = i
	}
	return all
}()

// read reads an event: by a walk over what this program writes, which is nearly all that
// there is, and by encoding/json otherwise, which takes ten times as long.
func read(data []byte) (s said, ok bool) {
	v := reflect.ValueOf(&s).Elem()
	plain := event.Fields(data, func(key, value []byte) bool {
		i, known := places[string(key)]
		if !known {
			return !bytes.ContainsFunc(key, func(r rune) bool { return r > '~' || 'A' <= r && r <= 'Z' }) // to encoding/json, they may be others
		}
		return set(v.Field(i), value)
	})
	if plain {
		return s, true
	}
	s = said{}
	return s, json.Unmarshal(data, &s) == nil
}

// set puts a value into a field of said. It reports false for one that it leaves to
// encoding/json.
func set(field reflect.Value, value []byte) (ok bool) {
	switch to := field.Addr().Interface().(type) {
	case *string:
		*to, ok = event.Text(value)
		return ok
	case *bool:
		*to = string(value) == "true"
		return *to || string(value) == "false"
	case *time.Time:
		return to.UnmarshalJSON(value) == nil
	}
	switch {
	case field.CanInt():
		n, err := strconv.ParseInt(string(value), 10, field.Type().Bits())
		field.SetInt(n)
		return err == nil
	case field.CanUint():
		n, err := strconv.ParseUint(string(value), 10, field.Type().Bits())
		field.SetUint(n)
		return err == nil
	}
	return json.Unmarshal(value, field.Addr().Interface()) == nil
}
