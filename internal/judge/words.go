package judge

// Unwritten is the verdict of a stub's own sentence, "lesson07: New is not written yet".
const Unwritten = "UNWRITTEN"

// broken is the verdict on a program that did not run as a program should. A mistake may earn it, a stub may not.
const broken = "BROKEN"

// words are the delivery words of the harness, which says what they mean. They are repeated here, under a test that
// compares them, so that the tool can be built while the harness cannot, and need not link a Kafka.
var words = []string{
	"LOST", "DUPLICATED", "REORDERED", "OVERLAPPED", "STUCK", "COMMITTED TOO EARLY", "REWOUND", "WRONGLY DEAD-LETTERED",
	"MISTIMED", "UNBALANCED", "MISREPORTED", "MISROUTED", "LEAKED", "WASTEFUL", broken,
}
