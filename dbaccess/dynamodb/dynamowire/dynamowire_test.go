package dynamowire

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"teleport/fault"
)

func TestRequestsAreUnderstood(t *testing.T) {
	const db, st, dx = "DynamoDB_20120810.", "DynamoDBStreams_20120810.", "AmazonDAXV3."
	for _, c := range []struct {
		target, body string
		tables       string // joined
		statements   string
		host         string
	}{
		{db + "GetItem", `{"TableName":"orders","Key":{"id":{"S":"TableName"}}}`, "orders", "", "dynamodb"},
		{db + "ListTables", `{}`, "", "", "dynamodb"},
		{db + "BatchGetItem", `{"RequestItems":{"b":{"Keys":[]},"a":{"Keys":[]}}}`, "a,b", "", "dynamodb"},
		{db + "BatchWriteItem", `{"RequestItems":{"a":[{"PutRequest":{"Item":{"TableName":{"S":"x"}}}}]}}`, "a", "", "dynamodb"},
		{db + "TransactWriteItems", `{"TransactItems":[{"Put":{"TableName":"a"}},{"ConditionCheck":{"TableName":"b"}},{"Delete":{"TableName":"a"},"Update":null}]}`, "", "", ""},
		{db + "TransactWriteItems", `{"TransactItems":[{"Put":{"TableName":"a"}},{"ConditionCheck":{"TableName":"b"}},{"Delete":{"TableName":"a"}}]}`, "a,b", "", "dynamodb"},
		{db + "TransactGetItems", `{"TransactItems":[{"Get":{"TableName":"c","Key":{}}}]}`, "c", "", "dynamodb"},
		{db + "ExecuteStatement", `{"Statement":"SELECT * FROM \"orders\""}`, "", `SELECT * FROM "orders"`, "dynamodb"},
		{db + "BatchExecuteStatement", `{"Statements":[{"Statement":"a"},{"Statement":"b"}]}`, "", "a;b", "dynamodb"},
		{db + "ExecuteTransaction", `{"TransactStatements":[{"Statement":"a"}]}`, "", "a", "dynamodb"},
		{db + "RestoreTableToPointInTime", `{"SourceTableName":"a","TargetTableName":"b"}`, "a,b", "", "dynamodb"},
		{db + "ImportTable", `{"TableCreationParameters":{"TableName":"n"}}`, "n", "", "dynamodb"},
		{st + "ListStreams", `{"TableName":"orders"}`, "orders", "", "streams.dynamodb"},
		{st + "GetRecords", `{"ShardIterator":"x"}`, "", "", "streams.dynamodb"},
		{dx + "DescribeClusters", `{"ClusterNames":["a","b"]}`, "a,b", "", "dax"},
	} {
		got, err := Parse(c.target, []byte(c.body))
		if c.host == "" {
			if !errors.Is(err, fault.Invalid) {
				t.Errorf("%s: %+v, %v", c.target, got, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", c.target, err)
			continue
		}
		if strings.Join(got.Tables, ",") != c.tables || strings.Join(got.Statements, ";") != c.statements || got.Service.Host != c.host {
			t.Errorf("%s: got %+v", c.target, got)
		}
	}
}

func TestWhatIsNotUnderstoodIsRefused(t *testing.T) {
	for name, c := range map[string]struct {
		target, body string
		kind         fault.Kind
	}{
		"no target":            {"", "{}", fault.Unimplemented},
		"another service":      {"Kinesis_20131202.GetRecords", "{}", fault.Unimplemented},
		"an older version":     {"DynamoDB_20111205.GetItem", "{}", fault.Unimplemented},
		"another operation":    {"DynamoDB_20120810.Drop", "{}", fault.Unimplemented},
		"of another service":   {"DynamoDBStreams_20120810.GetItem", "{}", fault.Unimplemented},
		"case of an operation": {"DynamoDB_20120810.getitem", "{}", fault.Unimplemented},
		"nothing":              {"DynamoDB_20120810.GetItem", "", fault.Invalid},
		"a list":               {"DynamoDB_20120810.GetItem", "[]", fault.Invalid},
		"a text":               {"DynamoDB_20120810.GetItem", `"x"`, fault.Invalid},
		"half":                 {"DynamoDB_20120810.GetItem", `{"TableName":`, fault.Invalid},
		"two":                  {"DynamoDB_20120810.GetItem", `{"TableName":"a"}{"TableName":"b"}`, fault.Invalid},
		"a name twice":         {"DynamoDB_20120810.GetItem", `{"TableName":"a","TableName":"b"}`, fault.Invalid},
		"a name twice, hidden": {"DynamoDB_20120810.GetItem", `{"TableName":"a","Table\u004eame":"b"}`, fault.Invalid},
		"twice within":         {"DynamoDB_20120810.BatchGetItem", `{"RequestItems":{"a":{},"a":{}}}`, fault.Invalid},
		"a number":             {"DynamoDB_20120810.GetItem", `{"TableName":7}`, fault.Invalid},
		"no list":              {"DynamoDB_20120810.TransactGetItems", `{"TransactItems":{"Get":{}}}`, fault.Invalid},
		"too deep":             {"DynamoDB_20120810.PutItem", `{"a":` + strings.Repeat("[", 70) + strings.Repeat("]", 70) + "}", fault.Limit},
		"a long name":          {"DynamoDB_20120810.GetItem", `{"TableName":"` + strings.Repeat("x", maxName+1) + `"}`, fault.Limit},
	} {
		if got, err := Parse(c.target, []byte(c.body)); !errors.Is(err, c.kind) {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
}

// FuzzParse holds that what is understood names what the standard decoder would
// find, and that nothing panics.
func FuzzParse(f *testing.F) {
	for _, body := range []string{`{"TableName":"a"}`, `{"RequestItems":{"a":{},"b":[]}}`, `{"TransactItems":[{"Put":{"TableName":"a"}}]}`, `{"a":[1,2,{"b":null}]}`, "[[["} {
		for _, op := range []string{"DynamoDB_20120810.GetItem", "DynamoDB_20120810.BatchGetItem", "DynamoDB_20120810.TransactWriteItems", "x"} {
			f.Add(op, []byte(body))
		}
	}
	f.Fuzz(func(t *testing.T, target string, body []byte) {
		c, err := Parse(target, body)
		if err != nil {
			return
		}
		if !slices.IsSorted(c.Tables) || c.Service == nil || c.Operation == "" {
			t.Errorf("%q %q: %+v", target, body, c)
		}
	})
}
