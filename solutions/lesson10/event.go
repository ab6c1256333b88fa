package lesson10

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math/bits"
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
// digits that the currency does not have are undecodable unless they are 0, and so are an exponent, a point without digits
// behind it, an unknown currency, a currency without an amount, both amounts at once, and what exceeds an int64 of minor
// units. The zone beside an at that has an offset is not looked at. A local time that the zone's clocks skip is undecodable; of one that they
// show twice the earlier is meant.
func Normalise(value []byte) (Event, error) {
	d := decoder{piece: 256}
	e, err := d.normalise(bytes.Clone(value))
	if err != nil {
		return Event{}, err
	}
	return *e, nil
}

// decoder normalises many values, one after the other, in the same memory.
type decoder struct {
	reader reader
	piece  int // how many bytes of texts share memory
	texts  strings.Builder
	event  Event
	extra  map[string]json.RawMessage // the memory of the event's Extra
	list   []json.RawMessage          // and of its Items
}

// normalise is Normalise of a value that nobody changes afterwards: what is kept as it came is a part of it. The event
// is good until the next call, unless it is taken out.
func (d *decoder) normalise(value []byte) (*Event, error) {
	e := &d.event
	*e = Event{}
	var at, zone, amount, minor, currency []byte
	err := d.members(value, func(name, raw []byte, asItCame json.RawMessage) (err error) {
		switch string(name) {
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
			e.ID, err = d.text("id", raw)
		case "type":
			e.Type, err = d.lower("type", raw)
		case "customer":
			e.Customer, err = d.lower("customer", raw)
		case "name":
			e.Name, err = d.text("name", raw)
		case "email":
			e.Email, err = d.lower("email", raw)
		case "country":
			e.Country, err = d.upper("country", raw)
		case "segment":
			e.Segment, err = d.text("segment", raw)
		case "risk":
			e.Risk, err = d.text("risk", raw)
		case "items":
			e.Items, err = d.items(raw, asItCame)
		default:
			if e.Extra == nil {
				e.Extra = d.unknown()
			}
			e.Extra[d.keep(name)] = asItCame
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	for _, needed := range [...]struct{ name, value string }{{"id", e.ID}, {"type", e.Type}, {"customer", e.Customer}} {
		if needed.value == "" {
			return nil, refuse(needed.name + " is missing")
		}
	}
	if e.At, err = d.instant(at, zone); err != nil {
		return nil, err
	}
	if e.Money, err = d.money(amount, minor, currency); err != nil {
		return nil, err
	}
	return e, nil
}

// take takes the latest event out: its memory is not used again.
func (d *decoder) take() *Event {
	e := d.event
	d.extra, d.list = nil, nil
	return &e
}

// unknown is an empty map. One that was large is not used again: to clear it would take long each time.
func (d *decoder) unknown() map[string]json.RawMessage {
	if d.extra == nil || len(d.extra) > 8 {
		d.extra = map[string]json.RawMessage{}
	}
	clear(d.extra)
	return d.extra
}

// Encode is the one form of an event: what encoding/json makes of a map, members sorted by name, no white space. Absent
// is what is empty. at is RFC 3339 in UTC; Money is amount_minor and currency. The same event is the same bytes.
func (e Event) Encode() []byte { return e.appendTo(make([]byte, 0, 512)) }

// appendTo appends what Encode returns.
func (e *Event) appendTo(out []byte) []byte {
	start := len(out)
	type unknown struct {
		name string
		raw  json.RawMessage
	}
	extra := make([]unknown, 0, 16)
	for name, raw := range e.Extra {
		extra = append(extra, unknown{name, raw})
	}
	slices.SortFunc(extra, func(a, b unknown) int { return strings.Compare(a.name, b.name) })
	out = append(out, '{')
	member := func(name string) {
		for len(extra) > 0 && extra[0].name < name {
			out = append(appendText(out, extra[0].name), ':')
			out = append(append(out, extra[0].raw...), ',')
			extra = extra[1:]
		}
		if name != afterAll {
			out = append(append(append(out, '"'), name...), `":`...)
		}
	}
	words := func(name, value string) {
		if value != "" {
			member(name)
			out = append(appendText(out, value), ',')
		}
	}
	if e.Money != nil {
		member("amount_minor")
		out = append(strconv.AppendInt(out, e.Money.Minor, 10), ',')
	}
	if !e.At.IsZero() {
		member("at")
		out = append(e.At.UTC().AppendFormat(append(out, '"'), time.RFC3339Nano), `",`...)
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
		out = append(out, '[')
		for _, item := range e.Items {
			out = append(append(out, item...), ',')
		}
		out[len(out)-1] = ']'
		out = append(out, ',')
	}
	words("name", e.Name)
	words("risk", e.Risk)
	words("segment", e.Segment)
	words("type", e.Type)
	member(afterAll)
	if len(out) == start+1 {
		return append(out, '}')
	}
	out[len(out)-1] = '}' // in place of the last comma
	return out
}

// afterAll sorts behind every name in UTF-8.
const afterAll = "\xff"

func appendText(out []byte, s string) []byte {
	if plain(s, 0) < len(s) {
		quoted, _ := json.Marshal(s) // of a string it cannot fail
		return append(out, quoted...)
	}
	return append(append(append(out, '"'), s...), '"')
}

// plain is where the first byte from i on is that JSON may have to treat in some way of its own: what ends or escapes a
// text, control characters, what encoding/json escapes for the sake of HTML, and what is not ASCII. It looks at eight
// bytes at once, since nearly all of a large event is text.
func plain[T string | []byte](s T, i int) int {
	const ones, high = 0x0101010101010101, 0x8080808080808080
	for ; i+8 <= len(s); i += 8 {
		w := s[i : i+8]
		x := uint64(w[0]) | uint64(w[1])<<8 | uint64(w[2])<<16 | uint64(w[3])<<24 | uint64(w[4])<<32 | uint64(w[5])<<40 | uint64(w[6])<<48 | uint64(w[7])<<56
		quote := x&(ones*0xfb) ^ ones*'"' // and '&', which is one bit away
		angle := x&(ones*0xfd) ^ ones*'<' // and '>'
		slash := x ^ ones*'\\'
		// Only a byte that is hit itself borrows from the next one, so that the first hit is true.
		if hits := (x | (x - ones*' ') | (quote - ones) | (angle - ones) | (slash - ones)) & high; hits != 0 {
			return i + bits.TrailingZeros64(hits)/8
		}
	}
	for ; i < len(s); i++ {
		if c := s[i]; c < ' ' || c >= utf8.RuneSelf || c == '"' || c == '\\' || c == '<' || c == '>' || c == '&' {
			break
		}
	}
	return i
}

func refuse(why string) error { return fmt.Errorf("%w: %s", ErrUndecodable, why) }

// members calls f for each member of an object, with its value as it stands there and as encoding/json would write it. It
// reads the value once, without a map in between: of what a pipeline does to a record, reading it is the most.
func (d *decoder) members(value []byte, f func(name, raw []byte, asItCame json.RawMessage) error) error {
	r := &d.reader
	*r = reader{s: value, parts: r.parts}
	i := r.space(0)
	if i == len(r.s) || r.s[i] != '{' {
		return refuse("not an object")
	}
	i = r.space(i + 1)
	for first := true; ; first = false {
		if i < len(r.s) && r.s[i] == '}' {
			break
		}
		if !first {
			i = r.next(i, ',')
		}
		r.escaped = false
		end := r.text(i)
		if end < 0 {
			return refuse("not JSON")
		}
		name := r.s[i+1 : end-1]
		if r.escaped {
			var err error
			if name, err = unquote(r.s[i:end]); err != nil {
				return err
			}
		}
		i, r.loose, r.parts = r.next(end, ':'), false, r.parts[:0]
		if end = r.value(i, 1); end < 0 {
			return refuse("not JSON")
		}
		raw := r.s[i:end:end]
		asItCame := json.RawMessage(raw)
		if r.loose {
			asItCame = compact(raw)
		}
		if err := f(name, raw, asItCame); err != nil {
			return err
		}
		i = r.space(end)
	}
	if r.space(i+1) != len(r.s) {
		return refuse("not JSON")
	}
	if r.foreign && !utf8.Valid(r.s) {
		return refuse("not UTF-8")
	}
	return nil
}

// reader checks the syntax of JSON and finds where things end. All its methods return -1 for what is none, and for -1.
type reader struct {
	s       []byte
	loose   bool     // there was something that encoding/json would not have written
	foreign bool     // there was something that is not ASCII
	escaped bool     // there was a backslash
	parts   [][]byte // of the array that is the value of the latest member
}

func (r *reader) space(i int) int {
	for uint(i) < uint(len(r.s)) && r.s[i] <= ' ' && (r.s[i] == ' ' || r.s[i] == '\t' || r.s[i] == '\n' || r.s[i] == '\r') {
		r.loose = true
		i++
	}
	return i
}

// next is what follows a certain mark, with white space around it.
func (r *reader) next(i int, mark byte) int {
	if i = r.space(i); uint(i) >= uint(len(r.s)) || r.s[i] != mark {
		return -1
	}
	return r.space(i + 1)
}

// maxDepth is encoding/json's: a reader that uses it must not be given more.
const maxDepth = 10_000

// value is the end of the value that begins at i.
func (r *reader) value(i, depth int) int {
	if uint(i) >= uint(len(r.s)) || depth > maxDepth {
		return -1
	}
	switch c := r.s[i]; c {
	case '"':
		return r.text(i)
	case '{', '[':
		return r.all(i, depth, c)
	case 't':
		return r.word(i, "true")
	case 'f':
		return r.word(i, "false")
	case 'n':
		return r.word(i, "null")
	}
	return r.number(i)
}

// all is the end of an object or array.
func (r *reader) all(i, depth int, opening byte) int {
	closing := opening + 2 // as ASCII has them
	if i = r.space(i + 1); i < len(r.s) && r.s[i] == closing {
		return i + 1
	}
	for i >= 0 {
		if opening == '{' {
			i = r.next(r.text(i), ':')
		}
		end := r.value(i, depth+1)
		if depth == 1 && opening == '[' && end >= 0 {
			r.parts = append(r.parts, r.s[i:end:end])
		}
		if i = r.space(end); uint(i) < uint(len(r.s)) && r.s[i] == closing {
			return i + 1
		}
		i = r.next(i, ',')
	}
	return -1
}

func (r *reader) word(i int, word string) int {
	if len(r.s)-i < len(word) || string(r.s[i:i+len(word)]) != word {
		return -1
	}
	return i + len(word)
}

// text is the end of a text.
func (r *reader) text(i int) int {
	s := r.s
	if uint(i) >= uint(len(s)) || s[i] != '"' {
		return -1
	}
	for i = plain(s, i+1); i < len(s); i = plain(s, i) {
		switch c := s[i]; {
		case c == '"':
			return i + 1
		case c < ' ':
			return -1
		case c == '\\' && i+1 < len(s) && strings.IndexByte(`"\/bfnrt`, s[i+1]) >= 0:
			r.escaped = true
			i += 2
		case c == '\\' && i+6 <= len(s) && s[i+1] == 'u' && strings.Trim(string(s[i+2:i+6]), "0123456789abcdefABCDEF") == "":
			r.escaped = true
			i += 6
		case c == '\\':
			return -1
		case c < utf8.RuneSelf:
			r.loose = true // encoding/json escapes it, for the sake of HTML
			i++
		default:
			r.foreign = true
			if bytes.HasPrefix(s[i:], []byte("\u2028")) || bytes.HasPrefix(s[i:], []byte("\u2029")) {
				r.loose = true // likewise
			}
			i++
		}
	}
	return -1
}

// number is the end of a number: [-] digits without leading zeros [. digits] [e [+-] digits].
func (r *reader) number(i int) int {
	s := r.s
	if i < len(s) && s[i] == '-' {
		i++
	}
	whole := i
	if i = pastDigits(s, i); i == whole || s[whole] == '0' && i > whole+1 {
		return -1
	}
	if i < len(s) && s[i] == '.' {
		fraction := i + 1
		if i = pastDigits(s, fraction); i == fraction {
			return -1
		}
	}
	if i < len(s) && (s[i] == 'e' || s[i] == 'E') {
		if i++; i < len(s) && (s[i] == '+' || s[i] == '-') {
			i++
		}
		exponent := i
		if i = pastDigits(s, exponent); i == exponent {
			return -1
		}
	}
	return i
}

// pastDigits is where the digits from i on end.
func pastDigits[T string | []byte](s T, i int) int {
	for i < len(s) && '0' <= s[i] && s[i] <= '9' {
		i++
	}
	return i
}

// unquote is what a text says: a part of it, or a copy if it escapes anything.
func unquote(raw []byte) ([]byte, error) {
	if bytes.IndexByte(raw, '\\') < 0 {
		return raw[1 : len(raw)-1], nil
	}
	var s string
	if json.Unmarshal(raw, &s) != nil {
		return nil, refuse("a text that is none")
	}
	return []byte(s), nil
}

// keep is a copy of b. Most texts are short, so that many share a piece of memory.
func (d *decoder) keep(b []byte) string {
	if d.texts.Cap()-d.texts.Len() < len(b) {
		d.texts.Reset()
		d.texts.Grow(max(d.piece, len(b)))
	}
	from := d.texts.Len()
	d.texts.Write(b)
	return d.texts.String()[from:]
}

func absent(raw []byte) bool { return len(raw) == 0 || string(raw) == "null" }

// text is a text member, trimmed and in normal form C.
func (d *decoder) text(name string, raw []byte) (string, error) {
	if absent(raw) {
		return "", nil
	}
	if raw[0] != '"' {
		return "", refuse(name + " is not a text")
	}
	b, err := unquote(raw)
	return tidy(d.keep(b)), err
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

func (d *decoder) lower(name string, raw []byte) (string, error) {
	s, err := d.text(name, raw)
	return settled(s, strings.ToLower), err
}

func (d *decoder) upper(name string, raw []byte) (string, error) {
	s, err := d.text(name, raw)
	return settled(s, strings.ToUpper), err
}

// settled applies a change of case until it changes nothing: the case of a letter and its normal form depend on each
// other, and f(f(x)) has to be f(x).
func settled(s string, change func(string) string) string {
	for {
		next := change(s)
		if next != s { // s is tidy
			next = tidy(next)
		}
		if next == s {
			return s
		}
		s = next
	}
}

func (d *decoder) items(raw []byte, asItCame json.RawMessage) ([]json.RawMessage, error) {
	if absent(raw) {
		return nil, nil
	}
	if raw[0] != '[' {
		return nil, refuse("items are no array")
	}
	parts := d.reader.parts
	if d.reader.loose { // those are of raw, and it is another copy that is kept
		r := reader{s: asItCame}
		r.value(0, 1)
		parts = r.parts
	}
	d.list = d.list[:0]
	for _, part := range parts {
		if part[0] != '{' {
			return nil, refuse("an item is no object")
		}
		d.list = append(d.list, part)
	}
	return d.list, nil
}

// compact is a copy as encoding/json would write it: a replay that was formatted anew is the same event.
func compact(raw []byte) json.RawMessage {
	out, err := json.Marshal(json.RawMessage(raw))
	if err != nil {
		return raw
	}
	return out
}

// instant reads when something happened.
func (d *decoder) instant(rawAt, rawZone []byte) (time.Time, error) {
	at, err := d.text("at", rawAt)
	if err != nil || at == "" {
		return time.Time{}, err
	}
	t, err := time.Parse(time.RFC3339, at)
	if err != nil {
		if t, err = d.localTime(at, rawZone); err != nil {
			return time.Time{}, err
		}
	}
	t = t.UTC()
	if year := t.Year(); year < 1 || year > 9999 || t.IsZero() {
		return time.Time{}, refuse("at is out of range")
	}
	return t, nil
}

const local = "2006-01-02T15:04:05"

func (d *decoder) localTime(at string, rawZone []byte) (time.Time, error) {
	zone, err := d.text("zone", rawZone)
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
func (d *decoder) money(amount, minor, rawCurrency []byte) (*Money, error) {
	currency, err := d.upper("currency", rawCurrency)
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
		if s, err = d.text("amount", amount); err != nil {
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
	all := whole + fraction + "000"[:digits-len(fraction)]
	if pastDigits(all, 0) < len(all) {
		return 0, false
	}
	if negative {
		all = "-" + all
	}
	n, err := strconv.ParseInt(all, 10, 64)
	return n, err == nil
}
