package opshttp_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kafka-katas/kafka-katas/ops/opshttp"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kfake"
)

// site is a served handler on a virtual network. The bubble that it lives in checks that no goroutine stays.
type site struct {
	t     *testing.T
	net   *kfake.VirtualNetwork
	stop  context.CancelFunc
	ended chan error
}

func serve(t *testing.T, h http.Handler) *site {
	s := &site{t: t, net: new(kfake.VirtualNetwork), ended: make(chan error, 1)}
	l, err := s.net.Listen("tcp", "localhost:8080")
	require.NoError(t, err)
	ctx, stop := context.WithCancel(t.Context())
	s.stop = stop
	go func() { s.ended <- opshttp.Serve(ctx, l, h) }()
	synctest.Wait()
	return s
}

func (s *site) client() *http.Client {
	tr := &http.Transport{DialContext: s.net.DialContext}
	s.t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr}
}

func (s *site) dial() net.Conn {
	c, err := s.net.DialContext(s.t.Context(), "tcp", "localhost:8080")
	require.NoError(s.t, err)
	return c
}

func TestServeAnswersHEADWithoutABody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := serve(t, opshttp.Handler(newService()))
		c := s.client()
		for _, path := range []string{"/stats", "/healthz", "/readyz", "/metrics", "/"} {
			full, err := c.Get("http://localhost:8080" + path)
			require.NoError(t, err)
			body, err := io.ReadAll(full.Body)
			require.NoError(t, err)
			require.NoError(t, full.Body.Close())
			require.NotEmpty(t, body)

			head, err := c.Head("http://localhost:8080" + path)
			require.NoError(t, err)
			require.NoError(t, head.Body.Close())
			require.Equal(t, full.StatusCode, head.StatusCode)
			require.Equal(t, full.Header.Get("Content-Type"), head.Header.Get("Content-Type"))
		}
		s.stop()
		require.NoError(t, <-s.ended)
	})
}

func TestServeLetsARequestInWorkFinish(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			time.Sleep(5*time.Second - time.Millisecond)
			fmt.Fprint(w, "done")
		}))
		got := make(chan string, 1)
		go func() {
			r, err := s.client().Get("http://localhost:8080/")
			if err != nil {
				got <- err.Error()
				return
			}
			defer r.Body.Close()
			body, _ := io.ReadAll(r.Body)
			got <- string(body)
		}()
		synctest.Wait()
		s.stop()
		synctest.Wait()
		_, err := s.net.DialContext(t.Context(), "tcp", "localhost:8080")
		require.Error(t, err, "it takes no new connection")
		require.Equal(t, "done", <-got)
		require.NoError(t, <-s.ended)
	})
}

func TestServeCutsOffARequestThatDoesNotFinish(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
		failed := make(chan error, 1)
		go func() {
			_, err := s.client().Get("http://localhost:8080/")
			failed <- err
		}()
		synctest.Wait()
		began := time.Now()
		s.stop()
		err := <-s.ended
		require.Equal(t, 5*time.Second, time.Since(began))
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.ErrorContains(t, err, "cut off after 5s")
		require.Error(t, <-failed)
	})
}

func TestServeDoesNotWaitForAConnectionThatHasAskedNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := serve(t, opshttp.Handler(newService()))
		silent := s.dial()
		defer silent.Close()
		synctest.Wait()
		began := time.Now()
		s.stop()
		require.NoError(t, <-s.ended)
		require.Less(t, time.Since(began), 10*time.Millisecond, "Shutdown looks twice, about 1 ms apart")
	})
}

func TestServeCutsOffAReaderThatStalls(t *testing.T) {
	for _, tt := range []struct {
		name  string
		sends string
		after time.Duration
	}{
		{"in the header", "GET /stats HTTP/1.1\r\nHost: x\r\n", 5 * time.Second},
		{"after the answer", "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n", time.Minute},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := serve(t, opshttp.Handler(newService()))
				c := s.dial()
				began := time.Now()
				go func() { _, _ = io.WriteString(c, tt.sends) }()
				_, err := io.Copy(io.Discard, bufio.NewReader(c))
				require.NoError(t, err)
				require.Equal(t, tt.after, time.Since(began))
				s.stop()
				require.NoError(t, <-s.ended)
			})
		})
	}
}

type brokenListener struct{ net.Listener }

func (brokenListener) Accept() (net.Conn, error) { return nil, errors.New("interface is gone") }

func TestServeReportsAListenerThatFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, err := new(kfake.VirtualNetwork).Listen("tcp", "localhost:8080")
		require.NoError(t, err)
		err = opshttp.Serve(t.Context(), brokenListener{l}, http.NotFoundHandler())
		require.EqualError(t, err, "serving on localhost:8080: interface is gone")
	})
}

func ExampleHandler() {
	pages := httptest.NewServer(opshttp.Handler(newService()))
	defer pages.Close()

	r, err := http.Get(pages.URL + "/readyz")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer r.Body.Close()
	fmt.Println(r.Status)
	// Output: 200 OK
}
