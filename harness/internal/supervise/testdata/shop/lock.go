package shop

import (
	"time"

	"github.com/kafka-katas/kafka-katas/harness/internal/supervise/testdata/lock"
)

// KeepLocked holds a lock, as kgo's are, while another waits for it. Without the tag that stops the clock.
func KeepLocked() {
	l := lock.New()
	l.Lock()
	got := make(chan struct{})
	go func() {
		l.Lock()
		close(got)
	}()
	time.Sleep(time.Hour)
	l.Unlock()
	<-got
}
