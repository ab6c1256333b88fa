package service

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/kafka-katas/kafka-katas/internal/login"
)

// patience is how long a cluster has for an answer before a service is started on it.
const patience = 10 * time.Second

// kafka is the cluster that a service runs on.
type kafka struct {
	brokers []string
	login   []kgo.Opt
	own     *kfake.Cluster // nil: KAFKA_BROKERS
	client  *kgo.Client    // for topics and traffic
}

// openKafka takes the brokers of KAFKA_BROKERS, or starts some.
func openKafka(ctx context.Context) (*kafka, error) {
	k := &kafka{}
	for b := range strings.SplitSeq(os.Getenv("KAFKA_BROKERS"), ",") {
		if b = strings.TrimSpace(b); b != "" {
			k.brokers = append(k.brokers, b)
		}
	}
	if len(k.brokers) == 0 {
		own, err := kfake.NewCluster(kfake.NumBrokers(3))
		if err != nil {
			return nil, fmt.Errorf("a Kafka of its own: %w", err)
		}
		k.own, k.brokers = own, own.ListenAddrs()
	} else {
		l, err := login.FromEnv()
		if err != nil {
			return nil, err
		}
		k.login = l.Opts()
	}
	client, err := kgo.NewClient(append(k.opts(), kgo.ClientID("traffic"), kgo.RecordDeliveryTimeout(patience))...)
	if err != nil {
		k.close()
		return nil, fmt.Errorf("KAFKA_BROKERS=%s: %w", strings.Join(k.brokers, ","), err)
	}
	k.client = client
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if err := client.Ping(ctx); err != nil {
		k.close()
		return nil, fmt.Errorf("no broker of KAFKA_BROKERS=%s answers: %w\nstart it, correct the variable, or leave it out: there is a Kafka inside", strings.Join(k.brokers, ","), err)
	}
	return k, nil
}

func (k *kafka) opts() []kgo.Opt {
	return append([]kgo.Opt{kgo.SeedBrokers(k.brokers...), kgo.DisableClientMetrics()}, k.login...)
}

// create makes those of the topics that are missing. What is there stays as it is; no name is no topic.
func (k *kafka) create(ctx context.Context, partitions int32, configs map[string]*string, topics ...string) error {
	topics = slices.Compact(slices.Sorted(slices.Values(topics))) // a topic that is asked for twice is refused
	topics = slices.DeleteFunc(topics, func(t string) bool { return t == "" })
	if len(topics) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	replies, err := kadm.NewClient(k.client).CreateTopics(ctx, partitions, -1, configs, topics...)
	if err != nil {
		return fmt.Errorf("the topics %s: %w", strings.Join(topics, ", "), err)
	}
	var errs []error
	for _, r := range replies.Sorted() {
		if r.Err != nil && !errors.Is(r.Err, kerr.TopicAlreadyExists) {
			errs = append(errs, fmt.Errorf("the topic %s is missing and could not be made: %w\nmake it yourself, with %d partitions", r.Topic, r.Err, partitions))
		}
	}
	return errors.Join(errs...)
}

// close deletes nothing: what is on a real cluster stays.
func (k *kafka) close() {
	if k.client != nil {
		k.client.Close()
	}
	if k.own != nil {
		k.own.Close()
	}
}
