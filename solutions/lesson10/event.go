package lesson10

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
	_ "time/tzdata" // a container without zone files must not normalise differently
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// ErrUndecodable is what Normalise's errors wrap: no retry will make this value readable.
var ErrUndecodable = errors.New("undecodable event")

// Event is one customer event in its normal form: equal facts are equal bytes.
type Event struct {
	ID       string // never empty
	Type     string // never empty; "order.placed", lower case. A type that nobody has heard of is as good as any
	Customer string // never empty; lower case
	Name     string
	Email    string // lower case
	Country  string // upper case

	At    time.Time // when it happened, in UTC; zero if the value does not say
	Money *Money    // nil if the value has none

	Segment string // by the reference table
	Risk    string // by the enrichment service

	Items []json.RawMessage          // each as it came
	Extra map[string]json.RawMessage // members that this version does not know, as they came
}

// Money is an amount in the minor unit of its currency: cents for EUR, yen for JPY, fils for KWD.
type Money struct {
	Minor    int64
	Currency string
}

// minorDigits are how many digits a currency has behind the point.
var minorDigits = map[string]int{
	"EUR": 2, "USD": 2, "GBP": 2, "CHF": 2, "SEK": 2, "PLN": 2, "CZK": 2, "JPY": 0, "KRW": 0, "KWD": 3, "BHD": 3, "TND": 3,
}

// Normalise decodes a value and brings it to its normal form. Normalising what Encode made of the result changes nothing:
// f(f(x)) = f(x). It has no side effect and looks at no clock. Any bytes may come; a panic is a bug. An error wraps
// ErrUndecodable and does not quote the value: it goes into headers and logs.
//
// A value is one JSON object in valid UTF-8. These members are known; their names are matched exactly:
//
//	id, type, customer   text, needed, not empty when trimmed. type and customer become lower case
//	name, email, country text. email becomes lower case, country upper case
//	at                   RFC 3339, or local time "2006-01-02T15:04:05" with zone; becomes UTC
//	zone                 IANA name such as "Europe/Vienna"; needed by a local at, and not kept
//	amount, currency     decimal text or number such as "12.50" or 12.5, and EUR, USD, GBP, CHF, SEK, PLN, CZK (two digits
//	                     behind the point), JPY, KRW (none), KWD, BHD, TND (three)
//	amount_minor         what amount becomes: a whole number of minor units. Either of the two, with currency
//	segment, risk        text: what an enrichment has put there
//	items                an array of objects, each kept as it came
//
// All other members go to Extra, as they came. A known member that is null counts as absent.
//
// Text is trimmed, runs of white space inside become one space, and it is in Unicode normal form C. An amount is exact:
// digits that the currency does not have are undecodable unless they are 0, and so are an exponent, an unknown currency
// and what exceeds an int64 of minor units. A local time that the zone's clocks skip is undecodable; of one that they
// show twice the earlier is meant.
func Normalise(value []byte) (Event, error) {
	var e Event
	if !utf8.Valid(value) {
		return e, refuse("not UTF-8")
	}
	if !json.Valid(value) {
		return e, refuse("not JSON")
	}
	var at, zone, amount, minor, currency []byte
	err := members(value, func(name string, raw []byte) (err error) {
		switch name {
		case "at":
			at = raw
		case "zone":
			zone = raw
		case "amount":
			amount = raw
		case "amount_minor":
			minor = raw
		case "currency":
			currency = raw
		case "id":
			e.ID, err = text(name, raw)
		case "type":
			e.Type, err = lower(name, raw)
		case "customer":
			e.Customer, err = lower(name, raw)
		case "name":
			e.Name, err = text(name, raw)
		case "email":
			e.Email, err = lower(name, raw)
		case "country":
			e.Country, err = upper(name, raw)
		case "segment":
			e.Segment, err = text(name, raw)
		case "risk":
			e.Risk, err = text(name, raw)
		case "items":
			e.Items, err = items(raw)
		default:
			if e.Extra == nil {
				e.Extra = map[string]json.RawMessage{}
			}
			e.Extra[name] = compact(raw)
		}
		return err
	})
	if err != nil {
		return Event{}, err
	}
	for _, needed := range [...]struct{ name, value string }{{"id", e.ID}, {"type", e.Type}, {"customer", e.Customer}} {
		if needed.value == "" {
			return Event{}, refuse(needed.name + " is missing")
		}
	}
	if e.At, err = instant(at, zone); err != nil {
		return Event{}, err
	}
	if e.Money, err = money(amount, minor, currency); err != nil {
		return Event{}, err
	}
	return e, nil
}

// Encode is the one form of an event: what encoding/json makes of a map, members sorted by name, no white space. Absent
// is what is empty. at is RFC 3339 in UTC; Money is amount_minor and currency. The same event is the same bytes.
func (e Event) Encode() []byte {
	out := make([]byte, 0, 256)
	extra := make([]string, 0, 16)
	for name := range e.Extra {
		extra = append(extra, name)
	}
	slices.Sort(extra)
	member := func(name string) {
		for len(extra) > 0 && extra[0] < name {
			out = append(appendText(separated(out), extra[0]), ':')
			out = append(out, e.Extra[extra[0]]...)
			extra = extra[1:]
		}
		if name != afterAll {
			out = append(appendText(separated(out), name), ':')
		}
	}
	words := func(name, value string) {
		if value != "" {
			member(name)
			out = appendText(out, value)
		}
	}
	if e.Money != nil {
		member("amount_minor")
		out = strconv.AppendInt(out, e.Money.Minor, 10)
	}
	if !e.At.IsZero() {
		member("at")
		out = append(e.At.UTC().AppendFormat(append(out, '"'), time.RFC3339Nano), '"')
	}
	words("country", e.Country)
	if e.Money != nil {
		words("currency", e.Money.Currency)
	}
	words("customer", e.Customer)
	words("email", e.Email)
	words("id", e.ID)
	if len(e.Items) > 0 {
		member("items")
		out = append(append(append(out, '['), bytes.Join(raws(e.Items), []byte{','})...), ']')
	}
	words("name", e.Name)
	words("risk", e.Risk)
	words("segment", e.Segment)
	words("type", e.Type)
	member(afterAll)
	return append(separated(out)[:max(1, len(out))], '}')
}

// afterAll sorts behind every name in UTF-8.
const afterAll = "\xff"

// separated opens the object, or puts a comma behind its last member.
func separated(out []byte) []byte {
	if len(out) == 0 {
		return append(out, '{')
	}
	return append(out, ',')
}

func raws(items []json.RawMessage) [][]byte {
	out := make([][]byte, len(items))
	for i, item := range items {
		out[i] = item
	}
	return out
}

func appendText(out []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c >= utf8.RuneSelf || c == '"' || c == '\\' || c == '<' || c == '>' || c == '&' {
			quoted, _ := json.Marshal(s) // of a string it cannot fail
			return append(out, quoted...)
		}
	}
	return append(append(append(out, '"'), s...), '"')
}

func refuse(why string) error { return fmt.Errorf("%w: %s", ErrUndecodable, why) }

// members calls f for each member of an object that is known to be valid JSON, without a map in between: of what a
// pipeline does to a record, reading it is the most.
func members(value []byte, f func(name string, raw []byte) error) error {
	i := space(value, 0)
	if value[i] != '{' {
		return refuse("not an object")
	}
	for i = space(value, i+1); value[i] != '}'; i = space(value, i) {
		if value[i] == ',' {
			i = space(value, i+1)
		}
		end := skip(value, i)
		name, err := unquote(value[i:end])
		if err != nil {
			return err
		}
		i = space(value, space(value, end)+1) // the colon
		end = skip(value, i)
		if err := f(name, value[i:end]); err != nil {
			return err
		}
		i = end
	}
	return nil
}

func space(b []byte, i int) int {
	for b[i] == ' ' || b[i] == '\t' || b[i] == '\n' || b[i] == '\r' {
		i++
	}
	return i
}

// skip is the end of the JSON value that begins at i.
func skip(b []byte, i int) int {
	depth := 0
	for ; i < len(b); i++ {
		switch b[i] {
		case '"':
			for i++; b[i] != '"'; i++ {
				if b[i] == '\\' {
					i++
				}
			}
		case '{', '[':
			depth++
			continue
		case '}', ']':
			depth--
		default:
			if depth > 0 || !delimits(b[i+1]) {
				continue
			}
		}
		if depth == 0 {
			return i + 1
		}
	}
	return i
}

func delimits(c byte) bool { return c == ',' || c == '}' || c == ']' || c <= ' ' }

func unquote(raw []byte) (string, error) {
	if bytes.IndexByte(raw, '\\') < 0 {
		return string(raw[1 : len(raw)-1]), nil
	}
	var s string
	if json.Unmarshal(raw, &s) != nil {
		return "", refuse("a text that is none")
	}
	return s, nil
}

func absent(raw []byte) bool { return raw == nil || string(raw) == "null" }

// text is a text member, trimmed and in normal form C.
func text(name string, raw []byte) (string, error) {
	if absent(raw) {
		return "", nil
	}
	if raw[0] != '"' {
		return "", refuse(name + " is not a text")
	}
	s, err := unquote(raw)
	return tidy(s), err
}

func tidy(s string) string {
	plain := true
	for i := range len(s) {
		if c := s[i]; c <= ' ' && (c != ' ' || i == 0 || i == len(s)-1 || s[i-1] == ' ') || c >= utf8.RuneSelf {
			plain = false
			break
		}
	}
	if plain {
		return s
	}
	return strings.Join(strings.Fields(norm.NFC.String(s)), " ")
}

func lower(name string, raw []byte) (string, error) {
	s, err := text(name, raw)
	return settled(s, strings.ToLower), err
}

func upper(name string, raw []byte) (string, error) {
	s, err := text(name, raw)
	return settled(s, strings.ToUpper), err
}

// settled applies a change of case until it changes nothing: the case of a letter and its normal form depend on each
// other, and f(f(x)) has to be f(x).
func settled(s string, change func(string) string) string {
	for {
		next := tidy(change(s))
		if next == s {
			return s
		}
		s = next
	}
}

func items(raw []byte) (out []json.RawMessage, err error) {
	if absent(raw) {
		return nil, nil
	}
	if json.Unmarshal(raw, &out) != nil {
		return nil, refuse("items are no array")
	}
	for i, item := range out {
		if out[i] = compact(item); item[0] != '{' {
			return nil, refuse("an item is no object")
		}
	}
	return out, nil
}

// compact is a copy without white space: a replay that was formatted anew is the same event.
func compact(raw []byte) json.RawMessage {
	if !bytes.ContainsAny(raw, " \t\r\n<>&\u2028\u2029") {
		return bytes.Clone(raw)
	}
	out, err := json.Marshal(json.RawMessage(raw))
	if err != nil {
		return bytes.Clone(raw)
	}
	return out
}

// instant reads when something happened.
func instant(rawAt, rawZone []byte) (time.Time, error) {
	at, err := text("at", rawAt)
	if err != nil || at == "" {
		return time.Time{}, err
	}
	t, err := time.Parse(time.RFC3339, at)
	if err != nil {
		if t, err = localTime(at, rawZone); err != nil {
			return time.Time{}, err
		}
	}
	if t = t.UTC(); t.Year() < 1 || t.Year() > 9999 || t.IsZero() {
		return time.Time{}, refuse("at is out of range")
	}
	return t, nil
}

const local = "2006-01-02T15:04:05"

func localTime(at string, rawZone []byte) (time.Time, error) {
	zone, err := text("zone", rawZone)
	if err != nil {
		return time.Time{}, err
	}
	there, err := location(zone)
	if err != nil {
		return time.Time{}, err
	}
	wall, err := time.Parse(local, at)
	if err != nil {
		return time.Time{}, refuse("at is no time")
	}
	// Whatever the offset was a day before and is a day after: those are the two that the clocks can show.
	for _, near := range [...]time.Time{wall.Add(-24 * time.Hour), wall.Add(24 * time.Hour)} {
		_, offset := near.In(there).Zone()
		if t := wall.Add(-time.Duration(offset) * time.Second); t.In(there).Format(local) == wall.Format(local) {
			return t, nil
		}
	}
	return time.Time{}, refuse("at is a time that the clocks of its zone skip")
}

// locations are the zones seen so far: the library reads a file for each.
var locations sync.Map

func location(zone string) (*time.Location, error) {
	if zone == "" || zone == "Local" {
		return nil, refuse("at has no zone")
	}
	if known, ok := locations.Load(zone); ok {
		return known.(*time.Location), nil
	}
	there, err := time.LoadLocation(zone)
	if err != nil {
		return nil, refuse("zone is unknown")
	}
	locations.Store(zone, there) // there are some hundred names that load, so that this is bounded
	return there, nil
}

// money reads an amount.
func money(amount, minor, rawCurrency []byte) (*Money, error) {
	currency, err := upper("currency", rawCurrency)
	switch {
	case err != nil:
		return nil, err
	case absent(amount) && absent(minor) && currency == "":
		return nil, nil
	case absent(amount) == absent(minor):
		return nil, refuse("currency wants one of amount and amount_minor")
	}
	digits, ok := minorDigits[currency]
	if !ok {
		return nil, refuse("currency is missing or unknown")
	}
	if !absent(minor) {
		n, err := strconv.ParseInt(string(minor), 10, 64)
		if err != nil {
			return nil, refuse("amount_minor is no whole number")
		}
		return &Money{n, currency}, nil
	}
	s := string(amount)
	if amount[0] == '"' {
		if s, err = text("amount", amount); err != nil {
			return nil, err
		}
	}
	n, ok := minorUnits(s, digits)
	if !ok {
		return nil, refuse("amount is no number of " + currency)
	}
	return &Money{n, currency}, nil
}

// minorUnits reads a decimal exactly. It never was a float: 0.29 is none.
func minorUnits(s string, digits int) (int64, bool) {
	s, negative := strings.CutPrefix(s, "-")
	whole, fraction, point := strings.Cut(s, ".")
	if whole == "" || point && fraction == "" {
		return 0, false
	}
	for len(fraction) > digits && strings.HasSuffix(fraction, "0") {
		fraction = fraction[:len(fraction)-1]
	}
	if len(fraction) > digits {
		return 0, false
	}
	all := whole + fraction + strings.Repeat("0", digits-len(fraction))
	if strings.Trim(all, "0123456789") != "" {
		return 0, false
	}
	if negative {
		all = "-" + all
	}
	n, err := strconv.ParseInt(all, 10, 64)
	return n, err == nil
}
