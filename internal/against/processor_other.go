//go:build !unix

package against

import "time"

// ProcessorTime is not measured here: it is always 0.
func ProcessorTime() time.Duration { return 0 }
