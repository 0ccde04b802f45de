package audit

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"
)

// Webhook sends events to a webhook, each time an EventList by POST.
type Webhook struct {
	// URL is where to, and Client how: kubeconfig.Webhook (apimachinery/client/kubeconfig) reads both from a
	// kubeconfig file, which is Kubernetes' way. The client should give up after 30 s.
	URL    string
	Client *http.Client
	// Backoff is the wait before the second try, 10 s by default; each wait is half as long again as the one before,
	// and a fifth of it is random. The fifth try is the last.
	Backoff time.Duration
	// Delivery is Batch by default, with a BatchSize of 400, a Throttle of 10 and a Burst of 15.
	Delivery Delivery
	Truncate Truncate
}

const tries = 5

func (w *Webhook) sink() (Sink, error) {
	if w.URL == "" || w.Client == nil {
		return Sink{}, errors.New("webhook: no URL or no client")
	}
	s := Sink{Name: "webhook", Delivery: w.Delivery, Truncate: w.Truncate}
	d := &s.Delivery
	if d.Mode = or(d.Mode, Batch); d.Mode == Batch {
		d.BatchSize, d.Throttle, d.Burst = or(d.BatchSize, 400), or(d.Throttle, 10), or(d.Burst, 15)
	}
	first := or(w.Backoff, 10*time.Second)
	url, client := w.URL, w.Client
	s.Write = func(ctx context.Context, events []*auditv1.Event) error {
		body, err := encodeList(events)
		if err != nil {
			return err
		}
		wait := float64(first)
		for try := 1; ; try++ {
			if err = post(ctx, client, url, body); err == nil || try == tries {
				return err
			}
			select {
			case <-time.After(time.Duration(wait * (1 + rand.Float64()/5))):
			case <-ctx.Done():
				return errors.Join(err, ctx.Err())
			}
			wait *= 1.5
		}
	}
	return s, nil
}

func encodeList(events []*auditv1.Event) ([]byte, error) {
	list := auditv1.EventList{TypeMeta: metav1.TypeMeta{Kind: "EventList", APIVersion: auditv1.SchemeGroupVersion.String()}}
	for _, ev := range events {
		item := *ev
		item.TypeMeta = metav1.TypeMeta{}
		list.Items = append(list.Items, item)
	}
	return json.Marshal(&list)
}

func post(ctx context.Context, client *http.Client, url string, body []byte) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("post audit events: %w", err)
	}
	r.Header.Set("Content-Type", "application/json")
	resp, err := client.Do(r)
	if err != nil {
		return fmt.Errorf("post audit events: %w", err)
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 64<<10)) // so that the connection can be used again
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return fmt.Errorf("post audit events: the webhook answered %s", resp.Status)
	}
	return nil
}
