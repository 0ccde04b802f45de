package fairness

import (
	"math"
	"time"
)

// smoothing is how much of the smoothed demand stays from one period to the next: half of it in five minutes.
const smoothing = 0.977

// demand is how many seats were wanted, over time. The zero value begins at time zero with none.
type demand struct {
	now         float64
	since, last time.Duration
	sum, square float64
	high        float64

	// What the last period came to.
	average, deviation, watermark, smoothed float64
}

// set says that n seats are wanted from now on.
func (d *demand) set(now time.Duration, n float64) {
	d.advance(now)
	d.now, d.high = n, math.Max(d.high, n)
}

func (d *demand) advance(now time.Duration) {
	if dt := (now - d.last).Seconds(); dt > 0 {
		d.sum += d.now * dt
		d.square += d.now * d.now * dt
		d.last = now
	}
}

// period ends a period and begins the next.
func (d *demand) period(now time.Duration) {
	d.advance(now)
	if took := (now - d.since).Seconds(); took > 0 {
		d.average = d.sum / took
		d.deviation = math.Sqrt(math.Max(0, d.square/took-d.average*d.average))
	} else {
		d.average, d.deviation = d.now, 0
	}
	d.watermark = d.high
	envelope := d.average + d.deviation
	d.smoothed = math.Max(envelope, smoothing*d.smoothed+(1-smoothing)*envelope)
	d.since, d.sum, d.square, d.high = now, 0, 0, d.now
}
