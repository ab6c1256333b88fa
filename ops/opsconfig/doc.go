// Package opsconfig loads a service's configuration: defaults, then a commented YAML file, then the environment.
//
// The configuration is a plain struct, which needs nothing of this package. A key is its field's name in snake_case
// (SessionTimeout is session_timeout, and PREFIX_SESSION_TIMEOUT in the environment); structs within it nest
// (Retry.Base is retry.base and PREFIX_RETRY_BASE). Tags are optional:
//
//	doc:"…"        what the key means, as a comment of [Example]
//	config:"name"  another name for the key; "-" keeps a field out
//
// Fields may be strings, bools, numbers, time.Duration, types with an UnmarshalText method, lists of these, and structs
// of all of these. Fields that no file can hold (functions, channels, interfaces) are left alone. In the environment a list is separated by commas.
//
// A mistake is never passed over: an unknown key, a bad value and a value without its unit are errors that say where.
package opsconfig
