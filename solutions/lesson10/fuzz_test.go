package lesson10_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	lesson10 "github.com/kafka-katas/kafka-katas/solutions/lesson10"
)

// FuzzDecode holds the decoder against encoding/json: what it takes is an object, what it does not know comes out as it
// went in, and its output is its own normal form. testdata/fuzz keeps what once went wrong.
func FuzzDecode(f *testing.F) {
	f.Add([]byte(`{"id":"e-1","type":"x","customer":"c","items":[{"a":[1,{"b":"]}"}]},{}],"x":{"y":"{\"z\":1}"},"":0}`))
	f.Add([]byte("{ \"id\" : \"e-1\",\n\"type\":\"x\",\"customer\":\"c\",\"a\":[-0.5e+7,true,{},[ ],\"<\u2028>& \\u00e9 a long text, of more than eight bytes\"],\"items\":[ {} , {\"q\":null} ]}"))
	f.Add([]byte(`{"id":"e-1","type":"paid","customer":"C-1","amount":"12.50","currency":"eur","at":"2026-03-29T03:30:00","zone":"Europe/Vienna","name":" A  b "}`))
	f.Fuzz(func(t *testing.T, value []byte) {
		e, err := lesson10.Normalise(value)
		if err != nil {
			if !errors.Is(err, lesson10.ErrUndecodable) {
				t.Fatalf("%v does not wrap ErrUndecodable", err)
			}
			if strings.HasSuffix(err.Error(), "not JSON") && json.Valid(value) {
				t.Fatalf("encoding/json takes it: %v", err)
			}
			return
		}
		var in map[string]json.RawMessage
		if err := json.Unmarshal(value, &in); err != nil {
			t.Fatalf("encoding/json refuses it: %v", err)
		}
		for name := range e.Extra {
			if _, ok := in[name]; !ok {
				t.Fatalf("member %q was not there", name)
			}
		}
		out := e.Encode()
		var canonical map[string]json.RawMessage
		if err := json.Unmarshal(out, &canonical); err != nil {
			t.Fatalf("%s is no object: %v", out, err)
		}
		if again, err := json.Marshal(canonical); err != nil || !bytes.Equal(again, out) {
			t.Fatalf("Encode says %s, encoding/json %s (%v)", out, again, err)
		}
		twice, err := lesson10.Normalise(out)
		if err != nil || !bytes.Equal(twice.Encode(), out) {
			t.Fatalf("%s becomes %s (%v)", out, twice.Encode(), err)
		}
	})
}
