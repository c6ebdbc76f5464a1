// SPDX-License-Identifier: BSD-2-Clause

// go_profiled: the ping_pong of ../profiled.cpp in Go, on one processor. Says "ready"; for each line "MODE MS" of its
// input it profiles itself in that way for that long and prints nanoseconds per round trip. Modes: off, block1 (the
// block profiler at rate 1 ns), block10us (at 10 us), trace (the execution tracer, to nowhere).
package main

import (
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/trace"
	"time"
)

func main() {
	runtime.GOMAXPROCS(1)
	there, back := make(chan int), make(chan int)
	go func() {
		for value := range there {
			back <- value
		}
	}()
	fmt.Println("ready")
	for {
		var mode string
		var ms int
		if _, err := fmt.Scanln(&mode, &ms); err != nil {
			return
		}
		switch mode {
		case "block1":
			runtime.SetBlockProfileRate(1)
		case "block10us":
			runtime.SetBlockProfileRate(10_000)
		case "trace":
			if err := trace.Start(io.Discard); err != nil {
				fmt.Fprintln(os.Stderr, err)
				os.Exit(1)
			}
		}
		rounds := 0
		start := time.Now()
		for time.Since(start) < time.Duration(ms)*time.Millisecond {
			for i := 0; i < 10_000; i++ {
				there <- i
				<-back
			}
			rounds += 10_000
		}
		took := time.Since(start)
		runtime.SetBlockProfileRate(0)
		if mode == "trace" {
			trace.Stop()
		}
		fmt.Printf("%.3f 0\n", float64(took.Nanoseconds())/float64(rounds))
	}
}
