package harness

import (
	"fmt"
	"net"
)

// Kafka is the cluster as the story disturbs it.
type Kafka struct{ w *World }

// Kafka returns the cluster.
func (w *World) Kafka() Kafka { return Kafka{w} }

// MoveCoordinator moves a group's coordinator to another broker. The fake moves all coordinators at once.
func (k Kafka) MoveCoordinator(g *Group) {
	k.w.arrange(k.w.backend.moveCoordinator(k.w.ctx, g.Name))
	k.w.journal.add(Event{Kind: Disturbed, Group: g.Name, Text: fmt.Sprintf("the coordinator of %s moved", g)})
}

// StopBroker takes one broker out of the cluster: connections to it break, and the others take its partitions and
// groups over.
func (k Kafka) StopBroker(id int32) {
	port, err := k.w.backend.stopBroker(id)
	k.w.arrange(err)
	for _, p := range k.w.live() {
		(*life)(p).unplugKafka(port)
	}
	k.w.reconnect()
	k.w.journal.add(Event{Kind: Disturbed, Text: fmt.Sprintf("broker %d stopped", id)})
}

// StartBroker brings a stopped broker back.
func (k Kafka) StartBroker(id int32) {
	k.w.arrange(k.w.backend.startBroker(id))
	k.w.journal.add(Event{Kind: Disturbed, Text: fmt.Sprintf("broker %d started", id)})
}

// Down puts the whole cluster out of every process's reach: connections break and new ones are refused.
func (k Kafka) Down() {
	if k.setDown(true) {
		k.w.journal.add(Event{Kind: Disturbed, Text: "Kafka is down"})
		for _, p := range k.w.live() {
			(*life)(p).unplugKafka("")
		}
	}
}

// Up ends an outage.
func (k Kafka) Up() {
	if k.setDown(false) {
		k.w.journal.add(Event{Kind: Disturbed, Text: "Kafka is up again"})
	}
}

func (k Kafka) setDown(down bool) (changed bool) {
	k.w.mu.Lock()
	defer k.w.mu.Unlock()
	changed = k.w.down != down
	k.w.down = down
	return changed
}

func (w *World) outage() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.down
}

// unplugKafka breaks the process's connections to the broker at that port, or to all; its own servers go on.
func (p *life) unplugKafka(port string) {
	p.mu.Lock()
	var cables []*cable
	for c := range p.cables {
		if _, at, _ := net.SplitHostPort(c.to); c.kafka && (port == "" || at == port) {
			cables = append(cables, c)
		}
	}
	p.mu.Unlock()
	for _, c := range cables {
		c.hangUp()
	}
}
