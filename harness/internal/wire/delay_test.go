package wire

import (
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

func TestAReadDeadlineLosesNoBytes(t *testing.T) {
	piped(t, new(spy), &broker{chunk: 3}, func(t *testing.T, conn net.Conn) {
		write(t, conn, heartbeat(7, "a"))
		var got []byte
		timeouts := 0
		for len(got) < 15 {
			require.NoError(t, conn.SetReadDeadline(time.Now().Add(300*time.Millisecond)))
			buf := make([]byte, 100)
			n, err := conn.Read(buf)
			got = append(got, buf[:n]...)
			if err != nil {
				require.ErrorIs(t, err, os.ErrDeadlineExceeded)
				timeouts++
			}
		}
		require.Greater(t, timeouts, 5)
		resp := kmsg.NewPtrHeartbeatResponse()
		resp.SetVersion(4)
		require.Equal(t, appendReply(&Frame{Key: 12, Version: 4, Corr: 7}, nil, resp), got)
	})
}

func TestADelayedRequestLeavesAtItsTimeAndTheWriterDoesNotWait(t *testing.T) {
	b := new(broker)
	s := &spy{request: forGroup("late", func(*Frame) Verdict { return Delay(3*time.Second, Pass()) })}
	piped(t, s, b, func(t *testing.T, conn net.Conn) {
		start := time.Now()
		write(t, conn, heartbeat(1, "a"), heartbeat(2, "late"), heartbeat(3, "b"))
		require.Zero(t, time.Since(start))
		corr, _ := readReply(t, conn)
		require.EqualValues(t, 1, corr)
		time.Sleep(3*time.Second - time.Nanosecond)
		require.Equal(t, []string{"a"}, b.seen(), "the frames behind it wait too")
		for _, want := range []int32{2, 3} {
			corr, _ = readReply(t, conn)
			require.Equal(t, want, corr)
		}
		require.Equal(t, 3*time.Second, time.Since(start))
		require.Equal(t, []string{"a", "late", "b"}, b.seen())
	})
}

func TestADelayedAnswerWakesAReaderThatAlreadyWaits(t *testing.T) {
	s := &spy{request: func(f *Frame) Verdict {
		return Delay(2*time.Second, Delay(time.Second, refuseWith(t, kerr.RebalanceInProgress)(f)))
	}}
	piped(t, s, new(broker), func(t *testing.T, conn net.Conn) {
		start := time.Now()
		go func() {
			time.Sleep(time.Second)
			write(t, conn, heartbeat(1, "a"))
		}()
		require.NoError(t, conn.SetReadDeadline(time.Now().Add(10*time.Second)))
		corr, code := readReply(t, conn)
		require.EqualValues(t, 1, corr)
		require.Equal(t, kerr.RebalanceInProgress.Code, code)
		require.Equal(t, 4*time.Second, time.Since(start))

		_, err := conn.Read(make([]byte, 1))
		require.ErrorIs(t, err, os.ErrDeadlineExceeded)
		require.Equal(t, 10*time.Second, time.Since(start), "the client's own deadline stands")
	})
}

func TestADelayedReplyKeepsTheReadersDeadline(t *testing.T) {
	s := &spy{reply: func(*Frame, kmsg.Response) Verdict { return Delay(5*time.Second, Pass()) }}
	piped(t, s, new(broker), func(t *testing.T, conn net.Conn) {
		start := time.Now()
		write(t, conn, heartbeat(1, "a"))
		conn.SetReadDeadline(start.Add(2 * time.Second))
		_, err := conn.Read(make([]byte, 1))
		require.ErrorIs(t, err, os.ErrDeadlineExceeded)
		require.Equal(t, 2*time.Second, time.Since(start))

		conn.SetReadDeadline(start.Add(time.Hour))
		go func() {
			time.Sleep(time.Second)
			conn.SetReadDeadline(time.Now()) // another goroutine gives up for the reader
		}()
		_, err = conn.Read(make([]byte, 1))
		require.ErrorIs(t, err, os.ErrDeadlineExceeded)
		require.Equal(t, 3*time.Second, time.Since(start))

		conn.SetReadDeadline(time.Time{})
		corr, _ := readReply(t, conn)
		require.EqualValues(t, 1, corr)
		require.Equal(t, 5*time.Second, time.Since(start))
	})
}

func TestADeadlineAtTheInstantOfADelaysEndWins(t *testing.T) {
	for range 50 {
		s := &spy{reply: func(*Frame, kmsg.Response) Verdict { return Delay(5*time.Second, Pass()) }}
		piped(t, s, new(broker), func(t *testing.T, conn net.Conn) {
			write(t, conn, heartbeat(1, "a"))
			conn.SetReadDeadline(time.Now().Add(5 * time.Second))
			_, err := conn.Read(make([]byte, 1))
			require.ErrorIs(t, err, os.ErrDeadlineExceeded)
		})
	}
}

func TestAHeldNetworkHealsWithNothingLost(t *testing.T) {
	b := new(broker)
	healed := make(chan struct{})
	hold := func() Verdict { return Hold(healed, Pass()) }
	synctest.Test(t, func(t *testing.T) {
		healed = make(chan struct{})
		s := &spy{
			request: func(*Frame) Verdict { return hold() },
			reply:   func(*Frame, kmsg.Response) Verdict { return hold() },
		}
		near, far := net.Pipe()
		go b.serve(far)
		conn := Tap(near, "b:1", s)
		defer func() { conn.Close(); far.Close(); synctest.Wait() }()
		write(t, conn, heartbeat(1, "a"), heartbeat(2, "b"))
		time.Sleep(time.Hour)
		require.Empty(t, b.seen())
		close(healed)
		for _, want := range []int32{1, 2} {
			corr, _ := readReply(t, conn)
			require.Equal(t, want, corr)
		}
	})
}

func TestCloseEndsEveryWait(t *testing.T) {
	for name, s := range map[string]*spy{
		"a delayed request": {request: func(*Frame) Verdict { return Delay(time.Hour, Pass()) }},
		"a delayed reply":   {reply: func(*Frame, kmsg.Response) Verdict { return Delay(time.Hour, Pass()) }},
		"nothing":           {request: func(f *Frame) Verdict { return Pass() }},
	} {
		piped(t, s, new(broker), func(t *testing.T, conn net.Conn) {
			start := time.Now()
			write(t, conn, heartbeat(1, "a"))
			time.AfterFunc(time.Second, func() { conn.Close() })
			_, err := io.ReadAll(conn)
			require.ErrorIs(t, err, net.ErrClosed, name)
			require.Equal(t, time.Second, time.Since(start), name)
			_, err = conn.Write(heartbeat(2, "b"))
			require.ErrorIs(t, err, net.ErrClosed, name)
			require.ErrorIs(t, conn.Close(), net.ErrClosed, name)
		})
	}
}

func TestACutLooksLikeTheBrokersOwn(t *testing.T) {
	b := new(broker)
	piped(t, &spy{request: forGroup("cut", func(*Frame) Verdict { return Cut() })}, b, func(t *testing.T, conn net.Conn) {
		write(t, conn, heartbeat(1, "a"))
		read := make(chan error)
		go func() { _, err := io.ReadAll(conn); read <- err }()
		synctest.Wait()
		_, err := conn.Write(heartbeat(2, "cut"))
		require.ErrorIs(t, err, syscall.EPIPE)
		require.NoError(t, <-read) // EOF
		_, err = conn.Write(heartbeat(3, "b"))
		require.ErrorIs(t, err, syscall.EPIPE)
		require.Equal(t, []string{"a"}, b.seen())
	})
	piped(t, &spy{reply: func(*Frame, kmsg.Response) Verdict { return Cut() }}, b, func(t *testing.T, conn net.Conn) {
		write(t, conn, heartbeat(1, "done"))
		_, err := conn.Read(make([]byte, 1))
		require.Equal(t, io.EOF, err)
		require.Contains(t, b.seen(), "done")
	})
}

func TestABrokerThatHangsUpIsTheSameOnEveryNetwork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		conn := Tap(near, "b:1", new(spy))
		defer conn.Close()
		far.Close()
		_, err := conn.Write(heartbeat(1, "a"))
		require.ErrorIs(t, err, syscall.EPIPE)
		_, err = conn.Read(make([]byte, 1))
		require.Equal(t, io.EOF, err)
	})
}
