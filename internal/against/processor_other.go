//go:build !unix

package against

import "time"

// processorTime is not measured here.
func processorTime() time.Duration { return 0 }
