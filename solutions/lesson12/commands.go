package lesson12

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
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

// commands is the part of CommandsConfig.
type commands struct{ s *Service }

type stock struct {
	OnHand  int64
	Version int64
}

// result is what is known of a command by its id.
type result struct {
	Digest string
	Source string // the record that it came with
	Key    []byte
	Event  Event
}

func (c *commands) open(ctx context.Context, p *partition) error { return p.relay(ctx) }

func (c *commands) next(*partition) time.Time { return time.Time{} }

func (c *commands) due(context.Context, *partition) error { return nil }

func (c *commands) handle(ctx context.Context, p *partition, r *kgo.Record) error {
	duplicate := false
	err := c.s.outside.Store.Update(func(tx Tx) (err error) {
		duplicate, err = c.carryOut(tx, p.topicPartition, r)
		return err
	})
	if err != nil {
		return err
	}
	if duplicate {
		c.s.meter.Count("duplicate_commands", 1)
	}
	return p.relay(ctx)
}

func (c *commands) carryOut(tx Tx, tp topicPartition, r *kgo.Record) (duplicate bool, err error) {
	source := fmt.Sprintf("%s/%d", tp, r.Offset)
	event := Event{ID: hash("event", source), CausationID: source, CorrelationID: source}
	announce := func(key []byte, e Event) error {
		text, err := json.Marshal(e)
		if err != nil {
			return err
		}
		return post(tx, tp, message{Topic: c.s.cfg.Commands.Events, Key: key, Value: text})
	}
	var cmd Command
	problems := []FieldProblem{{"body", "is no JSON object of a command"}}
	if err := json.Unmarshal(r.Value, &cmd); err == nil {
		problems = cmd.problems()
		if cmd.ID == "" {
			problems = append(problems, FieldProblem{"id", "must not be empty"})
		} else {
			event.CausationID, event.CorrelationID = cmd.ID, cmd.ID
		}
		if cmd.CorrelationID != "" {
			event.CorrelationID = cmd.CorrelationID
		}
	}
	event.SKU = cmd.SKU
	known, err := get[result](tx, "result/"+cmd.ID)
	switch {
	case err != nil:
		return false, err
	case cmd.ID == "":
	case known != nil && known.Source == source:
		return false, nil // delivered again: what is not announced yet waits in the outbox
	case known != nil && known.Digest == cmd.digest():
		return true, announce(known.Key, known.Event)
	case known != nil:
		event.Type, event.Reason = CommandRejected, ReasonConflict
		event.Fields = []FieldProblem{{"id", "belongs to a command with another content"}}
		return false, announce(r.Key, event)
	}
	on, err := get[stock](tx, "stock/"+cmd.SKU)
	if err != nil {
		return false, err
	}
	if on == nil {
		on = &stock{}
	}
	event.reject(cmd, problems, on)
	if event.Type == StockChanged {
		on.OnHand += cmd.change()
		on.Version++
		if err := put(tx, "stock/"+cmd.SKU, on); err != nil {
			return false, err
		}
	}
	event.OnHand, event.Version = on.OnHand, on.Version
	if cmd.ID != "" {
		if err := put(tx, "result/"+cmd.ID, result{cmd.digest(), source, r.Key, event}); err != nil {
			return false, err
		}
	}
	return false, announce(r.Key, event)
}

// reject says what kind of event a command leads to.
func (e *Event) reject(cmd Command, problems []FieldProblem, on *stock) {
	e.Type = CommandRejected
	switch {
	case len(problems) > 0:
		e.Reason, e.Fields = ReasonInvalid, problems
	case cmd.ExpectedVersion != nil && *cmd.ExpectedVersion != on.Version:
		e.Reason = ReasonVersion
		e.Fields = []FieldProblem{{"expected_version", fmt.Sprintf("is %d; the stock is at version %d", *cmd.ExpectedVersion, on.Version)}}
	case on.OnHand+cmd.change() < 0:
		e.Reason = ReasonInsufficient
		e.Fields = []FieldProblem{{"quantity", fmt.Sprintf("is %d; there are %d", cmd.Quantity, on.OnHand)}}
	default:
		e.Type = StockChanged
	}
}

func (c Command) change() int64 {
	if c.Type == "reserve" {
		return -c.Quantity
	}
	return c.Quantity
}

// problems are what is wrong with a command, whatever its id.
func (c Command) problems() (out []FieldProblem) {
	switch c.Type {
	case "restock", "reserve", "release":
	default:
		out = append(out, FieldProblem{"type", "must be restock, reserve or release"})
	}
	if strings.TrimSpace(c.SKU) == "" {
		out = append(out, FieldProblem{"sku", "must not be empty"})
	}
	if c.Quantity <= 0 {
		out = append(out, FieldProblem{"quantity", "must be above 0"})
	}
	if c.ExpectedVersion != nil && *c.ExpectedVersion < 0 {
		out = append(out, FieldProblem{"expected_version", "must not be below 0"})
	}
	return out
}

// digest is the same for two commands that ask for the same.
func (c Command) digest() string {
	c.ID, c.CorrelationID = "", ""
	text, _ := json.Marshal(c) // a struct of strings and numbers
	return hash("command", string(text))
}

func hash(kind, text string) string {
	sum := sha256.Sum256([]byte(kind + "\x00" + text))
	return hex.EncodeToString(sum[:12])
}

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
	mux := http.NewServeMux()
	mux.HandleFunc("POST /commands", s.accept)
	mux.HandleFunc("GET /commands/{id}", s.show)
	mux.HandleFunc("GET /openapi.yaml", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/yaml")
		w.Write(OpenAPI) //nolint:errcheck // the caller may be gone
	})
	return mux
}

// acceptance is a request with an Idempotency-Key that is being answered.
type acceptance struct {
	digest string
	done   chan struct{}
	code   int // once done
	status Status
}

// accepted is what is kept of an Idempotency-Key.
type accepted struct {
	Digest string
	ID     string
}

const maxBody = 64 << 10

func (s *Service) accept(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), s.cfg.API.Timeout)
	defer cancel()
	// A caller who sends his body drop by drop gets an answer in time as well. Not every ResponseWriter can do that.
	connection := http.NewResponseController(w)
	connection.SetReadDeadline(time.Now().Add(s.cfg.API.Timeout)) //nolint:errcheck // see above
	text, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if errors.Is(err, os.ErrDeadlineExceeded) { // it stays exceeded, or the server would wait for the rest
		s.answer(w, http.StatusServiceUnavailable, Status{})
		return
	}
	connection.SetReadDeadline(time.Time{}) //nolint:errcheck // see above
	if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) {
		problem(w, http.StatusRequestEntityTooLarge, "a command has at most 64 KiB")
		return
	}
	var cmd Command
	if err != nil || json.Unmarshal(text, &cmd) != nil {
		problem(w, http.StatusBadRequest, "the body is no JSON object of a command")
		return
	}
	if problems := cmd.problems(); len(problems) > 0 {
		problem(w, http.StatusUnprocessableEntity, "the command is invalid", problems...)
		return
	}
	key := r.Header.Get("Idempotency-Key")
	if key == "" {
		cmd.ID = strings.ToLower(rand.Text())
		code := s.send(ctx, cmd, "")
		s.answer(w, code, Status{ID: cmd.ID, Status: "pending"})
		return
	}
	// Derived, not drawn: after a 503 or a crash the same key leads to the same command.
	cmd.ID = hash("key", key)
	s.mu.Lock()
	a, joined := s.accepting[key]
	if !joined {
		a = &acceptance{digest: cmd.digest(), done: make(chan struct{})}
		s.accepting[key] = a
	}
	s.mu.Unlock()
	if !joined {
		// Not the first caller's context: others wait for the same answer, and he may hang up.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.cfg.API.Timeout)
		go func() {
			defer cancel()
			a.code, a.status = s.send(ctx, cmd, key), Status{ID: cmd.ID, Status: "pending"}
			s.mu.Lock()
			delete(s.accepting, key)
			s.mu.Unlock()
			close(a.done)
		}()
	}
	if a.digest != cmd.digest() {
		s.answer(w, http.StatusUnprocessableEntity, Status{})
		return
	}
	select {
	case <-a.done:
		s.answer(w, a.code, a.status)
	case <-ctx.Done():
		s.answer(w, http.StatusServiceUnavailable, Status{})
	}
}

func (s *Service) answer(w http.ResponseWriter, code int, status Status) {
	switch code {
	case http.StatusAccepted:
		w.Header().Set("Location", "/commands/"+status.ID)
		respond(w, code, "application/json", status)
	case http.StatusUnprocessableEntity:
		problem(w, code, "the Idempotency-Key belongs to another command", FieldProblem{"Idempotency-Key", "was used with another content"})
	default:
		w.Header().Set("Retry-After", "1")
		problem(w, code, "the command could not be accepted")
	}
}

// send hands a command to Kafka and says with which status to answer.
func (s *Service) send(ctx context.Context, cmd Command, key string) int {
	s.mu.Lock()
	client := s.client
	s.mu.Unlock()
	if client == nil {
		return http.StatusServiceUnavailable
	}
	if key != "" {
		var before *accepted
		err := s.outside.Store.View(func(tx Tx) (err error) {
			before, err = get[accepted](tx, "key/"+cmd.ID)
			return err
		})
		switch {
		case err != nil:
			return http.StatusServiceUnavailable
		case before != nil && before.Digest != cmd.digest():
			return http.StatusUnprocessableEntity
		case before != nil:
			return http.StatusAccepted
		}
	}
	text, err := json.Marshal(cmd)
	if err != nil {
		return http.StatusServiceUnavailable
	}
	if err := produce(ctx, client, &kgo.Record{Topic: s.cfg.Commands.Topic, Key: []byte(cmd.SKU), Value: text}); err != nil {
		slog.Warn("a command was not acknowledged", "id", cmd.ID, "error", err)
		return http.StatusServiceUnavailable
	}
	err = s.outside.Store.Update(func(tx Tx) error {
		if key != "" {
			if err := put(tx, "key/"+cmd.ID, accepted{cmd.digest(), cmd.ID}); err != nil {
				return err
			}
		}
		return put(tx, "accepted/"+cmd.ID, true)
	})
	if err != nil {
		return http.StatusServiceUnavailable
	}
	return http.StatusAccepted
}

func (s *Service) show(w http.ResponseWriter, r *http.Request) {
	id := r.PathValue("id")
	status := Status{ID: id, Status: "pending"}
	pending := false
	var known *result
	err := s.outside.Store.View(func(tx Tx) (err error) {
		pending = tx.Get("accepted/"+id) != nil
		known, err = get[result](tx, "result/"+id)
		return err
	})
	switch {
	case err != nil:
		w.Header().Set("Retry-After", "1")
		problem(w, http.StatusServiceUnavailable, "the store does not answer")
		return
	case known != nil:
		status.Status, status.Event = "done", &known.Event
		if known.Event.Type == CommandRejected {
			status.Status = "rejected"
		}
	case !pending:
		problem(w, http.StatusNotFound, "no command has this id")
		return
	}
	respond(w, http.StatusOK, "application/json", status)
}

func problem(w http.ResponseWriter, code int, title string, fields ...FieldProblem) {
	respond(w, code, "application/problem+json", struct {
		Title  string         `json:"title"`
		Status int            `json:"status"`
		Fields []FieldProblem `json:"fields,omitempty"`
	}{title, code, fields})
}

func respond(w http.ResponseWriter, code int, contentType string, body any) {
	var text bytes.Buffer
	if err := json.NewEncoder(&text).Encode(body); err != nil {
		code = http.StatusInternalServerError
	}
	w.Header().Set("Content-Type", contentType)
	w.WriteHeader(code)
	w.Write(text.Bytes()) //nolint:errcheck // the caller may be gone
}
