package lesson10

// seeds is the corpus that fuzzing begins with, and that every run replays: values that are ordinary, odd, or have broken
// a decoder before. What fuzzing finds is added here.
var seeds = []string{
	`{"id":"e-1","type":"login","customer":"c-1"}`,
	`{"id":"e-1","type":"paid","customer":"C-1","amount":"12.50","currency":"eur","at":"2026-03-29T03:30:00","zone":"Europe/Vienna","name":" A  b "}`,
	`{"id":"e-1","type":"paid","customer":"c-1","amount_minor":-5,"currency":"JPY","at":"2026-07-01T12:00:00.123456789+02:00"}`,
	`{"id":"e-1","type":"İSTANBUL","customer":"ẞ-1","country":"ß","email":"ΑΣ@EXAMPLE.COM","name":"ﬁ Å ǆ"}`,
	"{\"id\":\"e-1\",\"type\":\"x\",\"customer\":\"K\u0301\u0327\",\"name\":\"\u1e9b\u0323 \u2002 \u2028\"}",
	`{"id":"e\u0000\u001f-1","type":"a\ud800b","customer":"\ud83d\ude00","name":"\"\\\/\b\f\n\r\t"}`,
	`{"id":"e-1","type":"x","customer":"c","items":[{"a":[1,{"b":"]}"}]},{}],"x":{"y":"{\"z\":1}"},"":0}`,
	`{"id":"e-1","type":"x","customer":"c","n":-0.0e-12,"b":true,"zz":null,"html":"<b>&</b>"}`,
	`{"id":"e-1","type":"x","customer":"c","id":"e-2"}`,
	`{"id":"e-1","type":"x","customer":"c","at":"2026-07-01T12:00:00Z","zone":7}`,
	`{"id":"e-1","type":"x","customer":"c","at":"0000-01-01T00:00:00+23:59"}`,
	`{"id":"e-1","type":"x","customer":"c","at":"9999-12-31T23:59:59-12:00"}`,
	`{"id":"e-1","type":"x","customer":"c","at":"2026-07-01T12:00:00","zone":"../../etc/passwd"}`,
	`{"id":"e-1","type":"x","customer":"c","at":"2026-07-01T12:00:00","zone":"UTC"}`,
	`{"id":"e-1","type":"x","customer":"c","amount":"-","currency":"EUR"}`,
	`{"id":"e-1","type":"x","customer":"c","amount":"-.5","currency":"EUR"}`,
	`{"id":"e-1","type":"x","customer":"c","amount":"00000000000000000000000000000001.10","currency":"EUR"}`,
	`{"id":"e-1","type":"x","customer":"c","amount":"٣","currency":"EUR"}`,
	`{"id":"e-1","type":"x","customer":"c","amount":true,"currency":"EUR"}`,
	`{"id":"e-1","type":"x","customer":"c","amount":{},"currency":["EUR"]}`,
	"\xef\xbb\xbf{}", "{", "}", "", " ", "\x00", "nul", "-", "1e999", "[[[[[[[[[[", `{"":{"":{"":[]}}}`, `"\ud800"`, "{\"\xff\":1}",
}
