package lesson11

// The planner turns a trigger into tasks: one for each user and channel, keyed by user, in Config.Topics.Task(channel,
// critical). All tasks are acknowledged before the trigger is committed.
//
// TODO: two tables first, preferences and log: maps that one goroutine keeps up with their topics, and a catchUp(ctx) that
// asks for the end offsets (kadm.Client.ListEndOffsets) and waits until the maps have reached them.
//
// TODO: a function that decides whether a user is reached by a channel: it says "opted_out", "no_address",
// "unknown_user", "bad_preferences", or nothing. The planner asks it, and so does the sender, later.
//
// TODO: an audience page by page; how far it got is in the log.
//
// TODO: the receipts: a status only ever moves forward.
