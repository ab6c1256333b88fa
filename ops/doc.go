// Package ops holds the words in which a service says how it is doing: [Stats] and [Health].
//
// Every lesson's service answers in them, and they are given: what is learnt is to fill them in truthfully. The
// package has types and a little arithmetic alone and imports almost nothing, because every kata links it. What
// fills them in from lesson 08 on is meter; what shows them over HTTP is opshttp; what loads a service's configuration is opsconfig.
package ops
