package lesson12

import (
	_ "embed"
	"net/http"
)

// Command is what somebody wants done to the stock of one sku. As JSON it is the value of a record of Commands.Topic,
// whose key is the sku.
type Command struct {
	ID       string `json:"id"`       // the same id is the same command
	Type     string `json:"type"`     // "restock" and "release" raise the stock, "reserve" lowers it
	SKU      string `json:"sku"`      // not empty
	Quantity int64  `json:"quantity"` // above 0
	// ExpectedVersion, if set, is the only version of the sku's stock that the command may change.
	ExpectedVersion *int64 `json:"expected_version,omitempty"`
	// CorrelationID is handed on to whatever the command leads to; empty: the command's id.
	CorrelationID string `json:"correlation_id,omitempty"`
}

// The types of an Event.
const (
	StockChanged    = "stock-changed"
	CommandRejected = "command-rejected"
)

// The reasons of a rejection.
const (
	ReasonInvalid      = "invalid"      // some of its fields are wrong
	ReasonConflict     = "conflict"     // its id belongs to another command
	ReasonVersion      = "version"      // the stock is not at ExpectedVersion
	ReasonInsufficient = "insufficient" // there is less in stock than is to be reserved
)

// Event is what became of a command. As JSON it is the value of a record of Commands.Events, whose key is that of the
// command's record.
type Event struct {
	ID            string `json:"id"` // of this event; readers take two with the same id for one
	Type          string `json:"type"`
	CorrelationID string `json:"correlation_id"`
	CausationID   string `json:"causation_id"` // the command's id; of a command without one, "topic/partition/offset"
	SKU           string `json:"sku,omitempty"`
	// OnHand and Version are the stock after the command; Version begins at 0 and is one more with each change. A conflict
	// may leave them out.
	OnHand  int64 `json:"on_hand"`
	Version int64 `json:"version"`
	// Reason and Fields are those of a rejection, whatever its reason: a conflict names "id", a wrong version
	// "expected_version", an insufficient stock "quantity".
	Reason string         `json:"reason,omitempty"`
	Fields []FieldProblem `json:"fields,omitempty"`
}

// FieldProblem is what is wrong with one field of a command. Field is its name in JSON; "body" if the whole cannot be
// read.
type FieldProblem struct {
	Field   string `json:"field"`
	Problem string `json:"problem"`
}

// Status is what the API says of a command.
type Status struct {
	ID     string `json:"id"`
	Status string `json:"status"`          // "pending", "done" or "rejected"
	Event  *Event `json:"event,omitempty"` // how it ended
}

// OpenAPI describes the API, in YAML.
//
//go:embed openapi.yaml
var OpenAPI []byte

// TODO: carry a command out: its result, the stock and the event belong into one update of the store.

// API serves the commands over HTTP, as OpenAPI describes.
//
//	POST /commands       202 with Location, the path /commands/{id}, and a Status "pending" once the broker has
//	                     acknowledged the command;
//	                     400 for what is no JSON, 422 for invalid fields, 413 above 64 KiB;
//	                     503 with Retry-After within API.Timeout if it cannot be acknowledged by then, if the service
//	                     does not run, and if the store refuses
//	GET /commands/{id}   200 with a Status, 404 for an id that is not known
//	GET /openapi.yaml    200 with OpenAPI
//
// The service gives each command its id. With an Idempotency-Key the same request gets the same id and the same
// response, however often and concurrently it comes, and leads to one record; the same key with another content is 422.
// After a 503 the command may still have been accepted: whoever repeats it with the same Idempotency-Key cannot have
// it carried out twice. Errors are application/problem+json with title, status and, for 422, fields.
func (s *Service) API() http.Handler {
	// TODO: http.NewServeMux; produce with a limit, and answer only when the broker has.
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "lesson12: Service.API is not written yet", http.StatusNotImplemented)
	})
}
