package opsconfig

import (
	"encoding"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// Example renders defaults as the commented YAML file that Load would read them from: each key in the order of the
// struct, above it its doc tag and, unless envPrefix is "", its name in the environment.
func Example[T any](defaults T, envPrefix string) (string, error) {
	s, err := schemaOf(reflect.TypeFor[T]())
	if err != nil {
		return "", err
	}
	var b strings.Builder
	before := ""
	for _, f := range s.fields {
		indent := s.open(&b, before, f.path)
		before = f.path
		comment(&b, indent, f.doc)
		if envPrefix != "" {
			comment(&b, indent, f.env(strings.TrimSuffix(envPrefix, "_")+"_"))
		}
		text, err := render(reflect.ValueOf(defaults).FieldByIndex(f.index))
		if err != nil {
			return "", fmt.Errorf("%s: %w", f.path, err)
		}
		fmt.Fprintf(&b, "%s%s: %s\n", indent, last(f.path), text)
	}
	return b.String(), nil
}

// Matches checks that file, kept beside a program for its users to copy, says what the program does without it: every
// key of T is there, no other, and each with its default.
func Matches[T any](defaults T, name string) error {
	s, err := schemaOf(reflect.TypeFor[T]())
	if err != nil {
		return err
	}
	f := &file{name: name, schema: s}
	keys, err := f.Read()
	if err != nil {
		return err
	}
	errs := f.errs
	given := flatten(keys, "")
	for _, field := range s.fields {
		written, ok := given[field.path]
		if !ok {
			errs = append(errs, fmt.Errorf("%s: the key %s is missing", name, field.path))
			continue
		}
		v := reflect.New(field.typ).Elem()
		if err := put(v, field, *written); err != nil {
			errs = append(errs, err)
			continue
		}
		got, err := render(v)
		want, err2 := render(reflect.ValueOf(defaults).FieldByIndex(field.index))
		if err := errors.Join(err, err2); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", field.path, err))
		} else if got != want {
			errs = append(errs, fmt.Errorf("%s: %s is %s, but its default is %s", written.Source, field.path, got, want))
		}
	}
	return errors.Join(errs...)
}

func flatten(keys map[string]any, path string) map[string]*setting {
	out := map[string]*setting{}
	for key, v := range keys {
		switch v := v.(type) {
		case *setting:
			out[path+key] = v
		case map[string]any:
			for k, s := range flatten(v, path+key+".") {
				out[k] = s
			}
		}
	}
	return out
}

// open writes the headings of the sections that path is in and before was not, and returns path's indentation.
func (s schema) open(b *strings.Builder, before, path string) (indent string) {
	if before != "" {
		b.WriteByte('\n')
	}
	parts := strings.Split(path, ".")
	for i := range len(parts) - 1 {
		outer := strings.Join(parts[:i+1], ".")
		if !strings.HasPrefix(before, outer+".") {
			x, _ := s.section(outer)
			comment(b, indent, x.doc)
			fmt.Fprintf(b, "%s%s:\n", indent, parts[i])
		}
		indent += "  "
	}
	return indent
}

func last(path string) string { return path[strings.LastIndexByte(path, '.')+1:] }

// comment writes text in lines of at most 100 letters.
func comment(b *strings.Builder, indent, text string) {
	line := indent + "#"
	for word := range strings.FieldsSeq(text) {
		if len(line)+1+len(word) > 100 && line != indent+"#" {
			b.WriteString(line + "\n")
			line = indent + "#"
		}
		line += " " + word
	}
	if line != indent+"#" {
		b.WriteString(line + "\n")
	}
}

// render is v as YAML, in one line.
func render(v reflect.Value) (string, error) {
	n, err := node(v)
	if err != nil {
		return "", err
	}
	text, err := yaml.Marshal(n)
	return strings.TrimSuffix(string(text), "\n"), err
}

func node(v reflect.Value) (*yaml.Node, error) {
	if v.Kind() == reflect.Slice && !isText(v.Type()) {
		list := &yaml.Node{Kind: yaml.SequenceNode, Style: yaml.FlowStyle}
		for i := range v.Len() {
			item, err := node(v.Index(i))
			if err != nil {
				return nil, err
			}
			list.Content = append(list.Content, item)
		}
		return list, nil
	}
	if v.Type() == durationType {
		return plain(short(time.Duration(v.Int()))), nil
	}
	p := reflect.New(v.Type()) // methods may be on the value or on the pointer
	p.Elem().Set(v)
	switch x := p.Interface().(type) {
	case encoding.TextMarshaler:
		text, err := x.MarshalText()
		return quoted(string(text)), err
	case fmt.Stringer:
		if isText(v.Type()) {
			return quoted(x.String()), nil
		}
	}
	if v.Kind() == reflect.String {
		return quoted(v.String()), nil
	}
	return plain(fmt.Sprint(v.Interface())), nil
}

func plain(text string) *yaml.Node { return &yaml.Node{Kind: yaml.ScalarNode, Value: text} }

// quoted is text in quotes if it would be something else without them; never over several lines.
func quoted(text string) *yaml.Node {
	n := &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: text}
	if text == "" || strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r > '~' }) {
		n.Style = yaml.DoubleQuotedStyle
	}
	return n
}

// short is d without the zeros that String adds: 1m, not 1m0s.
func short(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}
