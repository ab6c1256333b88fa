package harness

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// runEnv names the run that the tests belong to, over all processes that a supervised run takes.
const runEnv = "KATA_RUN"

// runMark is in the name of everything that this run makes on a real cluster, so that it can be removed whatever becomes
// of the process that made it. Who finds such a name on a cluster where no tests run may remove it.
func runMark() string {
	if os.Getenv(runEnv) == "" {
		os.Setenv(runEnv, strings.ToLower(rand.Text()[:8]))
	}
	return "-kata-" + os.Getenv(runEnv) + "-"
}

// removeTimeout bounds a removal. Nobody waits for a cluster that is gone.
const removeTimeout = 15 * time.Second

// close removes what the story made.
func (r *real) close() {
	if err := r.remove(r.mark); err != nil {
		r.logf("on the real cluster something of this story is left: %v", err)
	}
	r.client.Close()
}

// removeLeftovers removes what this run has left on the real cluster: its processes were interrupted, or broke down.
func removeLeftovers() {
	seeds := os.Getenv("KAFKA_BROKERS")
	if seeds == "" || os.Getenv(runEnv) == "" {
		return
	}
	r, err := connect(strings.Split(seeds, ","))
	if err != nil {
		return // each story has said that there is no Kafka
	}
	defer r.client.Close()
	if err := r.remove(runMark()); err != nil {
		fmt.Fprintf(os.Stderr, "harness: something of this run is left on the real cluster, with %q in its name: %v\n", runMark(), err)
	}
}

// remove deletes all topics and groups with this in their name, also those that a program made from a name it was given.
func (r *real) remove(mark string) error {
	ctx, cancel := context.WithTimeout(context.Background(), removeTimeout)
	defer cancel()
	return errors.Join(r.removeTopics(ctx, mark), r.removeGroups(ctx, mark))
}

func (r *real) removeTopics(ctx context.Context, mark string) error {
	all, err := r.admin.ListTopics(ctx)
	if err != nil {
		return err
	}
	gone, err := r.admin.DeleteTopics(ctx, marked(mark, all.Names())...)
	if err != nil {
		return err
	}
	for _, t := range gone {
		if t.Err != nil && !errors.Is(t.Err, kerr.UnknownTopicOrPartition) {
			return fmt.Errorf("topic %s: %w", t.Topic, t.Err)
		}
	}
	return nil
}

// removeGroups deletes groups. One that has members still, such as crashed ones whose session lasts, is emptied first.
func (r *real) removeGroups(ctx context.Context, mark string) error {
	all, err := r.admin.ListGroups(ctx)
	if err != nil {
		return err
	}
	left := marked(mark, all.Groups())
	for {
		gone, err := r.admin.DeleteGroups(ctx, left...)
		left = slices.DeleteFunc(left, func(g string) bool {
			return gone[g].Group == g && (gone[g].Err == nil || errors.Is(gone[g].Err, kerr.GroupIDNotFound))
		})
		if len(left) == 0 {
			return nil
		}
		for _, g := range left {
			r.empty(ctx, g)
		}
		select {
		case <-time.After(settling):
		case <-ctx.Done():
			return errors.Join(fmt.Errorf("group %s: %w", left[0], gone[left[0]].Err), err)
		}
	}
}

// empty takes all members out of a group, whatever its kind. What goes wrong shows in that it cannot be deleted.
func (r *real) empty(ctx context.Context, group string) {
	describe := kmsg.NewPtrDescribeGroupsRequest()
	describe.Groups = []string{group}
	if resp, err := describe.RequestWith(ctx, r.client); err == nil {
		leave := kmsg.NewPtrLeaveGroupRequest()
		leave.Group = group
		for _, g := range resp.Groups {
			for _, m := range g.Members {
				member := kmsg.NewLeaveGroupRequestMember()
				member.MemberID, member.InstanceID = m.MemberID, m.InstanceID
				leave.Members = append(leave.Members, member)
			}
		}
		if len(leave.Members) > 0 {
			leave.RequestWith(ctx, r.client)
		}
	}
	consumers := kmsg.NewPtrConsumerGroupDescribeRequest()
	consumers.Groups = []string{group}
	if resp, err := consumers.RequestWith(ctx, r.client); err == nil {
		for _, g := range resp.Groups {
			for _, m := range g.Members {
				leave := kmsg.NewPtrConsumerGroupHeartbeatRequest()
				leave.Group, leave.MemberID, leave.InstanceID, leave.MemberEpoch = group, m.MemberID, m.InstanceID, -1
				leave.RequestWith(ctx, r.client)
			}
		}
	}
	shares := kmsg.NewPtrShareGroupDescribeRequest()
	shares.GroupIDs = []string{group}
	if resp, err := shares.RequestWith(ctx, r.client); err == nil {
		for _, g := range resp.Groups {
			for _, m := range g.Members {
				leave := kmsg.NewPtrShareGroupHeartbeatRequest()
				leave.GroupID, leave.MemberID, leave.MemberEpoch = group, m.MemberID, -1
				leave.RequestWith(ctx, r.client)
			}
		}
	}
}

func marked(mark string, names []string) []string {
	return slices.DeleteFunc(names, func(name string) bool { return !strings.Contains(name, mark) })
}
