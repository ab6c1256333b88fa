package shapes

import (
	"testing"
	"time"

	_ "time/tzdata" // where the system has none

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/kafka-katas/kafka-katas/harness"
)

// In the night in which the clocks go forward, the mail provider asks to be spared and texts wait for the morning. Each
// channel sends each notification once and in its own time, whatever the other one waits for.
func TestLesson11_EachChannelWaitsForItselfAlone(t *testing.T) {
	harness.Run(t, aNightOfNotifications(asItShould), night...)
}

func TestLesson11_OneQueueForBothChannelsIsCaught(t *testing.T) {
	harness.Run(t, aNightOfNotifications(oneQueue), append(night, harness.Red("MISTIMED"))...)
}

func TestLesson11_ANightOfThreeHoursIsCaught(t *testing.T) {
	harness.Run(t, aNightOfNotifications(threeHours), append(night, harness.Red("MISTIMED"))...)
}

func TestLesson11_AnImpatientRetryIsCaught(t *testing.T) {
	harness.Run(t, aNightOfNotifications(impatient), append(night, harness.Red("MISTIMED"))...)
}

func TestLesson11_AWholeEventSentAgainIsCaught(t *testing.T) {
	harness.Run(t, aNightOfNotifications(sendsAllAgain), append(night, harness.Red("DUPLICATED"))...)
}

// The clocks in Berlin go forward on the 26th, from 02:00 to 03:00. Nobody is sent a text from 01:00 to 04:00.
var night = []harness.Option{harness.Begins(berlin("26 00:45")), harness.Lasts(5 * time.Hour)}

func aNightOfNotifications(mistake string) func(w *harness.World) {
	return func(w *harness.World) {
		triggers, mail, text := w.Topic("notification-triggers", 1), outlet(w, "mail"), outlet(w, "text")
		w.Start("notifier", notifierOf(triggers, mail, text, mistake))

		w.SleepUntil(w.At(berlin("26 00:59")))
		mail.Next(tooMany{30 * time.Second}, tooMany{45 * time.Second})
		triggers.Produce(trigger("ana", "welcome"))
		w.SleepUntil(w.At(berlin("26 01:10")))
		triggers.Produce(trigger("ben", "shipped"))
		w.SleepUntil(w.At(berlin("26 05:30")))

		w.Claim(
			mail.Once("welcome to ana", "shipped to ben"), text.Once("welcome to ana", "shipped to ben"),
			harness.Times("texts to ana", text.Of("welcome to ana"), w.At(berlin("26 00:59"))),
			harness.Times("mails to ana", mail.Of("welcome to ana"), w.At(berlin("26 00:59"))+75*time.Second),
			harness.Times("mails to ben", mail.Of("shipped to ben"), w.At(berlin("26 01:10"))),
			harness.Times("texts to ben", text.Of("shipped to ben"), w.At(berlin("26 04:00"))),
			mail.CommitSafe(triggers), text.CommitSafe(triggers),
		)
	}
}

// channel is a provider of messages, and the group that consumes for it.
type channel struct {
	*harness.Group
	*harness.Effects
}

func outlet(w *harness.World, name string) channel { return channel{w.Group(name), w.Effects(name)} }

// berlin is a moment of March 2000 on a clock in Berlin, such as "26 00:45".
func berlin(clock string) time.Time {
	zone, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		panic(err)
	}
	at, err := time.ParseInLocation("2006-01-02 15:04", "2000-03-"+clock, zone)
	if err != nil {
		panic(err)
	}
	return at
}

func trigger(user, event string) *kgo.Record { return kgo.KeyStringRecord(user, event) }
