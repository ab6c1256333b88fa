package harness

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"math/big"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/sasl/plain"
)

// asker calls a server once and keeps the answer.
type asker struct {
	client *http.Client
	began  time.Duration
	took   time.Duration
	status int
	err    error
}

func ask(w *World, name, url string) (*Process, *asker) {
	a := &asker{}
	return w.Start(name, func(p *Process) (Runner, error) {
		a.client = &http.Client{Transport: &http.Transport{DialContext: p.Dial, DisableKeepAlives: true}}
		return RunFunc(func(ctx context.Context) error {
			a.began = w.Now()
			req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
			if err != nil {
				return err
			}
			resp, err := a.client.Do(req)
			a.err, a.took = err, w.Now()-a.began
			if err == nil {
				a.status = resp.StatusCode
				return resp.Body.Close()
			}
			return nil
		}), nil
	}).MayEnd(), a
}

// slowly answers after that long, or notes that its caller has gone.
func slowly(d time.Duration, gone *error) http.HandlerFunc {
	return func(rw http.ResponseWriter, r *http.Request) {
		select {
		case <-time.After(d):
			rw.WriteHeader(http.StatusTeapot)
		case <-r.Context().Done():
			if gone != nil {
				*gone = r.Context().Err()
			}
		}
	}
}

func TestProcessesCallEachOtherByHTTP(t *testing.T) {
	Run(t, func(w *World) {
		serve(w, "partner:80", slowly(3*time.Second, nil))
		caller, answer := ask(w, "caller", "http://partner:80/")
		require.NoError(w, caller.Wait())
		require.NoError(w, answer.err)
		require.Equal(w, http.StatusTeapot, answer.status)
		w.Claim(Took("the call", answer.took, 3*time.Second))

		nobody, refused := ask(w, "nobody", "http://shop:80/")
		require.NoError(w, nobody.Wait())
		require.ErrorContains(w, refused.err, "nobody listens there in this story")
	})
}

func TestACrashEndsAnHTTPRequestInItsMiddle(t *testing.T) {
	Run(t, func(w *World) {
		partner := serve(w, "partner:80", slowly(time.Minute, nil))
		caller, answer := ask(w, "caller", "http://partner:80/")
		w.SleepUntil(5 * time.Second)
		partner.Crash()
		require.NoError(w, caller.Wait())
		require.Error(w, answer.err)
		w.Claim(Took("the call", answer.took, 5*time.Second))

		late, refused := ask(w, "late", "http://partner:80/")
		require.NoError(w, late.Wait())
		require.ErrorContains(w, refused.err, "partner:80 does not listen there any more")
		partner.Restart()
		again, answered := ask(w, "again", "http://partner:80/")
		require.NoError(w, again.Wait())
		require.NoError(w, answered.err, "the address is free for the next life")
	})
	Run(t, func(w *World) {
		var gone error
		serve(w, "partner:80", slowly(time.Minute, &gone))
		caller, _ := ask(w, "caller", "http://partner:80/")
		w.SleepUntil(5 * time.Second)
		caller.Crash()
		w.Sleep(time.Second)
		require.ErrorIs(w, gone, context.Canceled, "the partner sees its caller go")
	})
}

func TestAnIsolatedCallerWaitsInSilence(t *testing.T) {
	Run(t, func(w *World) {
		serve(w, "partner:80", slowly(10*time.Second, nil))
		caller, answer := ask(w, "caller", "http://partner:80/")
		w.SleepUntil(5 * time.Second)
		caller.Isolate()
		w.SleepUntil(time.Minute)
		require.Zero(w, answer.took, "it has heard nothing, neither an answer nor an error")
		caller.Heal()
		require.NoError(w, caller.Wait())
		require.Error(w, answer.err)
		w.Claim(Took("the call", answer.took, time.Minute))
	})
}

func TestAnAddressBelongsToOneListener(t *testing.T) {
	Run(t, func(w *World) {
		w.Start("a", func(p *Process) (Runner, error) {
			l, err := p.Listen("shop:80")
			require.NoError(w, err)
			_, err = p.Listen("shop:80")
			require.ErrorContains(w, err, "address already in use")
			_, err = p.Listen("shop")
			require.ErrorContains(w, err, "host:port")
			require.NoError(w, l.Close())
			l, err = p.Listen("shop:80")
			require.NoError(w, err)
			return RunFunc(func(ctx context.Context) error { <-ctx.Done(); return l.Close() }), nil
		})
	})
}

// working are a group of two that has begun, and what must be true of it at the end.
func working(w *World, disturb func(orders *Topic, bank *Group, members []*Process)) {
	orders, bank := w.Topic("orders", 4), w.Group("bank")
	members := []*Process{w.Start("a", consume(bank, false, orders)), w.Start("b", consume(bank, false, orders))}
	orders.Fill(3)
	w.Until(All(bank.Balanced(members, orders), bank.Drained(orders)))
	w.SleepUntil(10 * time.Second)
	disturb(orders, bank, members)
	orders.Fill(3)
	w.Until(All(bank.Balanced(members, orders), bank.Drained(orders)))
	w.Claim(bank.Handled(orders), bank.CommitSafe(orders), bank.InOrder(orders))
}

func TestAGroupGetsOverWhatHappensToKafka(t *testing.T) {
	for _, c := range []struct {
		name    string
		disturb func(w *World, orders *Topic, bank *Group, members []*Process)
		events  int
	}{
		{"the leader moves", func(w *World, orders *Topic, _ *Group, _ []*Process) {
			was := orders.Leader(1)
			orders.MoveLeader(1)
			require.NotEqual(w, was, orders.Leader(1))
		}, 1},
		{"the coordinator moves", func(w *World, _ *Topic, bank *Group, _ []*Process) { w.Kafka().MoveCoordinator(bank) }, 1},
		{"a broker stops", func(w *World, _ *Topic, _ *Group, _ []*Process) { w.Kafka().StopBroker(1) }, 1},
		{"a broker stops and comes back", func(w *World, _ *Topic, _ *Group, _ []*Process) {
			w.Kafka().StopBroker(2)
			w.Sleep(20 * time.Second)
			w.Kafka().StartBroker(2)
		}, 2},
		{"all of Kafka is out of reach", func(w *World, orders *Topic, _ *Group, members []*Process) {
			w.Kafka().Down()
			w.Kafka().Down() // nothing new
			before := members[0].Requests(Fetch)
			w.Sleep(2 * time.Minute)
			require.Equal(w, before, members[0].Requests(Fetch))
			w.Kafka().Up()
			w.Kafka().Up()
		}, 2},
		{"the topic grows", func(w *World, orders *Topic, _ *Group, _ []*Process) {
			orders.AddPartitions(6)
			require.Equal(w, int32(6), orders.Partitions())
		}, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			Run(t, func(w *World) {
				working(w, func(orders *Topic, bank *Group, members []*Process) { c.disturb(w, orders, bank, members) })
				require.Len(w, w.Journal().Events(Of(Disturbed)), c.events)
			}, Deadline(30*time.Minute))
		})
	}
}

func TestADroppedTopicIsGone(t *testing.T) {
	Run(t, func(w *World) {
		orders, bank := w.Topic("orders", 2), w.Group("bank")
		payments := w.Topic("payments", 2)
		w.Start("a", consume(bank, false, orders, payments))
		orders.Fill(1)
		w.Until(bank.Drained(orders))
		orders.Drop()
		payments.Fill(5)
		w.Until(bank.Drained(payments))
		topics, err := w.admin().ListTopics(w.Context())
		require.NoError(w, err)
		require.False(w, topics.Has(orders.Name))
	})
}

func TestTheCoordinatorMovesOnlyWhereThereIsAnotherBroker(t *testing.T) {
	out := verdict(t, func(w *World) { w.Kafka().MoveCoordinator(w.Group("bank")) }, Brokers(1))
	require.ErrorContains(t, out.err, "give the story Brokers(3)")
}

// Who may do what is the cluster's configuration; a program logs in as it would in production.
func TestAStoryOnAClusterWithUsersAndRights(t *testing.T) {
	login := func(user string) kgo.Opt { return kgo.SASL(plain.Auth{User: user, Pass: "secret"}.AsMechanism()) }
	as := func(user string, g *Group, topic *Topic) func(*Process) (Runner, error) {
		return func(p *Process) (Runner, error) {
			client, err := kgo.NewClient(append(p.Options(), login(user), kgo.ConsumerGroup(g.Name), kgo.ConsumeTopics(topic.Name),
				kgo.DisableAutoCommit(), kgo.BlockRebalanceOnPoll(), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))...)
			if err != nil {
				return nil, err
			}
			return &consumer{client: client, handle: p.Handler(func(context.Context, *kgo.Record) error { return nil })}, nil
		}
	}
	readTopic := kfake.ACL{Resource: kmsg.ACLResourceTypeTopic, Name: "orders", Pattern: kmsg.ACLResourcePatternTypeLiteral, Operation: kmsg.ACLOperationRead, Allow: true}
	readGroup := kfake.ACL{Resource: kmsg.ACLResourceTypeGroup, Name: "bank", Pattern: kmsg.ACLResourcePatternTypeLiteral, Operation: kmsg.ACLOperationRead, Allow: true}
	options := []Option{
		Cluster(kfake.EnableSASL(), kfake.EnableACLs(), kfake.Superuser("PLAIN", "root", "secret"),
			kfake.User("PLAIN", "reader", "secret", readTopic, readGroup),
			kfake.User("PLAIN", "guest", "secret", readTopic),
			kfake.User("PLAIN", "stranger", "secret")),
		Admin(login("root")),
	}
	Run(t, func(w *World) {
		orders, bank := w.Topic("orders", 2), w.Group("bank")
		orders.Fill(5)
		a := w.Start("a", as("reader", bank, orders))
		w.Until(bank.Drained(orders))
		a.Crash()
		orders.Fill(5)
		w.Start("b", as("reader", bank, orders))
		w.Until(bank.Drained(orders))
		w.Claim(bank.Handled(orders), bank.CommitSafe(orders))
	}, options...)
	for user, want := range map[string]error{"guest": kerr.GroupAuthorizationFailed, "stranger": kerr.TopicAuthorizationFailed} {
		Run(t, func(w *World) {
			orders, bank := w.Topic("orders", 2), w.Group("bank")
			orders.Fill(5)
			w.Start("a", as(user, bank, orders))
			w.Sleep(time.Minute)
			require.Empty(w, w.Journal().Events(Of(Began, Committed)))
			refused := w.Journal().Events(Of(Refused))
			require.NotEmpty(w, refused)
			require.ErrorIs(w, refused[0].Err, want)
		}, options...)
	}
}

func TestAStoryOnAClusterWithTLS(t *testing.T) {
	server, client := certified(t)
	options := []Option{Cluster(kfake.TLS(server)), TLS(client)}
	Run(t, func(w *World) {
		orders, bank := w.Topic("orders", 1), w.Group("bank")
		orders.Fill(10)
		a := w.Start("a", consume(bank, false, orders)).Fault(LoseReply(OffsetCommit), Delay(Fetch, time.Second))
		w.Until(bank.Drained(orders))
		a.Isolate()
		w.Sleep(time.Minute)
		a.Heal()
		orders.Fill(10)
		w.Until(bank.Drained(orders))
		a.CrashAfter(Handle)
		orders.Fill(10)
		w.Until(Gone("a"))
		w.Start("b", consume(bank, false, orders))
		w.Until(bank.Drained(orders))
		w.Claim(bank.Handled(orders), bank.CommitSafe(orders))
	}, options...)

	out := verdict(t, func(w *World) {
		w.o.tls = client
		orders, bank := w.Topic("orders", 1), w.Group("bank")
		orders.Fill(1)
		w.o.tls = nil // a process that forgets it
		w.Start("a", consume(bank, false, orders))
		w.Until(bank.Drained(orders))
	}, options...)
	require.Equal(t, "STUCK", Word(out.err), "%v", out.err)
}

// certified are the two sides' configurations with a certificate that is valid in virtual time.
func certified(t *testing.T) (server, client *tls.Config) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, DNSNames: []string{"localhost"},
		NotBefore: time.Date(1999, 1, 1, 0, 0, 0, 0, time.UTC), NotAfter: time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	require.NoError(t, err)
	cert, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}, &tls.Config{RootCAs: pool}
}
