package lesson07

// TODO: what happens when the group moves partitions, and how progress is committed.
//
// Assigned: begin with nothing, whatever was known of the partition before. Revoked: hand out no more of it, finish or
// cancel the record in work, commit, forget; only then return. Lost: cancel, forget, commit nothing: it is somebody
// else's already.
