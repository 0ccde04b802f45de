package leader

import (
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// observed is what a candidate knows of the lease, by its own clock: times in the lease are those of other
// machines and are never compared.
type observed struct {
	version string
	holder  string
	since   time.Time
}

// step looks at the lease (nil: there is none) and returns what to write to lead, or nil to wait: somebody else
// holds it and was heard of less than its duration ago.
func (o *observed) step(have *coordinationv1.Lease, me string, d time.Duration, now time.Time) *coordinationv1.Lease {
	if have == nil {
		*o = observed{since: now}
		return claim(&coordinationv1.Lease{}, me, d, now)
	}
	if have.ResourceVersion != o.version {
		*o = observed{version: have.ResourceVersion, since: now}
		if h := have.Spec.HolderIdentity; h != nil {
			o.holder = *h
		}
	}
	theirs := d
	if s := have.Spec.LeaseDurationSeconds; s != nil {
		theirs = time.Duration(*s) * time.Second
	}
	if o.holder != "" && o.holder != me && now.Sub(o.since) < theirs {
		return nil
	}
	return claim(have.DeepCopy(), me, d, now)
}

func claim(l *coordinationv1.Lease, me string, d time.Duration, now time.Time) *coordinationv1.Lease {
	t, seconds := metav1.NewMicroTime(now), int32(d/time.Second)
	if l.Spec.HolderIdentity == nil || *l.Spec.HolderIdentity != me {
		var n int32
		if l.Spec.LeaseTransitions != nil {
			n = *l.Spec.LeaseTransitions + 1
		}
		l.Spec.HolderIdentity, l.Spec.AcquireTime, l.Spec.LeaseTransitions = &me, &t, &n
	}
	l.Spec.RenewTime, l.Spec.LeaseDurationSeconds = &t, &seconds
	return l
}

func released(have *coordinationv1.Lease, now time.Time) *coordinationv1.Lease {
	l, t, second := have.DeepCopy(), metav1.NewMicroTime(now), int32(1)
	l.Spec.HolderIdentity, l.Spec.RenewTime, l.Spec.LeaseDurationSeconds = nil, &t, &second
	return l
}
