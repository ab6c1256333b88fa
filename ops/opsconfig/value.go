package opsconfig

import (
	"encoding"
	"errors"
	"fmt"
	"math"
	"reflect"
	"strconv"
	"strings"
	"time"
)

// setting is a value as it was written, and where. Its fields are exported because koanf copies what it hands out.
type setting struct {
	Text   string
	Items  []string // instead of Text, if it is a list
	List   bool
	Source string // "config.yaml:3", "environment LESSON07_GROUP"
}

// String is the value for an error message.
func (s setting) String() string {
	if s.List {
		return fmt.Sprintf("%q", s.Items)
	}
	return strconv.Quote(s.Text)
}

// put sets v, of field f's type, to what s says.
func put(v reflect.Value, f field, s setting) error {
	err := assign(v, s)
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %s = %v: expected %s%w", s.Source, f.path, s, expected(f.typ), reason{err})
}

// reason adds what a type's own UnmarshalText says, if anything.
type reason struct{ error }

func (r reason) Error() string {
	if errors.Is(r.error, errSyntax) {
		return ""
	}
	return ": " + r.error.Error()
}

func (r reason) Unwrap() error { return r.error }

// errSyntax: the value is not of its type, and there is no more to say than what was expected.
var errSyntax = errors.New("not of its type")

func assign(v reflect.Value, s setting) error {
	if v.Kind() != reflect.Slice || isText(v.Type()) {
		if s.List {
			return errSyntax
		}
		return assignScalar(v, s.Text)
	}
	if !s.List {
		return errSyntax
	}
	// A new list: the defaults' own must not be written into.
	list := reflect.MakeSlice(v.Type(), len(s.Items), len(s.Items))
	for i, item := range s.Items {
		if err := assignScalar(list.Index(i), item); err != nil {
			return err
		}
	}
	v.Set(list)
	return nil
}

func assignScalar(v reflect.Value, text string) error {
	if isText(v.Type()) {
		// Into a value of its own: an UnmarshalText that fails may have written half of it.
		fresh := reflect.New(v.Type())
		if err := fresh.Interface().(encoding.TextUnmarshaler).UnmarshalText([]byte(text)); err != nil {
			return err
		}
		v.Set(fresh.Elem())
		return nil
	}
	if v.Type() == durationType {
		d, err := time.ParseDuration(text)
		if err != nil {
			return errSyntax
		}
		v.SetInt(int64(d))
		return nil
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString(text)
		return nil
	case reflect.Bool:
		// Not ParseBool: "1" and "t" for true are more often a slip than meant.
		switch strings.ToLower(text) {
		case "true":
			v.SetBool(true)
			return nil
		case "false":
			v.SetBool(false)
			return nil
		}
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		if n, err := strconv.ParseInt(text, 10, v.Type().Bits()); err == nil {
			v.SetInt(n)
			return nil
		}
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		if n, err := strconv.ParseUint(text, 10, v.Type().Bits()); err == nil {
			v.SetUint(n)
			return nil
		}
	case reflect.Float32, reflect.Float64:
		// NaN would pass every check of the kind "x < 0 is an error".
		if x, err := strconv.ParseFloat(text, v.Type().Bits()); err == nil && !math.IsNaN(x) && !math.IsInf(x, 0) {
			v.SetFloat(x)
			return nil
		}
	}
	return errSyntax
}

// expected says what a value of t looks like.
func expected(t reflect.Type) string {
	switch {
	case isText(t):
		words := strings.ReplaceAll(snake(t.Name()), "_", " ")
		if words == "" { // an unnamed type
			return "another value"
		}
		if strings.ContainsAny(words[:1], "aeiou") {
			return "an " + words
		}
		return "a " + words
	case t.Kind() == reflect.Slice:
		return "a list, each item " + expected(t.Elem())
	case t == durationType:
		return "a duration with its unit, such as 45s or 1m30s"
	}
	switch t.Kind() {
	case reflect.Bool:
		return "true or false"
	case reflect.Float32, reflect.Float64:
		return "a number"
	case reflect.String:
		return "one text"
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return "a whole number from 0 to " + strconv.FormatUint(math.MaxUint64>>(64-t.Bits()), 10)
	}
	limit := uint64(1) << (t.Bits() - 1)
	return fmt.Sprintf("a whole number from -%d to %d", limit, limit-1)
}
