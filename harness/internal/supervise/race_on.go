//go:build race

package supervise

const raced = true
