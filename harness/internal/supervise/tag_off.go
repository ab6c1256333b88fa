//go:build !synctests

package supervise

const tagged = false
