// Package lesson reads a lesson as the learner sees it: its README's steps, hints, belts and debrief, the names of its
// specifications and of the files to write. It reads text alone and compiles nothing, so that the tool starts at once and
// works while the learner's code does not build.
package lesson
