package opsconfig

import (
	"errors"
	"fmt"
	"reflect"
	"strings"

	"github.com/knadh/koanf/providers/env/v2"
	"github.com/knadh/koanf/v2"
)

// Load returns defaults, changed by file, changed by environ.
//
// The file "" is none; any other must exist. Of environ, which is a list like os.Environ's, the variables count whose
// names begin with envPrefix and "_"; the prefix "" is for none. What is wrong is reported all at once, not one at a
// time. When all is well and T has the method Validate() error, that has the last word.
func Load[T any](defaults T, file, envPrefix string, environ []string) (T, error) {
	var none T
	schema, err := schemaOf(reflect.TypeFor[T]())
	if err != nil {
		return none, err
	}
	layers := koanf.New(".") // later layers override earlier ones
	var errs []error
	if file != "" {
		errs = append(errs, loadFile(layers, schema, file)...)
	}
	if envPrefix != "" {
		errs = append(errs, loadEnv(layers, schema, strings.TrimSuffix(envPrefix, "_")+"_", environ)...)
	}

	config := defaults
	for _, f := range schema.fields {
		if s, ok := layers.Get(f.path).(*setting); ok {
			if err := put(reflect.ValueOf(&config).Elem().FieldByIndex(f.index), f, *s); err != nil {
				errs = append(errs, err)
			}
		}
	}
	if err := errors.Join(errs...); err != nil {
		return none, err
	}
	if v, ok := any(&config).(interface{ Validate() error }); ok {
		if err := v.Validate(); err != nil {
			return none, fmt.Errorf("configuration: %w", err)
		}
	}
	return config, nil
}

func loadFile(layers *koanf.Koanf, s schema, name string) []error {
	f := &file{name: name, schema: s}
	if err := layers.Load(f, nil); err != nil {
		return []error{err}
	}
	return f.errs
}

// loadEnv adds the variables that begin with prefix, which ends in "_".
func loadEnv(layers *koanf.Koanf, s schema, prefix string, environ []string) []error {
	paths := map[string]field{}
	var known []string
	for _, f := range s.fields {
		paths[f.env(prefix)] = f
		known = append(known, f.env(prefix))
	}
	var errs []error
	provider := env.Provider(".", env.Opt{
		Prefix:      prefix,
		EnvironFunc: func() []string { return environ },
		TransformFunc: func(name, text string) (string, any) {
			f, ok := paths[name]
			if !ok {
				errs = append(errs, fmt.Errorf("environment: unknown variable %s%s", name, suggestion(name, known)))
				return "", nil
			}
			return f.path, fromEnv(f, name, text)
		},
	})
	if err := layers.Load(provider, nil); err != nil {
		errs = append(errs, err)
	}
	return errs
}

// fromEnv splits lists: in the environment everything is one line.
func fromEnv(f field, name, text string) *setting {
	s := &setting{Text: text, Source: "environment " + name}
	if f.typ.Kind() != reflect.Slice || isText(f.typ) {
		return s
	}
	s.List, s.Items = true, []string{}
	if strings.TrimSpace(text) == "" {
		return s
	}
	for item := range strings.SplitSeq(text, ",") {
		s.Items = append(s.Items, strings.TrimSpace(item))
	}
	return s
}
