package lesson08

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"slices"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// Headers that this package adds to what it passes on. Each is there once, however often the record was passed on; the
// record's own headers stay as they were, in their order, before them. Times are RFC 3339 in UTC with nanoseconds, numbers
// are decimal. A record of a source topic has come from nowhere: such headers of it are not read, and replaced; except
// HeaderRedrives, which stays. The copy's own timestamp is that of writing.
const (
	HeaderOriginTopic     = "x-origin-topic"
	HeaderOriginPartition = "x-origin-partition"
	HeaderOriginOffset    = "x-origin-offset"
	HeaderOriginTimestamp = "x-origin-timestamp"
	HeaderOriginGroup     = "x-origin-group"
	HeaderErrorClass      = "x-error-class"   // of the last failure, or ClassExpired
	HeaderErrorMessage    = "x-error-message" // of the last failure; at most 1000 bytes
	HeaderAttempts        = "x-attempts"      // failed attempts so far, at all members together
	HeaderFirstFailed     = "x-first-failed"  // when the first attempt failed, or the record expired without one
	HeaderDue             = "x-due"           // in a retry or parking topic: not to be tried before
	HeaderOmitted         = "x-omitted"       // "value,headers" on a dead letter that left them out, because it would have been too large
	HeaderRedrives        = "x-redrives"      // how often the record was redriven
	HeaderReceipt         = "x-receipt"       // Redrive's own note: which dead letter, as partition@offset, it redrove
)

// ours are the headers that are renewed each time a record is passed on. The number of redrives is not: it must outlive
// the next failure.
var ours = []string{
	HeaderOriginTopic, HeaderOriginPartition, HeaderOriginOffset, HeaderOriginTimestamp, HeaderOriginGroup, HeaderErrorClass, HeaderErrorMessage,
	HeaderAttempts, HeaderFirstFailed, HeaderDue, HeaderOmitted, HeaderReceipt,
}

// trip is where a record comes from and what has become of it.
type trip struct {
	topic          string
	partition      int32
	offset         int64
	timestamp      time.Time
	attempts       int // that failed
	first          time.Time
	due            time.Time
	class, message string
}

// tripOf reads the headers of a record; one of a source has come from nowhere, whatever its headers say.
func tripOf(r *kgo.Record, of role) trip {
	t := trip{topic: r.Topic, partition: r.Partition, offset: r.Offset, timestamp: r.Timestamp}
	if of == source {
		return t
	}
	if topic, ok := get(r, HeaderOriginTopic); ok {
		t.topic = topic
		t.partition = int32(number(r, HeaderOriginPartition))
		t.offset = number(r, HeaderOriginOffset)
		t.timestamp = moment(r, HeaderOriginTimestamp)
	}
	t.attempts = max(0, int(number(r, HeaderAttempts))) // anybody may write to a topic
	t.first, t.due = moment(r, HeaderFirstFailed), moment(r, HeaderDue)
	t.class, _ = get(r, HeaderErrorClass)
	t.message, _ = get(r, HeaderErrorMessage)
	return t
}

// failed takes note of a failed attempt.
func (t *trip) failed(class string, err error) {
	t.attempts++
	t.class, t.message = class, err.Error()
	if t.first.IsZero() {
		t.first = time.Now()
	}
}

// expired is a trip that has taken too long.
func (t trip) expired(limit time.Duration) trip {
	message := fmt.Sprintf("older than %v", limit)
	if t.message != "" {
		message += ": " + t.message
	}
	t.class, t.message = ClassExpired, message
	if t.first.IsZero() {
		t.first = time.Now()
	}
	return t
}

// carry is the record for another topic, with what is known of its trip. Its own timestamp is that of writing, so that
// the topic's retention counts from there.
func (t trip) carry(r *kgo.Record, topic, group string) *kgo.Record {
	out := &kgo.Record{Topic: topic, Key: r.Key, Value: r.Value}
	for _, h := range r.Headers {
		if !slices.Contains(ours, h.Key) {
			out.Headers = append(out.Headers, h)
		}
	}
	set(out, HeaderOriginTopic, t.topic)
	set(out, HeaderOriginPartition, strconv.Itoa(int(t.partition)))
	set(out, HeaderOriginOffset, strconv.FormatInt(t.offset, 10))
	set(out, HeaderOriginTimestamp, t.timestamp.UTC().Format(time.RFC3339Nano))
	set(out, HeaderOriginGroup, group)
	set(out, HeaderAttempts, strconv.Itoa(t.attempts))
	if !t.first.IsZero() {
		set(out, HeaderErrorClass, t.class)
		set(out, HeaderErrorMessage, cut(t.message, 1000))
		set(out, HeaderFirstFailed, t.first.UTC().Format(time.RFC3339Nano))
	}
	if !t.due.IsZero() {
		set(out, HeaderDue, t.due.UTC().Format(time.RFC3339Nano))
	}
	return out
}

// cut shortens a text to n bytes, between two characters.
func cut(text string, n int) string {
	if len(text) <= n {
		return text
	}
	for n > 0 && !utf8.RuneStart(text[n]) {
		n--
	}
	return text[:n]
}

func set(r *kgo.Record, name, value string) {
	r.Headers = append(r.Headers, kgo.RecordHeader{Key: name, Value: []byte(value)})
}

func get(r *kgo.Record, name string) (string, bool) {
	for _, h := range r.Headers {
		if h.Key == name {
			return string(h.Value), true
		}
	}
	return "", false
}

func number(r *kgo.Record, name string) int64 {
	text, _ := get(r, name)
	n, _ := strconv.ParseInt(text, 10, 64)
	return n
}

func moment(r *kgo.Record, name string) time.Time {
	text, _ := get(r, name)
	t, _ := time.Parse(time.RFC3339Nano, text)
	return t
}

// Selection says which dead letters to redrive; the zero value means all.
type Selection struct {
	Class string // only those of this error class
	Topic string // only those that come from this topic
	Key   []byte // only those with this key
	Limit int    // no more than so many; 0 for no limit
	// DryRun counts and changes nothing.
	DryRun bool
}

// Redriven says what a redrive did.
type Redriven struct {
	Selected   int // dead letters of the selection, each in one of the following
	Sent       int // sent to their topics now; in a dry run, what would be
	Before     int // sent by an earlier redrive
	Capped     int // redriven Config.MaxRedrives times, and here again
	Incomplete int // without value, since the letter would have been too large: nothing to send
	Over       int // beyond the limit
}

// Redrive sends dead letters back to the topics that they come from: with their key, value and own headers, to the
// partition that the key belongs to, as new records with a new trip before them, except that HeaderRedrives says how
// often. A dead letter is sent once, however often and by however many Redrive is called: what is sent, and the receipt
// in the dead-letter topic that says so, are one transaction. It considers the letters that are there when it begins.
// Letters whose origin is none of cfg.Topics are not its business.
//
// It holds the selected letters in memory. An error means that it may be called again.
func Redrive(ctx context.Context, cfg Config, selection Selection, opts ...kgo.Opt) (Redriven, error) {
	if err := cfg.Validate(); err != nil {
		return Redriven{}, err
	}
	client, err := kgo.NewClient(slices.Concat(opts, producing(cfg), []kgo.Opt{
		kgo.TransactionalID("redrive-" + cfg.DeadLetterTopic),
		kgo.ConsumeTopics(cfg.DeadLetterTopic),
		kgo.ConsumeStartOffset(kgo.NewOffset().AtStart()),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.KeepControlRecords(), // or the end of a partition that ends with one is never seen
	})...)
	if err != nil {
		return Redriven{}, fmt.Errorf("client: %w", err)
	}
	defer client.Close()
	// Before reading: who redrives at the same time is fenced from here on, and what it had not committed is aborted.
	if _, _, err := client.ProducerID(ctx); err != nil {
		return Redriven{}, fmt.Errorf("no transaction: %w", err)
	}
	letters, sent, err := readLetters(ctx, client, cfg.DeadLetterTopic, func(r *kgo.Record) bool { return selection.covers(cfg, r) })
	if err != nil {
		return Redriven{}, err
	}
	out, chosen := selection.choose(cfg, letters, sent)
	if selection.DryRun {
		return out, nil
	}
	for batch := range slices.Chunk(chosen, 100) {
		if err := redrive(ctx, client, batch); err != nil {
			return out, err
		}
		out.Sent += len(batch)
	}
	return out, nil
}

// readLetters reads the dead-letter topic to where it ends now: the letters to keep, and the receipts of all that were
// redriven.
func readLetters(ctx context.Context, client *kgo.Client, topic string, keep func(*kgo.Record) bool) (letters []*kgo.Record, sent map[string]bool, err error) {
	admin := kadm.NewClient(client)
	starts, err := admin.ListStartOffsets(ctx, topic)
	if err == nil {
		err = starts.Error()
	}
	ends, err2 := admin.ListEndOffsets(ctx, topic)
	if err2 == nil {
		err2 = ends.Error()
	}
	if err := errors.Join(err, err2); err != nil {
		return nil, nil, fmt.Errorf("dead letters: %w", err)
	}
	left := map[int32]int64{}
	ends.Each(func(end kadm.ListedOffset) {
		if start, _ := starts.Lookup(topic, end.Partition); start.Offset < end.Offset {
			left[end.Partition] = end.Offset
		}
	})
	sent = map[string]bool{}
	for len(left) > 0 {
		fetches := client.PollFetches(ctx)
		if ctx.Err() != nil {
			return nil, nil, ctx.Err()
		}
		if err := fetches.Err(); err != nil {
			return nil, nil, fmt.Errorf("dead letters: %w", err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			end, reading := left[r.Partition]
			if !reading {
				return
			}
			if r.Offset+1 >= end {
				delete(left, r.Partition)
			}
			if of, ok := get(r, HeaderReceipt); ok {
				sent[of] = true
			} else if !r.Attrs.IsControl() && keep(r) {
				letters = append(letters, r)
			}
		})
	}
	return letters, sent, nil
}

// covers says whether a record is a dead letter of ours, and of the selection.
func (s Selection) covers(cfg Config, r *kgo.Record) bool {
	topic, _ := get(r, HeaderOriginTopic)
	class, _ := get(r, HeaderErrorClass)
	return slices.Contains(cfg.Topics, topic) && (s.Class == "" || s.Class == class) && (s.Topic == "" || s.Topic == topic) &&
		(s.Key == nil || string(s.Key) == string(r.Key))
}

// choose sorts the letters of a selection by what is to become of them.
func (s Selection) choose(cfg Config, letters []*kgo.Record, sent map[string]bool) (out Redriven, chosen []*kgo.Record) {
	for _, r := range letters {
		_, omitted := get(r, HeaderOmitted)
		switch {
		case sent[place(r)]:
			out.Before++
		case number(r, HeaderRedrives) >= int64(cfg.MaxRedrives):
			out.Capped++
		case omitted:
			out.Incomplete++
		case s.Limit > 0 && len(chosen) >= s.Limit:
			out.Over++
		default:
			chosen = append(chosen, r)
		}
		out.Selected++
	}
	if s.DryRun {
		out.Sent = len(chosen)
	}
	return out, chosen
}

// place is how a receipt calls a dead letter.
func place(r *kgo.Record) string { return fmt.Sprintf("%d@%d", r.Partition, r.Offset) }

// redrive sends letters and their receipts in one transaction.
func redrive(ctx context.Context, client *kgo.Client, letters []*kgo.Record) error {
	if err := client.BeginTransaction(); err != nil {
		return fmt.Errorf("transaction: %w", err)
	}
	var records []*kgo.Record
	for _, r := range letters {
		topic, _ := get(r, HeaderOriginTopic)
		again := &kgo.Record{Topic: topic, Key: r.Key, Value: r.Value}
		for _, h := range r.Headers {
			if !slices.Contains(ours, h.Key) && h.Key != HeaderRedrives {
				again.Headers = append(again.Headers, h)
			}
		}
		set(again, HeaderRedrives, strconv.FormatInt(number(r, HeaderRedrives)+1, 10))
		receipt := &kgo.Record{Topic: r.Topic, Key: r.Key}
		set(receipt, HeaderReceipt, place(r))
		records = append(records, again, receipt)
	}
	// The promises are looked at: a transaction with a record that failed can be committed, and the record is missing.
	err := client.ProduceSync(ctx, records...).FirstErr()
	end := kgo.TransactionEndTry(err == nil)
	if err2 := client.EndTransaction(context.WithoutCancel(ctx), end); err2 != nil {
		err = errors.Join(err, fmt.Errorf("end of the transaction: %w", err2))
	}
	return err
}

// RedriveCommand is Redrive for a command line: -class, -topic, -key, -limit, -dry-run. It prints one line of what it
// did, in words of its own: Selected, and behind it each count of [Redriven] that is not 0, as decimal numbers in the
// order of its fields. An unknown flag, or an argument beside the flags, is an error, and then nothing is redriven;
// flag.ErrHelp after -help.
func RedriveCommand(ctx context.Context, cfg Config, args []string, out io.Writer, opts ...kgo.Opt) error {
	flags := flag.NewFlagSet("redrive", flag.ContinueOnError)
	flags.SetOutput(out)
	var s Selection
	flags.StringVar(&s.Class, "class", "", "only dead letters of this error `class`")
	flags.StringVar(&s.Topic, "topic", "", "only those that come from this `topic`")
	key := flags.String("key", "", "only those with this `key`")
	flags.IntVar(&s.Limit, "limit", 0, "no more than `n`; 0 for no limit")
	flags.BoolVar(&s.DryRun, "dry-run", false, "count, and change nothing")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	if *key != "" {
		s.Key = []byte(*key)
	}
	did, err := Redrive(ctx, cfg, s, opts...)
	if err != nil {
		return err
	}
	sent := "redriven"
	if s.DryRun {
		sent = "would be redriven"
	}
	_, err = fmt.Fprintf(out, "%d selected: %d %s, %d redriven before, %d at their limit, %d incomplete, %d beyond the limit\n",
		did.Selected, did.Sent, sent, did.Before, did.Capped, did.Incomplete, did.Over)
	return err
}
