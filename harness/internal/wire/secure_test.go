package wire

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"math/big"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/sasl/scram"
)

// certificate is one for 127.0.0.1, valid since before a bubble's clock begins.
func certificate(t *testing.T) (tls.Certificate, *x509.CertPool) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Date(1999, 1, 1, 0, 0, 0, 0, time.UTC), NotAfter: time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	require.NoError(t, err)
	leaf, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	pool := x509.NewCertPool()
	pool.AddCert(leaf)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pool
}

// secure is kfake behind TLS and SASL. The dialer does TLS itself, so that a tap comes above it.
func secure(t *testing.T) network {
	cert, pool := certificate(t)
	vn := new(kfake.VirtualNetwork)
	c, err := kfake.NewCluster(kfake.ListenFn(vn.Listen), kfake.Ports(9092), kfake.NumBrokers(1),
		kfake.TLS(&tls.Config{Certificates: []tls.Certificate{cert}}),
		kfake.EnableSASL(), kfake.Superuser("SCRAM-SHA-256", "u", "p"), kfake.SeedTopics(1, "t"))
	require.NoError(t, err)
	t.Cleanup(c.Close)
	return network{c.ListenAddrs(), func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := vn.DialContext(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		return tls.Client(conn, &tls.Config{RootCAs: pool, ServerName: "127.0.0.1"}), nil
	}}
}

func TestATapWorksAboveTLSAndLeavesSASLAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := secure(t)
		s := &spy{
			request: once(offsetCommit, func(f *Frame) Verdict {
				return Delay(3*time.Second, refuseWith(t, kerr.RebalanceInProgress)(f))
			}),
			reply: onceReply(syncGroup, func(*Frame, kmsg.Response) Verdict { return Delay(time.Second, Pass()) }),
		}
		cl := n.client(t, s, kgo.SASL(scram.Auth{User: "u", Pass: "p"}.AsSha256Mechanism()), kgo.ConsumerGroup("g"),
			kgo.ConsumeTopics("t"), kgo.DisableAutoCommit(), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
		produceN(t, cl, "t", 3)
		poll(t, cl, 3)
		start := time.Now()
		require.ErrorIs(t, cl.CommitUncommittedOffsets(t.Context()), kerr.RebalanceInProgress)
		require.Equal(t, 3*time.Second, time.Since(start))
		require.NoError(t, cl.CommitUncommittedOffsets(t.Context()))
		require.NotEmpty(t, s.of(saslAuthenticate))
		for _, f := range append(s.of(saslAuthenticate), s.of(saslHandshake)...) {
			require.Nil(t, f.Request, "no secrets are decoded")
		}
	})
}
