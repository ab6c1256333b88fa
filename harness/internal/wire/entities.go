package wire

import (
	"reflect"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// Requests and answers name the same things by the same fields: Topics of Partitions, Groups, Members, Transactions.
// So what has to be done at every entity is done here once, for all kinds, by those names.

// named are the fields that say which entity something is about; what else an answer with an error keeps is true
// whatever went wrong.
var named = []string{
	"Topic", "TopicID", "Partition", "Group", "MemberID", "InstanceID", "TransactionalID", "Key", "ResourceType", "ResourceName",
	"Version", "SessionID", "Brokers", "ClusterID", "ControllerID",
}

// bare is the name of an entity where a request lists no more than that: Partitions []int32, Groups []string.
var bare = map[string]string{"Partitions": "Partition", "Groups": "Group"}

const code = "ErrorCode"

// lists are the fields of an answer's struct that list entities with a code, at whatever depth.
func lists(t reflect.Type) []int {
	var out []int
	for i := range t.NumField() {
		f := t.Field(i).Type
		if f.Kind() != reflect.Slice || f.Elem().Kind() != reflect.Struct {
			continue
		}
		if _, ok := f.Elem().FieldByName(code); ok || len(lists(f.Elem())) > 0 {
			out = append(out, i)
		}
	}
	return out
}

// fresh is a new t with the protocol's defaults.
func fresh(t reflect.Type) reflect.Value {
	v := reflect.New(t)
	if d, ok := v.Interface().(interface{ Default() }); ok {
		d.Default()
	}
	return v.Elem()
}

// mirror lists in resp the entities of req.
func mirror(resp kmsg.Response, req kmsg.Request) {
	mirrorStruct(reflect.ValueOf(resp).Elem(), reflect.ValueOf(req).Elem())
}

func mirrorStruct(dst, src reflect.Value) {
	for _, name := range named {
		copyField(dst, src.FieldByName(name), name)
	}
	for _, i := range lists(dst.Type()) {
		name := dst.Type().Field(i).Name
		from := src.FieldByName(name)
		if !from.IsValid() || from.Kind() != reflect.Slice {
			continue
		}
		for j := range from.Len() {
			entity := fresh(dst.Field(i).Type().Elem())
			if from.Index(j).Kind() == reflect.Struct {
				mirrorStruct(entity, from.Index(j))
			} else {
				copyField(entity, from.Index(j), bare[name])
			}
			dst.Field(i).Set(reflect.Append(dst.Field(i), entity))
		}
	}
}

func copyField(dst, from reflect.Value, name string) {
	if to := dst.FieldByName(name); to.IsValid() && from.IsValid() && to.Type() == from.Type() {
		to.Set(from)
	}
}

// blank leaves of an answer the names of its entities.
func blank(resp kmsg.Response) { blankStruct(reflect.ValueOf(resp).Elem()) }

func blankStruct(v reflect.Value) {
	was := reflect.New(v.Type()).Elem()
	was.Set(v)
	v.Set(fresh(v.Type()))
	for _, name := range named {
		copyField(v, was.FieldByName(name), name)
	}
	for _, i := range lists(v.Type()) {
		v.Field(i).Set(was.Field(i))
		for j := range v.Field(i).Len() {
			blankStruct(v.Field(i).Index(j))
		}
	}
}

// stamp sets the code of the innermost entities, and reports whether there was one to set.
func stamp(resp kmsg.Response, to int16) bool {
	return stampStruct(reflect.ValueOf(resp).Elem(), to)
}

func stampStruct(v reflect.Value, to int16) bool {
	done := false
	for _, i := range lists(v.Type()) {
		for j := range v.Field(i).Len() {
			done = stampStruct(v.Field(i).Index(j), to) || done
		}
	}
	f := v.FieldByName(code)
	if done || !f.IsValid() {
		return done
	}
	f.SetInt(int64(to))
	return true
}
