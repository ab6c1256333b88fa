package stacks_test

import (
	"bufio"
	"context"
	"net"
	"os"
	"os/exec"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
)

// programs do in a bubble what holds it up. The line that a diagnosis must name is marked with "<name>: here".
var programs = map[string]func(){
	"mutex held across a sleep": heldAcrossSleep,
	"mutex not reentrant":       notReentrant,
	"mutexes in two orders":     twoOrders,
	"mutex never unlocked":      neverUnlocked,
	"mutex held across a send":  heldAcrossSend,
	"busy loop":                 spin,
	"busy poll":                 spinInCall,
	"standard input":            readInput,
	"socket":                    readSocket,
	"kgo without its dialer":    realClient,
	"channel from outside":      waitOutside,
	"another program":           runProgram,
}

type ledger struct {
	mu    sync.Mutex
	log   sync.Mutex
	lines chan string
}

func (l *ledger) add(pause func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	pause() // holder: here
}

func (l *ledger) total() {
	l.mu.Lock() // total: here
	defer l.mu.Unlock()
}

func heldAcrossSleep() {
	var l ledger
	go l.add(func() { time.Sleep(time.Second) })
	time.Sleep(time.Millisecond)
	l.total()
}

func (l *ledger) post() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines <- "posted" // post: here
}

func heldAcrossSend() {
	l := ledger{lines: make(chan string)}
	go l.post()
	time.Sleep(time.Millisecond)
	l.total()
}

func notReentrant() {
	var l ledger
	l.addAndTotal()
}

func (l *ledger) addAndTotal() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.total() // addAndTotal: here
}

func (l *ledger) lockThenLog() {
	l.mu.Lock()
	defer l.mu.Unlock()
	time.Sleep(time.Second)
	l.log.Lock() // lockThenLog: here
	defer l.log.Unlock()
	l.lines <- ""
}

func (l *ledger) logThenLock() {
	l.log.Lock()
	defer l.log.Unlock()
	time.Sleep(time.Second)
	l.mu.Lock() // logThenLock: here
	defer l.mu.Unlock()
	l.lines <- ""
}

func twoOrders() {
	var l ledger
	go l.lockThenLog()
	go l.logThenLock()
	time.Sleep(time.Hour)
}

func neverUnlocked() {
	var mu sync.Mutex
	mu.Lock()
	mu.Lock() // neverUnlocked: here
}

func spin() {
	for n := 1; n > 0; n ^= 2 { // spin: here
		_ = n // the whole loop is in one line, wherever it is interrupted
	}
}

func spinInCall() {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	for {
		if ctx.Err() == nil { // spinInCall: here
			return
		}
	}
}

func readInput() {
	bufio.NewReader(os.Stdin).ReadString('\n') // readInput: here
}

func readSocket() {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	ln.Accept() // readSocket: here
}

var silent net.Listener // which is never asked to accept

func realClient() {
	var err error
	if silent, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		panic(err)
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(silent.Addr().String())) // realClient: here
	if err != nil {
		panic(err)
	}
	client.Ping(context.Background())
}

var outside = make(chan int)

func waitOutside() {
	<-outside // waitOutside: here
}

func runProgram() {
	exec.Command("sleep", "60").Run() // runProgram: here
}

// deadlocks wait for each other without end.
var deadlocks = map[string]func(){
	"channel": func() {
		var group sync.WaitGroup
		results := make(chan int)
		group.Go(func() { sendResult(results) })
		group.Wait() // group: here
	},
}

func sendResult(results chan int) {
	results <- 1 // sendResult: here
}

// leaks leave something behind when they return.
var leaks = map[string]func(){
	"goroutine":       leakGoroutine,
	"client":          leakClient,
	"client and more": func() { leakClient(); leakGoroutine() },
	"nothing":         func() {},
}

func worker(c chan int) {
	<-c // worker: here
}

func leakGoroutine() {
	for range 3 {
		go worker(make(chan int)) // leakGoroutine: here
	}
}

func leakClient() {
	var vn kfake.VirtualNetwork
	cluster, err := kfake.NewCluster(kfake.Ports(9092), kfake.ListenFn(vn.Listen), kfake.SeedTopics(1, "orders"))
	if err != nil {
		panic(err)
	}
	defer cluster.Close()
	client, err := kgo.NewClient(kgo.SeedBrokers(cluster.ListenAddrs()...), kgo.Dialer(vn.DialContext), kgo.DisableClientMetrics()) // leakClient: here
	if err != nil {
		panic(err)
	}
	if err := client.Ping(context.Background()); err != nil {
		panic(err)
	}
}
