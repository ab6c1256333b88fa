// Package shop is a program that does to its process what a program should not.
package shop

import (
	"bufio"
	"errors"
	"log"
	"net"
	"os"
	"sync"
	"time"
)

func Exit() {
	os.Exit(3)
}

func Fatal() { log.Fatal("no broker") }

func ExitZero() { os.Exit(0) }

func PanicInGoroutine() {
	done := make(chan struct{})
	go func() {
		defer close(done)
		var orders map[string]int
		orders["o-1"] = 1
	}()
	<-done
	time.Sleep(time.Hour)
}

func Panic() { panic(errors.New("no such order")) }

func Recurse(n int) int { return Recurse(n+1) + 1 }

var kept [][]byte

func Hoard() {
	for {
		kept = append(kept, make([]byte, 32<<20))
	}
}

func Spawn() {
	for {
		go func() { select {} }()
	}
}

func Spin() {
	n := 0
	for {
		n++
	}
}

func Read() {
	bufio.NewReader(os.Stdin).ReadString('\n')
}

type Ledger struct {
	mu    sync.Mutex
	total int
}

func (l *Ledger) Add(n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	time.Sleep(time.Second)
	l.total += n
}

func (l *Ledger) Total() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.total
}

func HoldMutex() {
	var l Ledger
	go l.Add(1)
	time.Sleep(time.Millisecond)
	l.Total()
}

func Dial() {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return
	}
	c, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		return
	}
	c.Read(make([]byte, 1))
}

var orders = make(chan int)

func WaitOutside() { <-orders }

func Hello() int { return 1 }

func WriteMap() {
	m := map[int]int{}
	for range 4 {
		go func() {
			for n := 0; ; n++ {
				m[n%8] = n
			}
		}()
	}
	time.Sleep(time.Hour)
}

func Race() {
	n := 0
	var group sync.WaitGroup
	group.Go(func() { n++ })
	group.Go(func() { n++ })
	group.Wait()
}
