package stop

import (
	"context"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func TestOneCtrlCIsOneRequestHoweverOftenItArrives(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked := make(chan os.Signal)
		gently, atOnce := At(t.Context(), asked)
		synctest.Wait()
		require.NoError(t, gently.Err())

		asked <- os.Interrupt
		asked <- os.Interrupt
		time.Sleep(moment - 1)
		asked <- os.Interrupt
		synctest.Wait()

		require.Error(t, gently.Err())
		require.NoError(t, atOnce.Err())
	})
}

func TestTheSecondRequestStopsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked := make(chan os.Signal)
		_, atOnce := At(t.Context(), asked)

		asked <- os.Interrupt
		time.Sleep(moment)
		asked <- os.Interrupt
		synctest.Wait()

		require.Error(t, atOnce.Err())
	})
}

func TestBothEndWithTheirParent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		parent, cancel := context.WithCancel(t.Context())
		gently, atOnce := At(parent, nil)
		cancel()
		<-gently.Done()
		<-atOnce.Done()
	})
}
