//go:build synctests

package supervise

const tagged = true
