package lesson09

// TODO: what one owned partition needs: a tracker that knows which of the received records are done with and how far that
// goes without a gap, the records that wait, and those that are to be handed out again and when.
//
// Its records go to any worker, so they are done with in any order. Handing records over must not block the poll loop: a
// partition whose window is full has its fetching paused instead.
//
// And what happens when the group moves partitions, and how progress is committed: assigned, revoked and lost as in lesson
// 07; commits by count and by time, and what becomes of one that fails.
