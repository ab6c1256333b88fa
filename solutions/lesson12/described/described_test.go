// Package described holds the API of lesson 12 against its description by a library that knows OpenAPI. It is beside the
// solution, so that neither the learner nor the judge builds that library.
package described

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/getkin/kin-openapi/routers/legacy"
	"github.com/stretchr/testify/require"

	"github.com/kafka-katas/kafka-katas/harness"
	"github.com/kafka-katas/kafka-katas/solutions/lesson12"
)

func TestMain(m *testing.M) {
	slog.SetDefault(slog.New(slog.NewTextHandler(io.Discard, nil)))
	harness.Main(m)
}

// description is OpenAPI, read and found valid.
func description(t *testing.T) (*openapi3.T, routers.Router) {
	doc, err := openapi3.NewLoader().LoadFromData(lesson12.OpenAPI)
	require.NoError(t, err)
	require.NoError(t, doc.Validate(context.Background()))
	router, err := legacy.NewRouter(doc)
	require.NoError(t, err)
	return doc, router
}

// Every response is one that is described, every good request too, and every response that is described is given.
func TestTheAPIIsWhatItsDescriptionSays(t *testing.T) {
	doc, router := description(t)
	path := filepath.Join(t.TempDir(), "shop.db")
	seen := map[string]bool{}
	ask := func(api http.Handler, method, path, key, body string, good bool) *httptest.ResponseRecorder {
		t.Helper()
		request := httptest.NewRequest(method, path, strings.NewReader(body))
		if body != "" {
			request.Header.Set("Content-Type", "application/json")
		}
		if key != "" {
			request.Header.Set("Idempotency-Key", key)
		}
		route, params, err := router.FindRoute(request)
		require.NoError(t, err)
		input := &openapi3filter.RequestValidationInput{Request: request.Clone(context.Background()), PathParams: params, Route: route}
		input.Request.Body = io.NopCloser(strings.NewReader(body))
		if err := openapi3filter.ValidateRequest(context.Background(), input); good {
			require.NoError(t, err, "a good request is one that is described")
		} else {
			require.Error(t, err, "a bad request is none that is described: %s", body)
		}
		recorder := httptest.NewRecorder()
		api.ServeHTTP(recorder, request)
		require.NoError(t, openapi3filter.ValidateResponse(context.Background(), &openapi3filter.ResponseValidationInput{
			RequestValidationInput: input, Status: recorder.Code, Header: recorder.Header(), Body: io.NopCloser(bytes.NewReader(recorder.Body.Bytes())),
			Options: &openapi3filter.Options{IncludeResponseStatus: true},
		}), "%s %s was answered with %d: %s", method, path, recorder.Code, recorder.Body)
		seen[fmt.Sprint(method, " ", route.Path, " ", recorder.Code)] = true
		return recorder
	}

	harness.Run(t, func(w *harness.World) {
		cfg := lesson12.DefaultConfig()
		commands, events := w.Topic("commands", 1), w.Topic("events", 1)
		group := w.Group("shop")
		cfg.Group, cfg.Workflow.Topic = group.Name, ""
		cfg.Commands.Topic, cfg.Commands.Events = commands.Name, events.Name
		bolt, err := lesson12.OpenStore(path)
		require.NoError(t, err)
		defer bolt.Close()
		store := &moody{Store: bolt}
		var service *lesson12.Service
		a := w.Start("a", func(p *harness.Process) (harness.Runner, error) {
			service, err = lesson12.New(cfg, lesson12.Outside{Store: store}, p.Options()...)
			return service, err
		})
		w.Sleep(5 * time.Second)
		api := service.API()
		const restock = `{"type": "restock", "sku": "book", "quantity": 5, "expected_version": 0, "correlation_id": "o-1"}`

		done := ask(api, http.MethodPost, "/commands", "k-1", restock, true)
		rejected := ask(api, http.MethodPost, "/commands", "", `{"type": "reserve", "sku": "book", "quantity": 9}`, true)
		w.Within(time.Minute, group.Drained(commands))
		for _, r := range []*httptest.ResponseRecorder{done, rejected} {
			ask(api, http.MethodGet, r.Header().Get("Location"), "", "", true)
		}
		service.Pause()
		w.Sleep(time.Second)
		pending := ask(api, http.MethodPost, "/commands", "", restock, true)
		ask(api, http.MethodGet, pending.Header().Get("Location"), "", "", true)
		ask(api, http.MethodPost, "/commands", "", `{"type": `, false)
		for _, invalid := range []string{
			`{"type": "paint", "sku": "book", "quantity": 5}`, `{"type": "restock", "sku": "", "quantity": 5}`, `{"type": "restock", "sku": "book", "quantity": 0}`,
			`{"type": "restock", "sku": "book", "quantity": 5, "expected_version": -1}`, `{}`,
		} {
			require.Equal(t, http.StatusUnprocessableEntity, ask(api, http.MethodPost, "/commands", "", invalid, false).Code, invalid)
		}
		ask(api, http.MethodPost, "/commands", "k-1", `{"type": "restock", "sku": "book", "quantity": 50}`, true)
		ask(api, http.MethodPost, "/commands", "", `{"type": "restock", "sku": "`+strings.Repeat("x", 70_000)+`", "quantity": 5}`, true)
		ask(api, http.MethodGet, "/commands/nobody-knows-it", "", "", true)
		ask(api, http.MethodGet, "/openapi.yaml", "", "", true)
		store.away.Store(true)
		ask(api, http.MethodGet, "/commands/nobody-knows-it", "", "", true)
		store.away.Store(false)
		a.Stop()
		ask(api, http.MethodPost, "/commands", "", restock, true)
	})

	var want []string
	for path, item := range doc.Paths.Map() {
		for method, operation := range item.Operations() {
			for status := range operation.Responses.Map() {
				want = append(want, fmt.Sprint(method, " ", path, " ", status))
			}
		}
	}
	require.ElementsMatch(t, want, slices.Collect(maps.Keys(seen)), "what is described is what is given")
}

// moody is a store that is away now and then.
type moody struct {
	lesson12.Store
	away atomic.Bool
}

func (m *moody) View(look func(tx lesson12.Tx) error) error {
	if m.away.Load() {
		return errors.New("away")
	}
	return m.Store.View(look)
}
