package lesson10

import (
	"testing"

	"github.com/kafka-katas/kafka-katas/harness"
)

// Two spellings of one customer are two customers, unless somebody decides on one.
func TestStep02_AnEventIsBroughtToItsNormalForm(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		clean := `{"country":"AT","customer":"c-1","email":"ada@example.com","id":"e-1","name":"Zoë van Dam","type":"login"}`
		w.Claim(
			becomes(clean, clean),
			becomes("{ \"type\": \" LogIn\\t\", \"id\":\"e-1\", \"customer\":\"C-1 \",\n \"email\":\"Ada@Example.COM\", \"country\":\"at\", \"name\":\"  Zoë  van\\u00a0Dam \" }", clean),
			becomes(`{"id":"e-1","type":"login","customer":"c-1","email":"ada@example.com","country":"AT","name":"Zoe`+"\u0308"+` van Dam"}`, clean),
			becomes(`{"id":"e-1","type":"login","customer":"c-1","email":"ada@example.com","country":"AT","name":"Zo\u00eb van Dam","segment":"","risk":null}`, clean),
		)
	})
}

// 0.29 is no number that a float has. An amount is text until it is a whole number of the smallest coin.
func TestStep02_MoneyIsExactMinorUnits(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		amount := func(amount, currency, minor string) harness.Claim {
			return becomes(`{"id":"e-1","type":"paid","customer":"c-1","amount":`+amount+`,"currency":"`+currency+`"}`,
				`{"amount_minor":`+minor+`,"currency":"`+currency+`","customer":"c-1","id":"e-1","type":"paid"}`)
		}
		w.Claim(
			amount(`"12.50"`, "EUR", "1250"), amount(`12.5`, "EUR", "1250"), amount(`0.29`, "EUR", "29"), amount(`"1.15"`, "EUR", "115"),
			amount(`"4.35"`, "USD", "435"), amount(`"-3.10"`, "CHF", "-310"), amount(`"7"`, "EUR", "700"), amount(`"0.07"`, "GBP", "7"),
			amount(`"500"`, "JPY", "500"), amount(`"500.00"`, "JPY", "500"), amount(`"1.234"`, "KWD", "1234"), amount(`"1.5000"`, "EUR", "150"),
			amount(`"90071992547409.93"`, "EUR", "9007199254740993"), amount(`"92233720368547758.07"`, "EUR", "9223372036854775807"),
		)
		refuse := func(members string) harness.Claim {
			return refuses(`{"id":"e-1","type":"paid","customer":"c-1",`+members+`}`, "")
		}
		w.Claim(
			refuse(`"amount":"1.005","currency":"EUR"`), refuse(`"amount":"0.5","currency":"JPY"`), refuse(`"amount":"1e2","currency":"EUR"`),
			refuse(`"amount":1e2,"currency":"EUR"`), refuse(`"amount":"1,50","currency":"EUR"`), refuse(`"amount":"","currency":"EUR"`),
			refuse(`"amount":"1.","currency":"EUR"`), refuse(`"amount":"--1","currency":"EUR"`), refuse(`"amount":"12.50"`), refuse(`"currency":"EUR"`),
			refuse(`"amount":"12.50","currency":"XXX"`), refuse(`"amount":"1","amount_minor":100,"currency":"EUR"`),
			refuse(`"amount":"92233720368547758.08","currency":"EUR"`), refuse(`"amount_minor":1.5,"currency":"EUR"`),
		)
	})
}

// A local time is a moment only together with the clocks of its place, and those are put forward and back.
func TestStep02_TimesBecomeUTCByTheClocksOfTheirZone(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		at := func(members, utc string) harness.Claim {
			return becomes(`{"id":"e-1","type":"login","customer":"c-1",`+members+`}`, `{"at":"`+utc+`","customer":"c-1","id":"e-1","type":"login"}`)
		}
		w.Claim(
			at(`"at":"2026-07-01T12:00:00+02:00"`, "2026-07-01T10:00:00Z"),
			at(`"at":"2026-07-01T12:00:00.250Z"`, "2026-07-01T12:00:00.25Z"),
			at(`"at":"2026-07-01T12:00:00","zone":"Europe/Vienna"`, "2026-07-01T10:00:00Z"),
			at(`"at":"2026-01-01T12:00:00","zone":"Europe/Vienna"`, "2026-01-01T11:00:00Z"),
			at(`"at":"2026-01-01T12:00:00","zone":"Asia/Kolkata"`, "2026-01-01T06:30:00Z"),
			at(`"at":"2026-03-29T01:59:59","zone":"Europe/Vienna"`, "2026-03-29T00:59:59Z"),
			at(`"at":"2026-03-29T03:00:00","zone":"Europe/Vienna"`, "2026-03-29T01:00:00Z"),
			at(`"at":"2026-10-25T02:30:00","zone":"Europe/Vienna"`, "2026-10-25T00:30:00Z"), // shown twice: the first time
			at(`"at":"2026-11-01T01:30:00","zone":"America/New_York"`, "2026-11-01T05:30:00Z"),
			at(`"at":"2026-07-01T12:00:00+02:00","zone":"Nowhere/Atall"`, "2026-07-01T10:00:00Z"),
		)
		refuse := func(members string) harness.Claim {
			return refuses(`{"id":"e-1","type":"login","customer":"c-1",`+members+`}`, "")
		}
		w.Claim(
			refuse(`"at":"2026-03-29T02:30:00","zone":"Europe/Vienna"`), // the clocks skip it
			refuse(`"at":"2026-07-01T12:00:00"`), refuse(`"at":"2026-07-01T12:00:00","zone":"Nowhere/Atall"`),
			refuse(`"at":"2026-07-01T12:00:00","zone":"Local"`), refuse(`"at":"yesterday"`), refuse(`"at":1751364000`),
		)
	})
}

// What this version does not know, the next one or another reader may.
func TestStep02_WhatIsUnknownIsPreserved(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		w.Claim(
			becomes(`{"id":"e-1","type":"Order.Teleported","customer":"c-1","loyalty":{"tier": "Gold ","points":12345678901234567890},"ratio":1.10,"Type":"X","note":null}`,
				`{"Type":"X","customer":"c-1","id":"e-1","loyalty":{"tier":"Gold ","points":12345678901234567890},"note":null,"ratio":1.10,"type":"order.teleported"}`),
			becomes(`{"id":"e-1","type":"login","customer":"c-1","items":[{"sku":"A 1","n":1.0},{"sku":"b"}],"zzz":[1, 2]}`,
				`{"customer":"c-1","id":"e-1","items":[{"sku":"A 1","n":1.0},{"sku":"b"}],"type":"login","zzz":[1,2]}`),
		)
	})
}

// f(f(x)) = f(x): what went through twice, by a replay or a second pipeline, is the same as what went through once.
func TestStep02_NormalisingTwiceChangesNothing(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		for _, value := range seeds {
			w.Claim(isStable(value))
		}
	})
}

// isStable claims that Normalise refuses a value, or makes of it what it does not change any more.
//
//go:noinline
func isStable(value string) harness.Claim {
	return func(w *harness.World) error {
		once, err := Normalise([]byte(value))
		if err != nil {
			return refuses(value, "")(w)
		}
		text := string(once.Encode())
		return becomes(text, text)(w)
	}
}

// A record that cannot be read is refused with an error, whatever it is. The error does not quote it.
func TestStep02_WhatCannotBeReadIsRefused(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		w.Claim(refuses(``, ""), refuses(`nonsense-42`, "nonsense-42"), refuses(`null`, ""), refuses(`[]`, ""), refuses(`"text"`, ""), refuses(`7`, ""),
			refuses(`{"id":"e-1","type":"login"}`, ""), refuses(`{"id":" ","type":"login","customer":"c-1"}`, ""), refuses(`{"id":"e-1","type":null,"customer":"c-1"}`, ""),
			refuses(`{"id":17,"type":"login","customer":"c-1"}`, ""), refuses(`{"id":"e-1","type":"login","customer":{"n":1}}`, ""),
			refuses(`{"id":"e-1","type":"login","customer":"c-1"`, ""), refuses(`{"id":"e-1","type":"login","customer":"c-1"} {}`, ""),
			refuses("{\"id\":\"e-1\",\"type\":\"login\",\"customer\":\"c-\xff\"}", ""), refuses(`{"id":"e-1","type":"login","customer":"c-1","items":7}`, ""),
			refuses(`{"id":"e-1","type":"login","customer":"c-1","items":[7]}`, ""), refuses(`{"id":"e-1","type":"login","customer":"c-1","at":"secret-time"}`, "secret-time"),
			refuses(`{"id":"e-1","type":"login","customer":"c-1","amount":"secret-sum","currency":"EUR"}`, "secret-sum"))
	})
}
