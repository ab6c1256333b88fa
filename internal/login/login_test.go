package login_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/kafka-katas/kafka-katas/internal/login"
)

var variables = []string{"KAFKA_SASL_MECHANISM", "KAFKA_SASL_USERNAME", "KAFKA_SASL_PASSWORD", "KAFKA_TLS", "KAFKA_TLS_CA_FILE", "KAFKA_TLS_CERT_FILE", "KAFKA_TLS_KEY_FILE"}

// with sets these variables and no others.
func with(t *testing.T, env ...string) {
	t.Helper()
	for _, name := range variables {
		t.Setenv(name, "")
	}
	for _, v := range env {
		name, value, _ := strings.Cut(v, "=")
		t.Setenv(name, value)
	}
}

// certificate writes a certificate and its key for 127.0.0.1 to files.
func certificate(t *testing.T) (cert, key string, pair tls.Certificate, pool *x509.CertPool) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	require.NoError(t, err)
	text, err := x509.MarshalECPrivateKey(private)
	require.NoError(t, err)
	dir := t.TempDir()
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	require.NoError(t, os.WriteFile(cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))
	require.NoError(t, os.WriteFile(key, pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: text}), 0o600))
	pair, err = tls.LoadX509KeyPair(cert, key)
	require.NoError(t, err)
	parsed, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	pool = x509.NewCertPool()
	pool.AddCert(parsed)
	return cert, key, pair, pool
}

// ping asks a cluster whether the login of the environment is let in.
func ping(t *testing.T, cluster *kfake.Cluster) error {
	t.Helper()
	l, err := login.FromEnv()
	require.NoError(t, err)
	client, err := kgo.NewClient(append(l.Opts(), kgo.SeedBrokers(cluster.ListenAddrs()...), kgo.RetryTimeout(time.Second))...)
	require.NoError(t, err)
	defer client.Close()
	return client.Ping(t.Context())
}

// Each mechanism lets its user in, and a wrong password does not.
func TestAUserIsLetIn(t *testing.T) {
	cluster, err := kfake.NewCluster(kfake.EnableSASL(), kfake.Superuser("PLAIN", "p", "secret"),
		kfake.Superuser("SCRAM-SHA-256", "s", "secret"), kfake.Superuser("SCRAM-SHA-512", "t", "secret"))
	require.NoError(t, err)
	defer cluster.Close()
	for _, env := range [][]string{
		{"KAFKA_SASL_USERNAME=p", "KAFKA_SASL_PASSWORD=secret"},
		{"KAFKA_SASL_USERNAME=p", "KAFKA_SASL_PASSWORD=secret", "KAFKA_SASL_MECHANISM=plain"},
		{"KAFKA_SASL_USERNAME=s", "KAFKA_SASL_PASSWORD=secret", "KAFKA_SASL_MECHANISM=SCRAM-SHA-256"},
		{"KAFKA_SASL_USERNAME=t", "KAFKA_SASL_PASSWORD=secret", "KAFKA_SASL_MECHANISM=SCRAM-SHA-512"},
	} {
		with(t, env...)
		require.NoError(t, ping(t, cluster), "%v", env)
	}
	with(t, "KAFKA_SASL_USERNAME=p", "KAFKA_SASL_PASSWORD=guess")
	require.Error(t, ping(t, cluster))
}

// The files make a connection that both sides trust.
func TestACertificateIsTrusted(t *testing.T) {
	cert, key, pair, pool := certificate(t)
	cluster, err := kfake.NewCluster(kfake.TLS(&tls.Config{Certificates: []tls.Certificate{pair}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: pool}))
	require.NoError(t, err)
	defer cluster.Close()

	with(t, "KAFKA_TLS_CA_FILE="+cert, "KAFKA_TLS_CERT_FILE="+cert, "KAFKA_TLS_KEY_FILE="+key)
	require.NoError(t, ping(t, cluster))
	with(t, "KAFKA_TLS=true")
	require.ErrorContains(t, ping(t, cluster), "certificate")
}

func TestWithoutVariablesThereIsNoLogin(t *testing.T) {
	for _, env := range [][]string{nil, {"KAFKA_TLS=false"}} {
		with(t, env...)
		l, err := login.FromEnv()
		require.NoError(t, err)
		require.Nil(t, l.TLS)
		require.Empty(t, l.Opts())
	}
}

// What is half said is no login, and the sentence names the variable.
func TestHalfALoginIsAnError(t *testing.T) {
	cert, _, _, _ := certificate(t)
	nothing := filepath.Join(t.TempDir(), "nothing.pem")
	require.NoError(t, os.WriteFile(nothing, nil, 0o600))
	for _, c := range []struct {
		want string
		env  []string
	}{
		{"KAFKA_SASL_PASSWORD is missing", []string{"KAFKA_SASL_USERNAME=p"}},
		{"KAFKA_SASL_USERNAME is missing", []string{"KAFKA_SASL_MECHANISM=PLAIN"}},
		{"KAFKA_SASL_MECHANISM=GSSAPI", []string{"KAFKA_SASL_USERNAME=p", "KAFKA_SASL_PASSWORD=x", "KAFKA_SASL_MECHANISM=GSSAPI"}},
		{"KAFKA_TLS=perhaps", []string{"KAFKA_TLS=perhaps"}},
		{"KAFKA_TLS=false", []string{"KAFKA_TLS=false", "KAFKA_TLS_CA_FILE=" + cert}},
		{"KAFKA_TLS_CA_FILE", []string{"KAFKA_TLS_CA_FILE=" + nothing + ".missing"}},
		{"has no certificate", []string{"KAFKA_TLS_CA_FILE=" + nothing}},
		{"belong together", []string{"KAFKA_TLS_CERT_FILE=" + cert}},
		{"KAFKA_TLS_CERT_FILE=" + cert, []string{"KAFKA_TLS_CERT_FILE=" + cert, "KAFKA_TLS_KEY_FILE=" + nothing}},
	} {
		with(t, c.env...)
		_, err := login.FromEnv()
		require.ErrorContains(t, err, c.want)
	}
}
