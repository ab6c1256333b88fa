// Package watch runs a lesson at each save and shows how it goes: in a terminal that is redrawn, in lines for a screen
// reader, or in lines alone where nobody types.
//
// [Files] tells of saves, [Session] runs the specifications and cancels a run that a save has overtaken, [Board] is what
// there is to see, and [Terminal] and [Lines] show it.
package watch
