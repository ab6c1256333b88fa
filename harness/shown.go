package harness

// Shown adds events to those that the failure of a broken claim shows, the decisive one last. It is for claims that a
// story makes by [Reported] and [Broke], which know no events by themselves. An error that is no breach stays as it is.
func Shown(err error, events ...Event) error {
	if b := BreachOf(err); b != nil {
		for _, e := range events {
			b.Seen = append(b.Seen, e.Seq)
		}
	}
	return err
}
