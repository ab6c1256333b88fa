package opshttp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"
)

// Limits of [Serve]. These pages are small and their readers near, so all of them are tight: a reader that stalls must
// not hold a connection of the service for ever.
const (
	headerTimeout = 5 * time.Second
	readTimeout   = 10 * time.Second
	writeTimeout  = 10 * time.Second
	idleTimeout   = time.Minute
	grace         = 5 * time.Second
)

// Serve answers on l until ctx ends, then lets the requests in work finish for 5 s, and cuts off what is left. It closes l.
// It returns nil after a shutdown in which every request was answered; its goroutines have ended then.
func Serve(ctx context.Context, l net.Listener, h http.Handler) error {
	c := connections{fresh: map[net.Conn]bool{}}
	server := &http.Server{
		Handler:           h,
		ReadHeaderTimeout: headerTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    16 << 10,
		ConnState:         c.note,
	}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(l) }()

	var failure error
	select {
	case err := <-ended:
		failure = fmt.Errorf("serving on %s: %w", l.Addr(), err)
	case <-ctx.Done():
	}
	// The shutdown must not inherit ctx: it has ended, and would cut everybody off at once.
	patience, cancel := context.WithTimeout(context.WithoutCancel(ctx), grace)
	defer cancel()
	c.dropFresh()
	// Shutdown looks every half second; what ended after its last look has ended in time.
	if err := server.Shutdown(patience); err != nil && c.count() > 0 {
		_ = server.Close()
		return errors.Join(failure, fmt.Errorf("requests on %s were cut off after %v: %w", l.Addr(), grace, err))
	}
	c.open.Wait()
	return failure
}

// connections knows which are open, and which of them have not sent anything yet.
type connections struct {
	open    sync.WaitGroup
	mu      sync.Mutex
	n       int // open has this count and does not tell it
	fresh   map[net.Conn]bool
	closing bool
}

func (c *connections) note(conn net.Conn, s http.ConnState) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.fresh, conn)
	switch s {
	case http.StateNew:
		c.open.Add(1)
		c.n++
		if c.closing {
			_ = conn.Close()
			return
		}
		c.fresh[conn] = true
	case http.StateClosed, http.StateHijacked:
		c.n--
		c.open.Done()
	}
}

func (c *connections) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.n
}

// dropFresh closes the connections on which no request has begun, such as a browser opens in advance: Shutdown would
// give each of them 5 s to begin one.
func (c *connections) dropFresh() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closing = true
	for conn := range c.fresh {
		_ = conn.Close()
	}
}
