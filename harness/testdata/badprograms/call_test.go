package badprograms

import (
	"context"
	"net/http"
	"time"

	"github.com/kafka-katas/kafka-katas/harness"
)

// call asks the shop once, a second after it has started.
type call struct{ p *harness.Process }

func (c call) Run(ctx context.Context) error {
	pause(ctx, time.Second)
	transport := &http.Transport{DialContext: c.p.Dial}
	defer transport.CloseIdleConnections()
	resp, err := (&http.Client{Transport: transport}).Get("http://shop:80/orders")
	if err != nil {
		return err
	}
	return resp.Body.Close()
}
