package httpfake_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kafka-katas/kafka-katas/harness"
	"github.com/kafka-katas/kafka-katas/harness/httpfake"
)

func TestMain(m *testing.M) { harness.Main(m) }

// caller is a process that does nothing but call a partner when the story tells it to.
type caller struct {
	client  *http.Client
	partner *httpfake.Partner
}

func call(w *harness.World, partner *httpfake.Partner) *caller {
	c := &caller{partner: partner}
	w.Start("shop", func(p *harness.Process) (harness.Runner, error) {
		c.client = httpfake.Client(p)
		c.client.Timeout = 5 * time.Second
		return harness.RunFunc(func(ctx context.Context) error { <-ctx.Done(); return nil }), nil
	})
	return c
}

func (c *caller) post(t *testing.T, path, key, body string) (status int, text string, header http.Header) {
	r, err := http.NewRequest(http.MethodPost, c.partner.URL+path, strings.NewReader(body))
	require.NoError(t, err)
	if key != "" {
		r.Header.Set(httpfake.KeyHeader, key)
	}
	resp, err := c.client.Do(r)
	if err != nil {
		return 0, err.Error(), nil
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return resp.StatusCode, string(answer), resp.Header
}

func TestAPartnerCarriesARequestOutOncePerKey(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		bank := httpfake.Start(w, "bank:80").Next("POST /charges", httpfake.OK("receipt 1"))
		shop := call(w, bank)
		for range 2 {
			status, text, _ := shop.post(t, "/charges/o-1", "key", "30")
			require.Equal(t, http.StatusOK, status)
			require.Equal(t, "receipt 1", text)
		}
		status, _, _ := shop.post(t, "/charges/o-1", "key", "31")
		require.Equal(t, http.StatusUnprocessableEntity, status)
		w.Claim(bank.Effects().Once("POST /charges/o-1"))
		require.Len(t, bank.Requests("POST /charges"), 3)

		shop.post(t, "/charges/o-1", "", "30")
		require.Equal(t, "DUPLICATED", harness.Word(bank.Effects().Unrepeated()(w)), "without a key it is another charge")
	})
}

func TestAPartnerAnswersAsScripted(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		bank := httpfake.Start(w, "bank:80").Always("", httpfake.Status(http.StatusNotFound)).Always("POST /charges", httpfake.Status(http.StatusPaymentRequired))
		bank.Next("POST /charges", httpfake.TooMany(90*time.Second), httpfake.Hang(), httpfake.DoneButSilent(), httpfake.OK("slow").After(2*time.Second))
		shop := call(w, bank)

		status, _, header := shop.post(t, "/charges/o-1", "a", "30")
		require.Equal(t, http.StatusTooManyRequests, status)
		require.Equal(t, "90", header.Get("Retry-After"))
		w.Claim(bank.Effects().Once())

		at := w.Now()
		status, text, _ := shop.post(t, "/charges/o-1", "a", "30")
		require.Zero(t, status, text)
		w.Claim(harness.Took("a hanging request", w.Now()-at, 5*time.Second), bank.Effects().Once())

		status, text, _ = shop.post(t, "/charges/o-1", "a", "30")
		require.Zero(t, status, text)
		w.Claim(bank.Effects().Once("POST /charges/o-1"))

		at = w.Now()
		status, text, _ = shop.post(t, "/charges/o-2", "b", "30")
		require.Equal(t, http.StatusOK, status, text)
		w.Claim(harness.Took("a slow request", w.Now()-at, 2*time.Second))

		status, _, _ = shop.post(t, "/charges/o-3", "c", "30")
		require.Equal(t, http.StatusPaymentRequired, status)
		status, _, _ = shop.post(t, "/refunds/o-3", "d", "30")
		require.Equal(t, http.StatusNotFound, status)
		status, _, _ = shop.post(t, "/charges/o-1", "a", "30")
		require.Equal(t, http.StatusOK, status, "what was carried out is known, although nobody was told")
		w.Claim(bank.Effects().Once("POST /charges/o-1", "POST /charges/o-2"))
	})
}

func TestAPartnerRemembersAcrossItsLives(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		bank := httpfake.Start(w, "bank:80")
		shop := call(w, bank)
		shop.post(t, "/charges/o-1", "a", "30")
		bank.Crash()
		status, text, _ := shop.post(t, "/charges/o-1", "a", "30")
		require.Zero(t, status, text)
		bank.Restart()
		status, text, _ = shop.post(t, "/charges/o-1", "a", "30")
		require.Equal(t, http.StatusOK, status, text)
		w.Claim(bank.Effects().Once("POST /charges/o-1"))
	})
}

func TestAPartnerChargesOnceForRequestsAtOnce(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		bank := httpfake.Start(w, "bank:80").Always("POST /charges", httpfake.OK("").After(time.Second))
		shop := call(w, bank)
		calls := w.Call("charge", 10, func(context.Context, int) error {
			if status, _, _ := shop.post(t, "/charges/o-1", "a", "30"); status != http.StatusOK {
				return errors.New("the charge was not answered with 200")
			}
			return nil
		})
		w.Until(calls.Done())
		w.Claim(calls.Returned(nil), calls.Took(time.Second), bank.Effects().Once("POST /charges/o-1"))
	})
}
