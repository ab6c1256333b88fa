package lesson12

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/kafka-katas/kafka-katas/harness"
)

// A description of an API, as far as this lesson's uses it.
type (
	apiDescription struct {
		Paths      map[string]map[string]apiOperation
		Components struct {
			Responses map[string]apiResponse
			Schemas   map[string]apiSchema
		}
	}
	apiOperation struct{ Responses map[string]apiResponse }
	apiResponse  struct {
		Ref     string `yaml:"$ref"`
		Headers map[string]struct{ Required bool }
		Content map[string]struct{ Schema apiSchema }
	}
	apiSchema struct {
		Ref        string `yaml:"$ref"`
		Type       string
		Enum       []string
		Required   []string
		Properties map[string]apiSchema
		Items      *apiSchema
	}
)

// described claims that every response so far is one that the description allows: its status, its headers, and what is
// in it.
//
//go:noinline
func (s *stage) described() harness.Claim {
	return func(*harness.World) error {
		var api apiDescription
		if err := yaml.Unmarshal(OpenAPI, &api); err != nil {
			return harness.Broke[harness.Misreported]("who reads it is a program", "OpenAPI is no YAML: %v", err)
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, e := range s.exchanges {
			if err := api.allows(e); err != nil {
				return harness.Broke[harness.Misreported]("clients are generated from the description: what it does not say, they cannot handle",
					"%s %s was answered with %d, and the description does not allow that: %v", e.method, e.path, e.code, err)
			}
		}
		return nil
	}
}

func (a *apiDescription) allows(e talk) error {
	path := e.path
	if rest, below := strings.CutPrefix(path, "/commands/"); below && rest != "" {
		path = "/commands/{id}"
	}
	operation, ok := a.Paths[path][strings.ToLower(e.method)]
	if !ok {
		return fmt.Errorf("it has no %s %s", e.method, path)
	}
	response, ok := operation.Responses[fmt.Sprint(e.code)]
	if !ok {
		return fmt.Errorf("it has no status %d", e.code)
	}
	if response.Ref != "" {
		response = a.Components.Responses[last(response.Ref)]
	}
	for name, h := range response.Headers {
		if h.Required && e.header.Get(name) == "" {
			return fmt.Errorf("the header %s is missing", name)
		}
	}
	contentType, _, _ := strings.Cut(e.header.Get("Content-Type"), ";")
	content, ok := response.Content[contentType]
	if !ok {
		return fmt.Errorf("it has no content of type %q", contentType)
	}
	if !strings.HasSuffix(contentType, "json") {
		return nil
	}
	var body any
	if err := json.Unmarshal([]byte(e.body), &body); err != nil {
		return fmt.Errorf("%q is no JSON", e.body)
	}
	return a.fits("the body", content.Schema, body)
}

func last(ref string) string { return ref[strings.LastIndex(ref, "/")+1:] }

func (a *apiDescription) fits(what string, s apiSchema, v any) error {
	if s.Ref != "" {
		s = a.Components.Schemas[last(s.Ref)]
	}
	switch s.Type {
	case "object":
		object, ok := v.(map[string]any)
		if !ok {
			return fmt.Errorf("%s is no object: %v", what, v)
		}
		for _, name := range s.Required {
			if _, ok := object[name]; !ok {
				return fmt.Errorf("%s has no %s: %v", what, name, v)
			}
		}
		for name, value := range object {
			property, ok := s.Properties[name]
			if !ok {
				return fmt.Errorf("%s has a %s, of which it says nothing", what, name)
			}
			if err := a.fits(name, property, value); err != nil {
				return err
			}
		}
	case "array":
		list, ok := v.([]any)
		if !ok {
			return fmt.Errorf("%s is no list: %v", what, v)
		}
		for _, one := range list {
			if err := a.fits("one of "+what, *s.Items, one); err != nil {
				return err
			}
		}
	case "string":
		if text, ok := v.(string); !ok || s.Enum != nil && !slices.Contains(s.Enum, text) {
			return fmt.Errorf("%s is %v; allowed are %q", what, v, s.Enum)
		}
	case "integer":
		if n, ok := v.(float64); !ok || n != math.Trunc(n) {
			return fmt.Errorf("%s is no integer: %v", what, v)
		}
	default:
		return fmt.Errorf("%s has the type %q, which this reader does not know", what, s.Type)
	}
	return nil
}
