// Package opshttp shows a service's statistics and health over HTTP.
//
//	GET  /stats     a snapshot, as JSON
//	GET  /metrics   the same for Prometheus
//	GET  /healthz   200 or 503, with the checks on liveness: should this process be restarted?
//	GET  /readyz    200 or 503, with all checks: should this process be relied on?
//	POST /pause     stop taking records in
//	POST /resume    end the pause
//	POST /reset     start the statistics again
//
// It always answers, and in time: when the service hangs or panics it says so in a sentence, with status 503.
package opshttp
