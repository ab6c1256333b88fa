package opsconfig

import (
	"encoding"
	"fmt"
	"reflect"
	"strings"
	"time"
	"unicode"
)

// field is a key that a configuration has.
type field struct {
	path  string // "retry.base"
	index []int  // for reflect.Value.FieldByIndex
	typ   reflect.Type
	doc   string
}

// env is the name of f in the environment. The prefix ends in "_".
func (f field) env(prefix string) string {
	return prefix + strings.ToUpper(strings.ReplaceAll(f.path, ".", "_"))
}

// section is a struct within the configuration.
type section struct {
	path, doc string
}

// schema is what keys a struct has, in the order of its fields.
type schema struct {
	fields   []field
	sections []section
}

func (s schema) field(path string) (field, bool) {
	for _, f := range s.fields {
		if f.path == path {
			return f, true
		}
	}
	return field{}, false
}

func (s schema) section(path string) (section, bool) {
	for _, x := range s.sections {
		if x.path == path {
			return x, true
		}
	}
	return section{}, false
}

// schemaOf reads t. An error of it is a mistake of the programmer, not of who configures.
func schemaOf(t reflect.Type) (schema, error) {
	var s schema
	if t.Kind() != reflect.Struct {
		return s, fmt.Errorf("a configuration is a struct, not %v", t)
	}
	if err := s.read(t, "", nil); err != nil {
		return s, err
	}
	// Two keys may differ and still be one name in the environment: retry.base and retry_base.
	seen := map[string]string{}
	for _, f := range s.fields {
		if other, ok := seen[f.env("")]; ok {
			return s, fmt.Errorf("%v: the keys %s and %s have the same name %s in the environment", t, other, f.path, f.env(""))
		}
		seen[f.env("")] = f.path
	}
	return s, nil
}

func (s *schema) read(t reflect.Type, path string, index []int) error {
	for i := range t.NumField() {
		sf := t.Field(i)
		name := sf.Tag.Get("config")
		if name == "-" || (!sf.IsExported() && !sf.Anonymous) {
			continue
		}
		if name == "" {
			name = snake(sf.Name)
		}
		at := append(index[:len(index):len(index)], i)
		if sf.Anonymous && sf.Type.Kind() == reflect.Struct && !isText(sf.Type) {
			if err := s.read(sf.Type, path, at); err != nil {
				return err
			}
			continue
		}
		f := field{path: strings.TrimPrefix(path+"."+name, "."), index: at, typ: sf.Type, doc: sf.Tag.Get("doc")}
		switch {
		case !sf.IsExported():
		case isScalar(f.typ), f.typ.Kind() == reflect.Slice && isScalar(f.typ.Elem()):
			s.fields = append(s.fields, f)
		case f.typ.Kind() == reflect.Struct:
			s.sections = append(s.sections, section{f.path, f.doc})
			if err := s.read(f.typ, f.path, at); err != nil {
				return err
			}
		case f.typ.Kind() == reflect.Func, f.typ.Kind() == reflect.Chan, f.typ.Kind() == reflect.Interface:
		default:
			return fmt.Errorf(`%v.%s: a %v cannot come from a file; tag it config:"-" if it should not`, t, sf.Name, f.typ)
		}
	}
	return nil
}

var (
	durationType = reflect.TypeFor[time.Duration]()
	textType     = reflect.TypeFor[encoding.TextUnmarshaler]()
)

func isText(t reflect.Type) bool { return reflect.PointerTo(t).Implements(textType) }

// isScalar says whether a value of t is written as one word.
func isScalar(t reflect.Type) bool {
	if isText(t) {
		return t.Kind() != reflect.Pointer && t.Kind() != reflect.Interface
	}
	switch t.Kind() {
	case reflect.String, reflect.Bool, reflect.Float32, reflect.Float64,
		reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return true
	}
	return false
}

// snake is a field's name as a key: DLTTopic is dlt_topic.
func snake(name string) string {
	var b strings.Builder
	runes := []rune(name)
	for i, r := range runes {
		if unicode.IsUpper(r) && i > 0 && runes[i-1] != '_' {
			afterLower := !unicode.IsUpper(runes[i-1])
			beforeLower := i+1 < len(runes) && unicode.IsLower(runes[i+1])
			if afterLower || beforeLower {
				b.WriteByte('_')
			}
		}
		b.WriteRune(unicode.ToLower(r))
	}
	return b.String()
}

// nearest is the known name that was probably meant, or "".
func nearest(name string, known []string) string {
	best, least := "", max(2, (len(name)+2)/3)+1
	for _, k := range known {
		if d := distance(strings.ToLower(name), strings.ToLower(k)); d < least {
			best, least = k, d
		}
	}
	return best
}

// distance is how many letters have to be changed, added or removed to make b of a.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
