// Command load asks an HTTP server over kept connections, each again as soon as it is answered.
//
//	load PORT CONNECTIONS < REQUESTS
//
// Standard input begins with the number of requests, a line; then each has a line of its own with its bytes as base64.
// They are sent in turn, without end. After them each line is how long to ask, in seconds: a round. It is answered by a
// line of JSON: the requests, how long they took, their latencies, and the processor time of this process. One thread
// waits for all connections, and does little beside its system calls, so that the server is what is measured.
package main

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"syscall"
	"time"
	"unsafe"
)

const answerBytesMax = 64 * 1024

type connection struct {
	descriptor int
	answer     []byte
	length     int
	asked      time.Time
}

type round struct {
	Count int     `json:"count"`
	TookS float64 `json:"took_s"`
	P50Us float64 `json:"p50_us"`
	P99Us float64 `json:"p99_us"`
	UsedS float64 `json:"used_s"`
}

type load struct {
	poll        int
	connections []*connection
	requests    [][]byte
	next        int
	waits       []time.Duration
}

// call makes a system call for a slice, without a word to Go's scheduler: this thread has nothing else to do.
func call(number uintptr, descriptor int, data []byte) int {
	done, _, failed := syscall.RawSyscall(number, uintptr(descriptor), uintptr(unsafe.Pointer(&data[0])), uintptr(len(data)))
	if failed != 0 {
		log.Fatal(failed)
	}
	return int(done)
}

func (l *load) ask(one *connection) {
	request := l.requests[l.next]
	l.next = (l.next + 1) % len(l.requests)
	one.length, one.asked = 0, time.Now()
	if written := call(syscall.SYS_WRITE, one.descriptor, request); written != len(request) {
		log.Fatalf("%d of %d bytes written", written, len(request))
	}
}

// read returns whether the answer is there as a whole; anything but a 200 ends the measurement.
func (l *load) read(one *connection) bool {
	count := call(syscall.SYS_READ, one.descriptor, one.answer[one.length:])
	if count == 0 {
		log.Fatal("the server closed a connection")
	}
	one.length += count
	answer := one.answer[:one.length]
	if !whole(answer) {
		return false
	}
	if !bytes.HasPrefix(answer, []byte("HTTP/1.1 200")) {
		log.Fatalf("not the answer that was to be measured: %s", answer)
	}
	return true
}

func whole(answer []byte) bool {
	head := bytes.Index(answer, []byte("\r\n\r\n"))
	if head < 0 {
		return false
	}
	for _, name := range []string{"content-length: ", "Content-Length: "} {
		if at := bytes.Index(answer[:head], []byte(name)); at >= 0 {
			length := 0
			for _, digit := range answer[at+len(name) : head] {
				if digit < '0' || digit > '9' {
					break
				}
				length = 10*length + int(digit-'0')
			}
			return len(answer) >= head+4+length
		}
	}
	log.Fatalf("an answer without a length: %s", answer)
	return false
}

// round asks on all connections until the time is over and each has its answer.
func (l *load) round(duration time.Duration) round {
	l.waits = l.waits[:0]
	events := make([]syscall.EpollEvent, len(l.connections))
	used, began := usedS(), time.Now()
	end := began.Add(duration)
	for _, one := range l.connections {
		l.ask(one)
	}
	for open := len(l.connections); open > 0; {
		ready, _, failed := syscall.RawSyscall6(syscall.SYS_EPOLL_WAIT, uintptr(l.poll),
			uintptr(unsafe.Pointer(&events[0])), uintptr(len(events)), ^uintptr(0), 0, 0)
		if failed == syscall.EINTR {
			continue
		} else if failed != 0 {
			log.Fatal(failed)
		}
		for _, event := range events[:ready] {
			one := l.connections[event.Fd]
			if !l.read(one) {
				continue
			}
			now := time.Now()
			l.waits = append(l.waits, now.Sub(one.asked))
			if now.Before(end) {
				l.ask(one)
			} else {
				open--
			}
		}
	}
	took := time.Since(began).Seconds()
	return round{len(l.waits), took, l.quantileUs(0.50), l.quantileUs(0.99), usedS() - used}
}

func (l *load) quantileUs(part float64) float64 {
	slices.Sort(l.waits)
	return float64(l.waits[int(part*float64(len(l.waits)-1))].Nanoseconds()) / 1000
}

func usedS() float64 {
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		log.Fatal(err)
	}
	return float64(used.Utime.Nano()+used.Stime.Nano()) / 1e9
}

func connected(port, connections int) *load {
	poll, err := syscall.EpollCreate1(0)
	if err != nil {
		log.Fatal(err)
	}
	l := &load{poll: poll, waits: make([]time.Duration, 0, 1<<20)}
	for number := range connections {
		descriptor, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
		if err != nil {
			log.Fatal(err)
		}
		if err := syscall.Connect(descriptor, &syscall.SockaddrInet4{Port: port, Addr: [4]byte{127, 0, 0, 1}}); err != nil {
			log.Fatal(err)
		}
		if err := syscall.SetsockoptInt(descriptor, syscall.IPPROTO_TCP, syscall.TCP_NODELAY, 1); err != nil {
			log.Fatal(err)
		}
		event := syscall.EpollEvent{Events: syscall.EPOLLIN, Fd: int32(number)}
		if err := syscall.EpollCtl(poll, syscall.EPOLL_CTL_ADD, descriptor, &event); err != nil {
			log.Fatal(err)
		}
		l.connections = append(l.connections, &connection{descriptor: descriptor, answer: make([]byte, answerBytesMax)})
	}
	return l
}

func main() {
	if len(os.Args) != 3 {
		log.Fatal("usage: load PORT CONNECTIONS < REQUESTS")
	}
	runtime.LockOSThread()
	debug.SetGCPercent(-1) // what it allocates is made before the rounds, or small
	l := connected(number(os.Args[1]), number(os.Args[2]))
	lines := bufio.NewScanner(os.Stdin)
	lines.Scan()
	for range number(lines.Text()) {
		lines.Scan()
		request, err := base64.StdEncoding.DecodeString(lines.Text())
		if err != nil {
			log.Fatal(err)
		}
		l.requests = append(l.requests, request)
	}
	for lines.Scan() {
		seconds, err := strconv.ParseFloat(lines.Text(), 64)
		if err != nil {
			log.Fatal(err)
		}
		figures, err := json.Marshal(l.round(time.Duration(seconds * float64(time.Second))))
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(string(figures))
	}
}

func number(text string) int {
	read, err := strconv.Atoi(text)
	if err != nil {
		log.Fatal(err)
	}
	return read
}
