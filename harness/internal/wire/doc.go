// Package wire puts a tap on a process's connections to Kafka.
//
// [Tap] wraps a net.Conn, splits what passes into Kafka frames, and lets a [Handler] see each request before it leaves
// and each reply before the client does: to let it pass, answer it, delay it, or cut the connection. It works above
// the socket, so that it is the same on kfake's virtual network and on a real cluster.
//
// TLS: kgo refuses kgo.Dialer together with kgo.DialTLSConfig. So a dialer that taps does TLS itself, and puts the
// tap on the outside: Tap(tls.Client(conn, config), …). ApiVersions and SASL frames pass untouched.
//
// Nothing here waits while it holds a mutex, so that a testing/synctest bubble's clock is never held up.
package wire
