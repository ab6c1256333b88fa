// Package empty has no tests of its own.
package empty
