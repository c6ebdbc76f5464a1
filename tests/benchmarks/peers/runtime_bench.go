// SPDX-License-Identifier: BSD-2-Clause

// The benchmarks of ../runtime_bench.cpp, in the same shape, in Go: go_bench NAME WORKERS OPERATIONS.
package main

import (
	"fmt"
	"os"
	"runtime"
	"sort"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

func yieldTwo(operations int) {
	var group sync.WaitGroup
	group.Add(2)
	for k := 0; k < 2; k++ {
		go func() {
			for i := 0; i < operations/2; i++ {
				runtime.Gosched()
			}
			group.Done()
		}()
	}
	group.Wait()
}

func pingPong(operations int) {
	there, back := make(chan int), make(chan int)
	done := make(chan struct{})
	go func() {
		for value := range there {
			back <- value
		}
		close(done)
	}()
	for i := 0; i < operations; i++ {
		there <- i
		<-back
	}
	close(there)
	<-done
}

func buffered(operations int) {
	channel := make(chan int, 128)
	go func() {
		for i := 0; i < operations; i++ {
			channel <- i
		}
		close(channel)
	}()
	for range channel {
	}
}

func selectTwo(operations int) {
	a, b := make(chan int), make(chan int)
	go func() {
		for i := 0; i < operations; i++ {
			if i%2 == 0 {
				a <- i
			} else {
				b <- i
			}
		}
	}()
	sum := 0
	for i := 0; i < operations; i++ {
		select {
		case value := <-a:
			sum += value
		case value := <-b:
			sum += value
		}
	}
	runtime.KeepAlive(sum)
}

// A channel made once tells the end: faster here than a WaitGroup or a channel per goroutine.
func spawnJoin(operations int) {
	done := make(chan struct{})
	for i := 0; i < operations; i++ {
		go func() { done <- struct{}{} }()
		<-done
	}
}

var counter int

func mutexUncontended(operations int) {
	var mutex sync.Mutex
	for i := 0; i < operations; i++ {
		mutex.Lock()
		counter++
		mutex.Unlock()
	}
}

func mutexContended(operations int) {
	const goroutines = 8
	var mutex sync.Mutex
	var group sync.WaitGroup
	group.Add(goroutines)
	for k := 0; k < goroutines; k++ {
		go func() {
			for i := 0; i < operations/goroutines; i++ {
				mutex.Lock()
				counter++
				mutex.Unlock()
			}
			group.Done()
		}()
	}
	group.Wait()
}

func fanIn(operations int) {
	const senders = 100
	channel := make(chan int)
	for k := 0; k < senders; k++ {
		go func() {
			for i := 0; i < operations/senders; i++ {
				channel <- i
			}
		}()
	}
	sum := 0
	for i := 0; i < operations/senders*senders; i++ {
		sum += <-channel
	}
	runtime.KeepAlive(sum)
}

func skynetNode(up chan int, number int, leaves int) {
	if leaves == 1 {
		up <- number
		return
	}
	children := make(chan int, 10)
	for k := 0; k < 10; k++ {
		go skynetNode(children, number+k*(leaves/10), leaves/10)
	}
	sum := 0
	for k := 0; k < 10; k++ {
		sum += <-children
	}
	up <- sum
}

func skynet(operations int) {
	result := make(chan int, 1)
	skynetNode(result, 0, operations)
	if <-result != operations*(operations-1)/2 {
		panic("wrong sum")
	}
}

func queueing(workers int, operations int) {
	const goroutines, warmUp = 10000, 5
	yields := operations / goroutines
	waits := make([]uint32, goroutines*yields)
	turns := make([]uint32, goroutines*yields)
	var turn uint32
	var group sync.WaitGroup
	group.Add(goroutines)
	var begun, measured int64
	var start, end time.Duration
	base := time.Now()
	for k := 0; k < goroutines; k++ {
		go func(k int) {
			wait := func(i int) {
				before := time.Since(base) // reads one clock, where time.Now reads two
				turnBefore := atomic.AddUint32(&turn, 1) - 1
				runtime.Gosched()
				turns[k*yields+i] = atomic.LoadUint32(&turn) - turnBefore
				waits[k*yields+i] = uint32(time.Since(base) - before)
			}
			for i := 0; i < warmUp; i++ {
				wait(0)
			}
			if atomic.AddInt64(&begun, 1) == goroutines {
				start = time.Since(base)
			}
			for atomic.LoadInt64(&begun) < goroutines {
				runtime.Gosched()
			}
			for i := 0; i < yields; i++ {
				wait(i)
			}
			if atomic.AddInt64(&measured, 1) == goroutines {
				end = time.Since(base)
			}
			for atomic.LoadInt64(&measured) < goroutines {
				runtime.Gosched()
			}
			group.Done()
		}(k)
	}
	group.Wait()
	total := float64(end - start)
	printQuantiles := func(values []uint32) {
		sort.Slice(values, func(i, j int) bool { return values[i] < values[j] })
		for _, q := range []float64{0.5, 0.99, 0.999, 1} {
			fmt.Printf("%d ", values[int(q*float64(len(values)-1))])
		}
	}
	slice := total * float64(workers) / float64(len(waits))
	printQuantiles(waits)
	fmt.Printf("%.0f ", goroutines*slice/float64(workers))
	printQuantiles(turns)
	fmt.Printf("%d\n", goroutines)
}

func measure(operations int, run func(int)) float64 {
	const seconds = 0.3
	done := 0
	start := time.Now()
	for {
		run(operations)
		done += operations
		if elapsed := time.Since(start); elapsed.Seconds() >= seconds {
			return float64(elapsed.Nanoseconds()) / float64(done)
		}
	}
}

func main() {
	benchmarks := map[string]func(int){
		"yield": yieldTwo, "ping_pong": pingPong, "buffered": buffered, "select": selectTwo, "spawn_join": spawnJoin,
		"mutex_uncontended": mutexUncontended, "mutex_contended": mutexContended, "fan_in": fanIn, "skynet": skynet,
	}
	if len(os.Args) != 4 {
		fmt.Fprintln(os.Stderr, "usage: go_bench NAME WORKERS OPERATIONS")
		os.Exit(2)
	}
	name := os.Args[1]
	workers, _ := strconv.Atoi(os.Args[2])
	operations, _ := strconv.Atoi(os.Args[3])
	runtime.GOMAXPROCS(workers)
	if name == "queueing" {
		queueing(workers, operations)
		return
	}
	run, found := benchmarks[name]
	if !found {
		fmt.Fprintf(os.Stderr, "go_bench: no benchmark is called '%s'\n", name)
		os.Exit(2)
	}
	fmt.Printf("%.3f\n", measure(operations, run))
}
