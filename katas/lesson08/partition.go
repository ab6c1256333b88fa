package lesson08

// TODO: what one owned partition needs: the records that wait, the one that is seen through, how far everything is done.
//
// Seeing a record through: wait until it is due, ask the handler, and decide by the class of the error. Every wait ends
// when the partition has to be given up; then nothing has become of the record. Done, and so to be committed, is what was
// handled or what was acknowledged where it goes on.
