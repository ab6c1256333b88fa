package opsconfig

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"go.yaml.in/yaml/v3"
)

// file reads a YAML file as a koanf provider. koanf's own parser forgets the lines, and so could not say where a mistake is;
// it also reads 45 as 45 nanoseconds and 2020-01-01 as a time. Here a scalar stays the text that was written.
type file struct {
	name   string
	schema schema
	errs   []error // what is wrong with the keys
}

func (f *file) ReadBytes() ([]byte, error) { return os.ReadFile(f.name) }

func (f *file) Read() (map[string]any, error) {
	text, err := f.ReadBytes()
	if err != nil {
		return nil, err
	}
	dec := yaml.NewDecoder(bytes.NewReader(text))
	var doc yaml.Node
	switch err := dec.Decode(&doc); {
	case errors.Is(err, io.EOF): // nothing but comments
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("%s: %w", f.name, err)
	}
	if err := dec.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%s: only one document is read, and here is another after ---", f.name)
	}
	root := doc.Content[0]
	if root.Kind == yaml.ScalarNode && root.Tag == "!!null" {
		return nil, nil
	}
	if root.Kind != yaml.MappingNode {
		return nil, fmt.Errorf("%s: expected lines of the form key: value", f.at(root))
	}
	return f.mapping(root, ""), nil
}

func (f *file) at(n *yaml.Node) string { return fmt.Sprintf("%s:%d", f.name, n.Line) }

func (f *file) fail(n *yaml.Node, format string, args ...any) {
	f.errs = append(f.errs, fmt.Errorf("%s: "+format, append([]any{f.at(n)}, args...)...))
}

// mapping reads the keys of n, which is the section at path.
func (f *file) mapping(n *yaml.Node, path string) map[string]any {
	out := map[string]any{}
	seen := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		full := strings.TrimPrefix(path+"."+key.Value, ".")
		if line, ok := seen[key.Value]; ok {
			f.fail(key, "the key %s was given already in line %d", full, line)
			continue
		}
		seen[key.Value] = key.Line

		// A key with a dot in it is not the section that it looks like.
		dotted := key.Kind != yaml.ScalarNode || strings.Contains(key.Value, ".")
		if _, ok := f.schema.field(full); ok && !dotted {
			if s, ok := f.setting(full, value); ok {
				out[key.Value] = s
			}
			continue
		}
		if _, ok := f.schema.section(full); ok && !dotted {
			switch {
			case value.Kind == yaml.MappingNode:
				out[key.Value] = f.mapping(value, full)
			case value.Kind == yaml.ScalarNode && value.Tag == "!!null": // all of its keys commented out
			default:
				f.fail(value, "%s is a section: its keys come indented on the lines below", full)
			}
			continue
		}
		f.fail(key, "unknown key %s%s", full, f.schema.hint(full))
	}
	return out
}

// setting reads the value of a key.
func (f *file) setting(path string, n *yaml.Node) (*setting, bool) {
	s := &setting{Source: f.at(n)}
	switch {
	case n.Kind == yaml.ScalarNode && n.Tag == "!!null":
		f.fail(n, "%s has no value; remove the line to have the default", path)
		return s, false
	case n.Kind == yaml.ScalarNode:
		s.Text = n.Value
	case n.Kind == yaml.SequenceNode:
		s.List, s.Items = true, []string{}
		for _, item := range n.Content {
			if item.Kind != yaml.ScalarNode || item.Tag == "!!null" {
				f.fail(item, "%s: an item of the list is not a plain value", path)
				return s, false
			}
			s.Items = append(s.Items, item.Value)
		}
	case n.Kind == yaml.AliasNode:
		f.fail(n, "%s: anchors and aliases are not supported", path)
		return s, false
	default:
		field, _ := f.schema.field(path)
		f.fail(n, "%s has no keys of its own: expected %s", path, expected(field.typ))
		return s, false
	}
	return s, true
}

// hint is what to write instead of an unknown key.
func (s schema) hint(path string) string {
	var known []string
	for _, f := range s.fields {
		known = append(known, f.path)
	}
	for _, x := range s.sections {
		known = append(known, x.path)
	}
	return suggestion(path, known)
}

func suggestion(name string, known []string) string {
	if near := nearest(name, known); near != "" {
		return "; did you mean " + near + "?"
	}
	if len(known) == 0 {
		return ""
	}
	return "; known are " + strings.Join(known, ", ")
}
