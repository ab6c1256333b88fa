package harness

import (
	"context"
	"crypto/tls"
	"net"

	"github.com/twmb/franz-go/pkg/kgo"
)

// TLS makes all processes, and the story itself, speak TLS with the cluster. The dialer in [Process.Options] does it,
// under the tap that the journal and the faults need, so that a program's own kgo.DialTLSConfig has no place beside it.
// The cluster's side is Cluster(kfake.TLS(…)). Virtual time begins on 2000-01-01: certificates must be valid then.
//
//go:noinline
func TLS(config *tls.Config) Option { return func(o *options) { o.tls = config } }

// Admin adds options to the story's own clients, such as the SASL user by which the story produces and looks at the
// cluster. A process gets none of them: which user it is, its program decides.
//
//go:noinline
func Admin(opts ...kgo.Opt) Option {
	return func(o *options) { o.admin = append(o.admin, opts...) }
}

// secure puts TLS on a connection to a broker, if the story wants it.
func (w *World) secure(ctx context.Context, conn net.Conn, address string) (net.Conn, error) {
	if w.o.tls == nil {
		return conn, nil
	}
	config := w.o.tls.Clone()
	if config.ServerName == "" {
		config.ServerName, _, _ = net.SplitHostPort(address)
	}
	secured := tls.Client(conn, config)
	if err := secured.HandshakeContext(ctx); err != nil {
		conn.Close()
		return nil, err
	}
	return secured, nil
}

// dial is the dialer of the story's own clients.
func (w *World) dial(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := w.backend.dial(ctx, network, address)
	if err != nil {
		return nil, err
	}
	return w.secure(ctx, conn, address)
}
