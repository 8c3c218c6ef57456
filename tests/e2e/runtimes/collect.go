// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause

// Collects garbage on a word from standard input, and tells how often, and the sum of the pauses in ns.
package main

import (
	"bufio"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
)

var kept [][]byte

func main() {
	in := bufio.NewReader(os.Stdin)
	fmt.Println("ready")
	in.ReadString('\n')
	var before, after debug.GCStats
	debug.ReadGCStats(&before)
	for i := 0; i < 20; i++ {
		for k := 0; k < 2000; k++ {
			kept = append(kept, make([]byte, 256))
		}
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m) // stops the world, too
	}
	debug.ReadGCStats(&after)
	fmt.Println(after.NumGC-before.NumGC, (after.PauseTotal - before.PauseTotal).Nanoseconds())
	in.ReadString('\n')
}
