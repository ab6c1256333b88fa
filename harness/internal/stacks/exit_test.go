package stacks_test

import "syscall"

// cleanExit ends the process past the testing package, which would wait for the bubble.
func cleanExit() { syscall.Exit(0) }
