// Package events tells users what happens to their objects: kubectl describe shows it. A [Recorder] merges equal
// events, combines similar ones, limits those of one object, and never makes its caller wait.
package events

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/bedplate/bedplate/apimachinery"
	"github.com/bedplate/bedplate/apimachinery/client"
)

// Config configures a recorder. Client and Component must be set.
type Config struct {
	// Client writes the events; its registry must know core/v1 Event.
	Client *client.Client
	// Component says who tells ("deployment-controller"), Host on which machine.
	Component, Host string
	// Queue is how many events wait to be written; further ones are dropped and counted. Default 1,000.
	Queue int
	// Burst is how many events of one object may come at once; after them one per Every. Default 25, 5 min.
	Burst int
	Every time.Duration
	// Remember is how many events are known again. Default 4,096.
	Remember int
	// Log hears of events that could not be written. nil: off.
	Log *slog.Logger
}

func (c *Config) validate() error {
	if c.Client == nil || c.Component == "" {
		return errors.New("Client and Component must be set")
	}
	if c.Queue == 0 {
		c.Queue = 1000
	}
	if c.Burst == 0 {
		c.Burst = 25
	}
	if c.Every == 0 {
		c.Every = 5 * time.Minute
	}
	if c.Remember == 0 {
		c.Remember = 4096
	}
	if c.Queue < 0 || c.Burst < 0 || c.Every < 0 || c.Remember < 0 {
		return errors.New("Queue, Burst, Every and Remember must not be negative")
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return client.For[*corev1.Event](c.Client).Err()
}

// Recorder records events. Record may be called by anyone at any time; Run writes what was recorded.
type Recorder struct {
	c       Config
	events  client.Resource[*corev1.Event]
	queue   chan occurrence
	dropped atomic.Uint64
	began   atomic.Bool
}

type occurrence struct {
	at    time.Time
	id    id
	about corev1.ObjectReference
}

// New returns a recorder, which writes nothing before Run.
func New(c Config) (*Recorder, error) {
	if err := c.validate(); err != nil {
		return nil, fmt.Errorf("configure the event recorder: %w", err)
	}
	return &Recorder{c: c, events: client.For[*corev1.Event](c.Client), queue: make(chan occurrence, c.Queue)}, nil
}

// Normal records that something went as it should. reason is one word in CamelCase. about must have its apiVersion
// and kind set, as every object from a client or informer has.
func (r *Recorder) Normal(about apimachinery.Object, reason, format string, args ...any) {
	r.Record(Reference(about), corev1.EventTypeNormal, reason, format, args...)
}

// Warning records that something went wrong; otherwise it is like [Recorder.Normal].
func (r *Recorder) Warning(about apimachinery.Object, reason, format string, args ...any) {
	r.Record(Reference(about), corev1.EventTypeWarning, reason, format, args...)
}

// Reference is what an event says that it is about.
func Reference(o apimachinery.Object) corev1.ObjectReference {
	kind := o.GetObjectKind().GroupVersionKind()
	return corev1.ObjectReference{
		APIVersion: kind.GroupVersion().String(), Kind: kind.Kind, Namespace: o.GetNamespace(), Name: o.GetName(),
		UID: o.GetUID(), ResourceVersion: o.GetResourceVersion(),
	}
}

// Record records an event about anything; typ is corev1.EventTypeNormal or EventTypeWarning.
func (r *Recorder) Record(about corev1.ObjectReference, typ, reason, format string, args ...any) {
	note := format
	if len(args) > 0 {
		note = fmt.Sprintf(format, args...)
	}
	const most = 1024 // as the API has it
	if len(note) > most {
		note = strings.ToValidUTF8(note[:most-3], "") + "..."
	}
	o := occurrence{time.Now(), id{
		group: about.GroupVersionKind().Group, kind: about.Kind, namespace: about.Namespace, name: about.Name,
		uid: about.UID, typ: typ, reason: reason, note: note,
	}, about}
	select {
	case r.queue <- o:
	default:
		r.dropped.Add(1)
	}
}

// Dropped is how many events were lost because the queue was full.
func (r *Recorder) Dropped() uint64 { return r.dropped.Load() }

// drainFor is how long what is queued at the end may take, in all.
const drainFor = 2 * time.Second

// Run writes events until ctx ends, then those that are queued still, and returns nil. It may be called once.
func (r *Recorder) Run(ctx context.Context) error {
	if r.began.Swap(true) {
		return errors.New("run the event recorder: it runs already, or has run")
	}
	c := newCorrelator(r.c.Burst, r.c.Every, r.c.Remember)
	life, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	stop := context.AfterFunc(ctx, func() { time.AfterFunc(drainFor, end) })
	defer stop()
	for {
		select {
		case <-ctx.Done():
			r.drain(life, c)
			return nil
		case o := <-r.queue:
			r.write(life, c, o)
		}
	}
}

func (r *Recorder) drain(life context.Context, c *correlator) {
	for life.Err() == nil {
		select {
		case o := <-r.queue:
			r.write(life, c, o)
		default:
			return
		}
	}
}

func (r *Recorder) write(ctx context.Context, c *correlator, o occurrence) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	known, v := c.see(o.at, o.id)
	if v.drop {
		return
	}
	err := r.store(ctx, o, v)
	if apierrors.IsNotFound(err) && !v.first {
		c.forget(known)
		if known, v = c.see(o.at, o.id); v.drop {
			return
		}
		err = r.store(ctx, o, v)
	}
	if err != nil {
		c.forget(known)
		r.c.Log.Warn("lose an event", "about", o.about.Kind+" "+apimachinery.Key(o.about.Namespace, o.about.Name), "reason", o.id.reason, "err", err)
	}
}

func (r *Recorder) store(ctx context.Context, o occurrence, v verdict) error {
	if v.first {
		e := r.event(o, v)
		v.known.namespace, v.known.key = e.Namespace, e.Name
		_, err := r.events.Create(ctx, e)
		return err
	}
	patch, err := apimachinery.Encode(map[string]any{
		"count": v.known.count, "lastTimestamp": metav1.NewTime(v.known.last), "message": v.note,
	})
	if err != nil {
		return err
	}
	_, err = r.events.Patch(ctx, v.known.namespace, v.known.key, types.MergePatchType, patch)
	return err
}

func (r *Recorder) event(o occurrence, v verdict) *corev1.Event {
	at := metav1.NewTime(o.at)
	namespace := o.about.Namespace
	if namespace == "" {
		namespace = metav1.NamespaceDefault
	}
	return &corev1.Event{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: namespace,
			Name:      o.about.Name + "." + strconv.FormatInt(o.at.UnixNano(), 16),
		},
		InvolvedObject: o.about, Type: o.id.typ, Reason: o.id.reason, Message: v.note,
		Source:         corev1.EventSource{Component: r.c.Component, Host: r.c.Host},
		FirstTimestamp: at, LastTimestamp: at, Count: v.known.count,
		ReportingController: r.c.Component, ReportingInstance: r.c.Host,
	}
}
