package lesson07

// TODO: what one owned partition needs: the records that wait, the one in work, how far everything is done.
//
// Its records go to the handler one after the other; those of different partitions at the same time, Concurrency of
// them. Handing records over must not block the poll loop: a full partition has its fetching paused instead.
