// Package judge proves that the course itself is right. It knows five laws and nothing of Kafka:
//
//  1. stub: every specification, run alone, is red on the stub, with a claim's or the stub's own sentence.
//  2. solution: every specification is green on the solution, under the race detector, shuffled, repeated.
//  3. mistake: every mistake is red in exactly the way its "Caught by" says.
//  4. spec: every specification is named by at least one mistake; one that nothing fails specifies nothing.
//  5. surface: stub and solution export the same declarations; every step has a README section and a hint.
//
// A specification exists once, in katas/lessonNN. The judge lays it onto the solution, and onto each mistake, with
// the go command's -overlay; nothing is written into the tree. There is one go command for each of laws 1, 2 and 3,
// for all lessons together, so that the go command's own cache and parallelism do the work.
package judge
