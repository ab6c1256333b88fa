package supervise

// Restarts tells whether the tests that are left would run in another process after GiveUp.
func Restarts() bool { return noRestart() == "" }
