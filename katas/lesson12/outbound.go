package lesson12

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"time"
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

// Check returns an error that is ErrRefused for an address that is loopback, link-local (cloud metadata at
// 169.254.169.254 among them), private, shared (100.64.0.0/10), multicast, unspecified or reserved, unless Allow has it.
// Networks for documentation, such as 203.0.113.0/24, are not: the partners of the stories have addresses there.
// An IPv4 address within IPv6 is judged as such if it is mapped (::ffff:0:0/96); in another dress (compatible ::/96,
// NAT64 64:ff9b::/96, 6to4 2002::/16, Teredo 2001::/32) it is refused, and so is site-local fec0::/10.
func (g Guard) Check(addr netip.Addr) error {
	// TODO: netip knows most of them; an IPv4 address within IPv6 is unwrapped first.
	return errors.New("lesson12: Guard.Check is not written yet")
}

// DialContext is for http.Transport. It resolves the name once, refuses if any of its addresses is refused, and
// connects to an address that it has judged: a name that is resolved again may have another answer by then.
func (g Guard) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	// TODO: resolve, judge, and connect to what was judged.
	return nil, errors.New("lesson12: Guard.DialContext is not written yet")
}

// TODO: the calls of CallsConfig: one attempt, and what its end means.

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
	// TODO: crypto/hmac
	return "lesson12: Sign is not written yet"
}

// Verify is for the receivers of webhooks. It returns ErrTimestamp unless the timestamp is at most tolerance away from
// now, in either direction, so that what was overheard cannot be sent again later; and ErrSignature unless one of the
// signatures is right, so that a secret can be replaced by sending two. It takes the same time for any wrong signature.
func Verify(secret string, header http.Header, body []byte, now time.Time, tolerance time.Duration) error {
	// TODO: the timestamp first; hmac.Equal
	return errors.New("lesson12: Verify is not written yet")
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
	return nil, errors.New("lesson12: Service.Endpoints is not written yet")
}

// Enable makes an endpoint that was disabled be sent to again, from where it was left, as if nothing had failed; at once
// at the member that is asked, within Outbound.RetryCap at the others. It is an error if there is no such endpoint.
func (s *Service) Enable(name string) error {
	return errors.New("lesson12: Service.Enable is not written yet")
}

// TODO: the deliveries of WebhooksConfig: a queue in the store for each endpoint and partition, and who works on it.
