package event

// Requests to DynamoDB.
const (
	TypeDynamoDBRequest     = "db.session.dynamodb.request"
	CodeDynamoDBRequest     = "TDY01I"
	CodeDynamoDBRequestFail = "TDY01E"
)

// DynamoDBRequest is a request on its way to DynamoDB, to its streams or to DAX;
// its statement is the body. One that was refused here, found no answer, or was
// refused there has the code CodeDynamoDBRequestFail; the last is told of twice,
// before and after.
type DynamoDBRequest struct {
	Meta
	inDatabase
	Statement
	Status
	Method     string   `json:"method" class:"public"`
	Path       string   `json:"path" class:"sensitive"`
	Query      string   `json:"raw_query,omitempty" class:"sensitive"`
	Target     string   `json:"target" class:"public"`              // X-Amz-Target
	Operation  string   `json:"operation,omitempty" class:"public"` // GetItem …
	Tables     []string `json:"tables,omitempty" class:"public"`    // names or ARNs
	Service    string   `json:"service,omitempty" class:"public"`   // dynamodb, streams.dynamodb, dax
	Region     string   `json:"region,omitempty" class:"public"`
	StatusCode int      `json:"status_code,omitempty" class:"public"` // of HTTP
	ErrorCode  string   `json:"error_code,omitempty" class:"public"`  // as AWS names it
}
