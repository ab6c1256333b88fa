package lesson12

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode"

	"github.com/twmb/franz-go/pkg/kgo"
)

// ErrRefused is why a call to an address that is not public never leaves the service.
var ErrRefused = errors.New("the address is not public")

// Guard keeps calls within what is public: an address that a partner has configured, or a name that suddenly resolves to
// it, must not lead into the service's own network.
type Guard struct {
	Allow   []netip.Prefix                                                         // networks that may be called all the same
	Dial    func(ctx context.Context, network, address string) (net.Conn, error)   // nil: net.Dialer
	Resolve func(ctx context.Context, host string) (addrs []netip.Addr, err error) // nil: net.DefaultResolver
}

var notPublic = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"),     // this network
	netip.MustParsePrefix("100.64.0.0/10"), // carriers
	netip.MustParsePrefix("192.0.0.0/24"),  // protocol assignments
	netip.MustParsePrefix("198.18.0.0/15"), // benchmarks
	netip.MustParsePrefix("240.0.0.0/4"),   // reserved, broadcast
	netip.MustParsePrefix("2001::/23"),     // protocol assignments: Teredo, an IPv4 address in disguise, among them
	netip.MustParsePrefix("2002::/16"),     // the same, by 6to4
}

// global is what may be public of IPv6. All else is reserved, private, or an IPv4 address in disguise: ::/96,
// 64:ff9b::/96 (NAT64), fec0::/10.
var global = netip.MustParsePrefix("2000::/3")

// Check returns an error that is ErrRefused for an address that is loopback, link-local (cloud metadata at
// 169.254.169.254 among them), private, shared (100.64.0.0/10), multicast, unspecified or reserved, unless Allow has it.
// Networks for documentation, such as 203.0.113.0/24, are not: the partners of the stories have addresses there.
// An IPv4 address within IPv6 is judged as such if it is mapped (::ffff:0:0/96); in another dress (compatible ::/96,
// NAT64 64:ff9b::/96, 6to4 2002::/16, Teredo 2001::/32) it is refused, and so is site-local fec0::/10.
func (g Guard) Check(addr netip.Addr) error {
	addr = addr.Unmap().WithZone("")
	in := func(p netip.Prefix) bool { return p.Contains(addr) }
	switch {
	case slices.ContainsFunc(g.Allow, in):
		return nil
	case !addr.IsValid(), addr.IsLoopback(), addr.IsPrivate(), addr.IsLinkLocalUnicast(), addr.IsMulticast(), addr.IsUnspecified(),
		slices.ContainsFunc(notPublic, in), addr.Is6() && !global.Contains(addr):
		return fmt.Errorf("%s: %w", addr, ErrRefused)
	}
	return nil
}

// DialContext is for http.Transport. It resolves the name once, refuses if any of its addresses is refused, and
// connects to an address that it has judged: a name that is resolved again may have another answer by then.
func (g Guard) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	addrs, err := g.addresses(ctx, host)
	if err != nil {
		return nil, err
	}
	for _, addr := range addrs {
		if err := g.Check(addr); err != nil {
			return nil, fmt.Errorf("%s: %w", host, err)
		}
	}
	dial := g.Dial
	if dial == nil {
		dial = new(net.Dialer).DialContext
	}
	var problems []error
	for i, addr := range addrs {
		one, cancel := share(ctx, len(addrs)-i)
		conn, err := dial(one, network, net.JoinHostPort(addr.Unmap().String(), port))
		cancel()
		if err == nil {
			return conn, nil
		}
		problems = append(problems, err)
	}
	return nil, errors.Join(problems...)
}

// share leaves an equal part of the time to each of n addresses: one that swallows everything must not use it all up.
func share(ctx context.Context, n int) (context.Context, context.CancelFunc) {
	deadline, limited := ctx.Deadline()
	if !limited {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, time.Until(deadline)/time.Duration(n))
}

// within limits a dial. The transport takes it off the request's context, so the client's timeout does not end it.
func within(d time.Duration, dial func(context.Context, string, string) (net.Conn, error)) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		ctx, cancel := context.WithTimeout(ctx, d)
		defer cancel()
		return dial(ctx, network, address)
	}
}

func (g Guard) addresses(ctx context.Context, host string) ([]netip.Addr, error) {
	if addr, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{addr}, nil
	}
	resolve := g.Resolve
	if resolve == nil {
		resolve = func(ctx context.Context, host string) ([]netip.Addr, error) {
			return net.DefaultResolver.LookupNetIP(ctx, "ip", host)
		}
	}
	addrs, err := resolve(ctx, host)
	if err == nil && len(addrs) == 0 {
		err = fmt.Errorf("%s has no address", host)
	}
	return addrs, err
}

func newHTTPClient(cfg Config, outside Outside) *http.Client {
	guard := Guard{Allow: cfg.Outbound.Allow, Dial: outside.Dial, Resolve: outside.Resolve}
	// No proxy: it would connect where the guard cannot look.
	var transport http.RoundTripper = &http.Transport{DialContext: within(cfg.Outbound.Timeout, guard.DialContext), TLSHandshakeTimeout: cfg.Outbound.Timeout, MaxIdleConnsPerHost: 4, IdleConnTimeout: 30 * time.Second}
	closeIdle := transport.(*http.Transport).CloseIdleConnections
	if outside.Transport != nil {
		transport = outside.Transport(transport)
	}
	client := &http.Client{Transport: closer{transport, closeIdle}, Timeout: cfg.Outbound.Timeout}
	if cfg.Calls.Redirects == RefuseRedirects {
		client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	}
	return client
}

// closer lets CloseIdleConnections through whatever is laid round the transport.
type closer struct {
	http.RoundTripper
	closeIdle func()
}

func (c closer) CloseIdleConnections() { c.closeIdle() }

// errNoRequest says that no request can be made of a record: another attempt would make none either.
var errNoRequest = errors.New("it cannot be sent")

// post sends one request and returns the status, and how long the receiver wants to be spared. The body of the response
// is read to its end and closed, or its connection could not be used again.
func (s *Service) post(ctx context.Context, client *http.Client, to string, header http.Header, body []byte) (code int, spare time.Duration, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, to, bytes.NewReader(body))
	if err != nil {
		return 0, 0, fmt.Errorf("%w: %w", errNoRequest, err)
	}
	request.Header = header
	response, err := client.Do(request)
	if err != nil {
		return 0, 0, err
	}
	defer response.Body.Close()
	io.Copy(io.Discard, io.LimitReader(response.Body, 64<<10)) //nolint:errcheck // its status is all that counts
	return response.StatusCode, retryAfter(response.Header.Get("Retry-After"), time.Now()), nil
}

// maxSpare is as long as anybody may hold a partition up.
const maxSpare = 24 * time.Hour

func retryAfter(text string, now time.Time) time.Duration {
	if seconds, err := strconv.ParseInt(text, 10, 64); err == nil && seconds > 0 {
		return time.Duration(min(seconds, int64(maxSpare/time.Second))) * time.Second
	}
	if at, err := http.ParseTime(text); err == nil && at.After(now) {
		return min(at.Sub(now), maxSpare)
	}
	return 0
}

// backoff is the wait after so many failed attempts.
func (c OutboundConfig) backoff(failed int) time.Duration {
	wait := c.RetryBase
	for range failed - 1 {
		if wait *= 2; wait >= c.RetryCap {
			return c.RetryCap
		}
	}
	return min(wait, c.RetryCap)
}

// calls is the part of CallsConfig.
type calls struct{ s *Service }

func (c *calls) open(context.Context, *partition) error { return nil }

func (c *calls) next(*partition) time.Time { return time.Time{} }

func (c *calls) due(context.Context, *partition) error { return nil }

func (c *calls) handle(ctx context.Context, p *partition, r *kgo.Record) error {
	key := fmt.Sprintf("%s/%d", p.topicPartition, r.Offset)
	for _, h := range r.Headers {
		if h.Key == "event-id" && len(h.Value) > 0 {
			key = string(h.Value)
		}
	}
	if strings.ContainsFunc(key, unicode.IsControl) { // no header has it
		return c.bury(ctx, p, r, "the event-id is no Idempotency-Key")
	}
	to := strings.ReplaceAll(c.s.cfg.Calls.URL, "{key}", url.PathEscape(string(r.Key)))
	header := http.Header{"Content-Type": {"application/json"}, "Idempotency-Key": {key}}
	code, spare, err := c.s.post(ctx, c.s.http, to, header, r.Value)
	switch {
	case errors.Is(err, ErrRefused), errors.Is(err, errNoRequest):
		return c.bury(ctx, p, r, err.Error())
	case err != nil:
	case code >= 200 && code < 300:
		return nil
	case code != http.StatusRequestTimeout && code != http.StatusTooManyRequests && code < 500:
		return c.bury(ctx, p, r, "status "+strconv.Itoa(code))
	default:
		err = fmt.Errorf("the service answered %d", code)
	}
	return &retryError{err, max(spare, c.s.cfg.Outbound.backoff(p.attempt+1))}
}

func (c *calls) bury(ctx context.Context, p *partition, r *kgo.Record, reason string) error {
	headers := append(slices.Clone(r.Headers), kgo.RecordHeader{Key: "reason", Value: []byte(reason)})
	dead := &kgo.Record{Topic: c.s.cfg.Calls.DeadLetters, Key: r.Key, Value: r.Value, Headers: headers, Timestamp: r.Timestamp}
	if err := produce(ctx, p.client, dead); err != nil {
		return fmt.Errorf("dead-lettering: %w", err)
	}
	return errDead
}

// The headers of a webhook.
const (
	HeaderID        = "Webhook-Id"        // of the delivery: the same in every attempt
	HeaderTimestamp = "Webhook-Timestamp" // of the attempt, in seconds since 1970
	HeaderSignature = "Webhook-Signature" // what Sign returns; several are separated by spaces
)

// The errors of Verify.
var (
	ErrSignature = errors.New("the signature is missing or wrong")
	ErrTimestamp = errors.New("the timestamp is missing, too old or too new")
)

// Sign returns the signature of a webhook: "v1," and the base64 (standard, padded) of the HMAC-SHA256 under the secret of
// "id.timestamp.body", the timestamp in seconds since 1970.
func Sign(secret, id string, timestamp time.Time, body []byte) string {
	mac := hmac.New(sha256.New, []byte(secret))
	fmt.Fprintf(mac, "%s.%d.", id, timestamp.Unix())
	mac.Write(body)
	return "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

// Verify is for the receivers of webhooks. It returns ErrTimestamp unless the timestamp is at most tolerance away from
// now, in either direction, so that what was overheard cannot be sent again later; and ErrSignature unless one of the
// signatures is right, so that a secret can be replaced by sending two. It takes the same time for any wrong signature.
func Verify(secret string, header http.Header, body []byte, now time.Time, tolerance time.Duration) error {
	seconds, err := strconv.ParseInt(header.Get(HeaderTimestamp), 10, 64)
	if err != nil {
		return ErrTimestamp
	}
	at := time.Unix(seconds, 0)
	if now.Sub(at) > tolerance || at.Sub(now) > tolerance {
		return ErrTimestamp
	}
	want := []byte(Sign(secret, header.Get(HeaderID), at, body))
	for _, one := range strings.Fields(header.Get(HeaderSignature)) {
		if hmac.Equal(want, []byte(one)) {
			return nil
		}
	}
	return ErrSignature
}

// EndpointStatus is how a partner stands.
type EndpointStatus struct {
	Name     string
	Disabled bool // nothing is sent until Enable
	Open     bool // left alone for now
	Failures int  // failed attempts in a row, as this member has seen them
	Pending  int  // deliveries that wait, of all partitions
}

// Endpoints says how the partners stand, in the order of the configuration.
func (s *Service) Endpoints() ([]EndpointStatus, error) {
	var out []EndpointStatus
	for _, e := range s.cfg.Webhooks.Endpoints {
		if s.endpoints[e.Name] != nil {
			out = append(out, s.endpoints[e.Name].status())
		}
	}
	err := s.outside.Store.View(func(tx Tx) error {
		for i := range out {
			out[i].Pending = 0
			out[i].Disabled = tx.Get("disabled/"+out[i].Name) != nil
		}
		return tx.Scan("delivery/", func(key string, _ []byte) error {
			for i := range out {
				if parts := strings.Split(key, "/"); len(parts) == 5 && parts[3] == url.PathEscape(out[i].Name) {
					out[i].Pending++
				}
			}
			return nil
		})
	})
	return out, err
}

// Enable makes an endpoint that was disabled be sent to again, from where it was left, as if nothing had failed; at once
// at the member that is asked, within Outbound.RetryCap at the others. It is an error if there is no such endpoint.
func (s *Service) Enable(name string) error {
	e := s.endpoints[name]
	if e == nil {
		return fmt.Errorf("there is no endpoint %q", name)
	}
	if err := s.outside.Store.Update(func(tx Tx) error { return tx.Delete("disabled/" + name) }); err != nil {
		return err
	}
	e.reset()
	return nil
}

// webhooks is the part of WebhooksConfig.
type webhooks struct{ s *Service }

// delivery is what an endpoint is still to be told.
type delivery struct {
	ID   string
	Body []byte
}

func (p *partition) deliveries(endpoint string) string {
	return p.key("delivery") + url.PathEscape(endpoint) + "/"
}

func (h *webhooks) open(_ context.Context, p *partition) error {
	for _, e := range h.s.endpoints {
		news := e.join(p)
		p.with(func() {
			defer e.leave(p)
			e.deliver(p, news)
		})
	}
	return nil
}

func (h *webhooks) next(*partition) time.Time { return time.Time{} }

func (h *webhooks) due(context.Context, *partition) error { return nil }

func (h *webhooks) handle(_ context.Context, p *partition, r *kgo.Record) error {
	err := h.s.outside.Store.Update(func(tx Tx) error {
		source := fmt.Sprintf("%s/%d", p.topicPartition, r.Offset)
		seen := p.key("told")
		if text := tx.Get(seen); text != nil {
			if told, err := strconv.ParseInt(string(text), 10, 64); err == nil && r.Offset <= told {
				return nil // delivered again: what is left of it is stored, and the rest is done
			}
		}
		for _, e := range h.s.cfg.Webhooks.Endpoints {
			d := delivery{ID: hash("webhook/"+e.Name, source), Body: r.Value}
			if err := put(tx, fmt.Sprintf("%s%020d", p.deliveries(e.Name), r.Offset), d); err != nil {
				return err
			}
		}
		return tx.Put(seen, strconv.AppendInt(nil, r.Offset, 10))
	})
	if err == nil {
		for _, e := range h.s.endpoints {
			e.wake()
		}
	}
	return err
}

// endpoint is what this member knows of a partner, over all partitions.
type endpoint struct {
	Endpoint
	s      *Service
	client *http.Client

	mu        sync.Mutex
	failures  int
	openUntil time.Time
	probing   bool
	waiting   map[*partition]chan struct{} // one token each: look again
}

func newEndpoint(s *Service, e Endpoint) *endpoint {
	client := *s.http
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &endpoint{Endpoint: e, s: s, client: &client, waiting: map[*partition]chan struct{}{}}
}

func (e *endpoint) join(p *partition) <-chan struct{} {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.waiting[p] = make(chan struct{}, 1)
	return e.waiting[p]
}

func (e *endpoint) leave(p *partition) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.waiting, p)
}

func (e *endpoint) wake() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.wakeAll()
}

func (e *endpoint) wakeAll() {
	for _, news := range e.waiting {
		select {
		case news <- struct{}{}:
		default:
		}
	}
}

func (e *endpoint) reset() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.failures, e.openUntil, e.probing = 0, time.Time{}, false
	e.wakeAll()
}

func (e *endpoint) status() EndpointStatus {
	e.mu.Lock()
	defer e.mu.Unlock()
	return EndpointStatus{Name: e.Name, Failures: e.failures, Open: e.failures >= e.s.cfg.Webhooks.BreakAfter && time.Now().Before(e.openUntil)}
}

// enter asks to make an attempt: for how long not, 0 for now. Whoever may must report by failed or succeeded.
func (e *endpoint) enter() time.Duration {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.failures < e.s.cfg.Webhooks.BreakAfter {
		return 0
	}
	if wait := time.Until(e.openUntil); wait > 0 {
		return wait
	}
	if e.probing {
		return e.s.cfg.Webhooks.OpenFor // its end wakes everybody earlier
	}
	e.probing = true
	return 0
}

func (e *endpoint) giveUp() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.probing = false
	e.wakeAll()
}

func (e *endpoint) failed() (failures int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.failures++
	e.probing = false
	if e.failures >= e.s.cfg.Webhooks.BreakAfter {
		e.openUntil = time.Now().Add(e.s.cfg.Webhooks.OpenFor)
	}
	return e.failures
}

// deliver sends what waits for the endpoint in the partition, in order, until the partition takes no new work.
func (e *endpoint) deliver(p *partition, news <-chan struct{}) {
	attempts := 0
	for p.intake.Err() == nil {
		key, d, disabled, err := e.first(p)
		wait := time.Duration(0)
		switch {
		case err != nil:
			slog.Warn("looking for a delivery", "endpoint", e.Name, "partition", p.topicPartition, "error", err)
			wait = e.s.cfg.RetryAfter
		case disabled:
			wait, attempts = e.s.cfg.Outbound.RetryCap, 0 // another member may enable it
		case d == nil:
			wait = time.Hour
		default:
			wait = e.enter()
		}
		if wait > 0 {
			select {
			case <-time.After(wait):
			case <-news:
			case <-p.intake.Done():
			}
			continue
		}
		err = e.send(p.work, d)
		switch {
		case p.work.Err() != nil && err != nil:
			e.giveUp()
			return
		case err == nil:
			attempts = 0
			e.reset()
			e.done(p, key)
			continue
		}
		attempts++
		failures := e.failed()
		slog.Warn("a delivery failed", "endpoint", e.Name, "id", d.ID, "failures", failures, "error", err)
		if failures >= e.s.cfg.Webhooks.DisableAfter || errors.Is(err, ErrRefused) {
			if !e.disable(err) && !sleep(p.intake, e.s.cfg.RetryAfter) {
				return
			}
			continue
		}
		if failures < e.s.cfg.Webhooks.BreakAfter && !sleep(p.intake, e.s.cfg.Outbound.backoff(attempts)) {
			return
		}
	}
}

// first is what the endpoint has to be told next.
func (e *endpoint) first(p *partition) (key string, d *delivery, disabled bool, err error) {
	found := errors.New("found")
	err = e.s.outside.Store.View(func(tx Tx) error {
		disabled = tx.Get("disabled/"+e.Name) != nil
		return tx.Scan(p.deliveries(e.Name), func(k string, value []byte) error {
			key, d = k, &delivery{}
			if err := json.Unmarshal(value, d); err != nil {
				return err
			}
			return found
		})
	})
	if errors.Is(err, found) {
		err = nil
	}
	return key, d, disabled, err
}

func (e *endpoint) send(ctx context.Context, d *delivery) error {
	now := time.Now()
	header := http.Header{
		"Content-Type":  {"application/json"},
		HeaderID:        {d.ID},
		HeaderTimestamp: {strconv.FormatInt(now.Unix(), 10)},
		HeaderSignature: {Sign(e.Secret, d.ID, now, d.Body)},
	}
	code, _, err := e.s.post(ctx, e.client, e.URL, header, d.Body)
	if err == nil && (code < 200 || code > 299) {
		err = fmt.Errorf("the endpoint answered %d", code)
	}
	return err
}

// done forgets a delivery. A store that refuses is asked again: the next delivery waits, or this one would come twice.
func (e *endpoint) done(p *partition, key string) {
	for {
		err := e.s.outside.Store.Update(func(tx Tx) error { return tx.Delete(key) })
		if err == nil {
			e.s.meter.Count("webhooks_delivered", 1)
			return
		}
		slog.Warn("forgetting a delivery", "endpoint", e.Name, "partition", p.topicPartition, "error", err)
		if !sleep(p.work, e.s.cfg.RetryAfter) {
			return
		}
	}
}

func (e *endpoint) disable(cause error) bool {
	err := e.s.outside.Store.Update(func(tx Tx) error { return put(tx, "disabled/"+e.Name, cause.Error()) })
	if err != nil {
		slog.Warn("disabling an endpoint", "endpoint", e.Name, "error", err)
		return false
	}
	e.s.meter.Signal("endpoint_disabled")
	e.reset()
	return true
}
