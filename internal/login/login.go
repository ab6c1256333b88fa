// Package login reads from the environment how to be let into a Kafka cluster: SASL and TLS.
//
//	KAFKA_SASL_USERNAME, KAFKA_SASL_PASSWORD
//	KAFKA_SASL_MECHANISM                        PLAIN (which it is without), SCRAM-SHA-256, SCRAM-SHA-512
//	KAFKA_TLS                                   true: with the certificate authorities of the system
//	KAFKA_TLS_CA_FILE                           with those in this PEM file
//	KAFKA_TLS_CERT_FILE, KAFKA_TLS_KEY_FILE     a certificate of one's own
//
// A file implies TLS. None of the variables is a plain connection.
package login

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"
)

// A Login is how a client is let in. The zero value is a plain connection of nobody in particular.
type Login struct {
	TLS  *tls.Config // nil: none
	SASL []kgo.Opt   // none or one
}

// Opts are the login for a client that dials by itself.
func (l Login) Opts() []kgo.Opt {
	if l.TLS == nil {
		return l.SASL
	}
	return append([]kgo.Opt{kgo.DialTLSConfig(l.TLS.Clone())}, l.SASL...)
}

// FromEnv reads the variables. What is half said is an error: a client that goes on without is refused in words that
// lead nowhere, or speaks in the clear.
func FromEnv() (Login, error) {
	sasl, err := saslFromEnv()
	if err != nil {
		return Login{}, err
	}
	config, err := tlsFromEnv()
	return Login{config, sasl}, err
}

func saslFromEnv() ([]kgo.Opt, error) {
	mechanism, user, password := os.Getenv("KAFKA_SASL_MECHANISM"), os.Getenv("KAFKA_SASL_USERNAME"), os.Getenv("KAFKA_SASL_PASSWORD")
	switch {
	case mechanism == "" && user == "" && password == "":
		return nil, nil
	case user == "":
		return nil, fmt.Errorf("KAFKA_SASL_USERNAME is missing")
	case password == "":
		return nil, fmt.Errorf("KAFKA_SASL_PASSWORD is missing")
	}
	switch strings.ToUpper(cmp.Or(mechanism, "PLAIN")) {
	case "PLAIN":
		return []kgo.Opt{kgo.SASL(plain.Auth{User: user, Pass: password}.AsMechanism())}, nil
	case "SCRAM-SHA-256":
		return []kgo.Opt{kgo.SASL(scram.Auth{User: user, Pass: password}.AsSha256Mechanism())}, nil
	case "SCRAM-SHA-512":
		return []kgo.Opt{kgo.SASL(scram.Auth{User: user, Pass: password}.AsSha512Mechanism())}, nil
	}
	return nil, fmt.Errorf("KAFKA_SASL_MECHANISM=%s: there is PLAIN, SCRAM-SHA-256 and SCRAM-SHA-512", mechanism)
}

func tlsFromEnv() (*tls.Config, error) {
	wanted, ca, cert, key := os.Getenv("KAFKA_TLS"), os.Getenv("KAFKA_TLS_CA_FILE"), os.Getenv("KAFKA_TLS_CERT_FILE"), os.Getenv("KAFKA_TLS_KEY_FILE")
	files := ca != "" || cert != "" || key != ""
	if wanted != "" {
		on, err := strconv.ParseBool(wanted)
		switch {
		case err != nil:
			return nil, fmt.Errorf("KAFKA_TLS=%s: it is true or false", wanted)
		case !on && files:
			return nil, fmt.Errorf("KAFKA_TLS=%s, but there are files for it: leave out one or the other", wanted)
		case !on:
			return nil, nil
		}
	} else if !files {
		return nil, nil
	}
	config := &tls.Config{}
	if ca != "" {
		text, err := os.ReadFile(ca)
		if err != nil {
			return nil, fmt.Errorf("KAFKA_TLS_CA_FILE: %w", err)
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("KAFKA_TLS_CA_FILE=%s has no certificate in it", ca)
		}
	}
	if (cert == "") != (key == "") {
		return nil, fmt.Errorf("KAFKA_TLS_CERT_FILE and KAFKA_TLS_KEY_FILE belong together")
	}
	if cert != "" {
		own, err := tls.LoadX509KeyPair(cert, key)
		if err != nil {
			return nil, fmt.Errorf("KAFKA_TLS_CERT_FILE=%s, KAFKA_TLS_KEY_FILE=%s: %w", cert, key, err)
		}
		config.Certificates = []tls.Certificate{own}
	}
	return config, nil
}
