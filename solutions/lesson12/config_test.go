package lesson12_test

import (
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kafka-katas/kafka-katas/ops/opsconfig"
	lesson12 "github.com/kafka-katas/kafka-katas/solutions/lesson12"
)

func TestTheConfigurationFileSaysTheDefaults(t *testing.T) {
	require.NoError(t, opsconfig.Matches(lesson12.DefaultConfig(), "config.yaml"))
}

// What has more than one word in it is configured by its text.
func TestEndpointsAndStepsAreConfiguredByTheirText(t *testing.T) {
	file := t.TempDir() + "/config.yaml"
	require.NoError(t, os.WriteFile(file, []byte(`
outbound: {allow: [10.0.0.0/8]}
calls: {topic: shipments, url: "https://shipping.example/{key}", redirects: follow}
webhooks: {topic: shop-events, endpoints: ["billing https://billing.example/hooks s3cret"]}
workflow: {steps: [pay/refund]}
`), 0o600))

	cfg, err := opsconfig.Load(lesson12.DefaultConfig(), file, "LESSON12", []string{"LESSON12_API_TIMEOUT=2s"})

	require.NoError(t, err)
	require.Equal(t, []lesson12.Endpoint{{Name: "billing", URL: "https://billing.example/hooks", Secret: "s3cret"}}, cfg.Webhooks.Endpoints)
	require.Equal(t, []lesson12.Step{{Name: "pay", Compensation: "refund"}}, cfg.Workflow.Steps)
	require.Equal(t, lesson12.FollowRedirects, cfg.Calls.Redirects)
	require.Equal(t, 2*time.Second, cfg.API.Timeout)
	require.Equal(t, "10.0.0.0/8", cfg.Outbound.Allow[0].String())

	_, err = opsconfig.Load(lesson12.DefaultConfig(), "", "LESSON12", []string{"LESSON12_CALLS_REDIRECTS=sometimes"})
	require.ErrorContains(t, err, "sometimes")
}

func TestWordsSurviveTheWayThroughText(t *testing.T) {
	for _, v := range []lesson12.Redirects{lesson12.RefuseRedirects, lesson12.FollowRedirects} {
		text, err := v.MarshalText()
		require.NoError(t, err)
		var back lesson12.Redirects
		require.NoError(t, back.UnmarshalText(text))
		require.Equal(t, v, back)
	}
	require.Error(t, new(lesson12.Endpoint).UnmarshalText([]byte("billing")))
	require.Error(t, new(lesson12.Step).UnmarshalText([]byte("pay")))
}
