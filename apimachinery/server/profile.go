package server

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"runtime/pprof"
	"runtime/trace"
	"strconv"
	"strings"
	"time"

	"github.com/bedplate/bedplate/apimachinery/wire"
)

// profile serves Go's profiles as net/http/pprof does, which this does without: it would serve them to everybody on
// the process' default mux, too.
func (s *Server) profile(w http.ResponseWriter, hr *http.Request, name string) {
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("Content-Type", "application/octet-stream")
	switch name {
	case "":
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		for _, p := range pprof.Profiles() {
			fmt.Fprintf(w, "%d\t%s\n", p.Count(), p.Name())
		}
		fmt.Fprint(w, "\tcmdline\n\tprofile\n\ttrace\n")
	case "cmdline":
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		fmt.Fprint(w, strings.Join(os.Args, "\x00"))
	case "profile":
		s.sample(w, hr, 30*time.Second, pprof.StartCPUProfile, pprof.StopCPUProfile)
	case "trace":
		s.sample(w, hr, time.Second, trace.Start, trace.Stop)
	default:
		p := pprof.Lookup(name)
		if p == nil {
			s.refuse(w, hr, wire.NotFound())
			return
		}
		debug, _ := strconv.Atoi(hr.URL.Query().Get("debug")) // none is 0, and so is nonsense
		if debug != 0 {
			w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		}
		_ = p.WriteTo(w, debug) // nobody is left to tell if that fails
	}
}

// sample collects a profile for as long as the query says, within the limit of all requests.
func (s *Server) sample(w http.ResponseWriter, hr *http.Request, d time.Duration, start func(io.Writer) error, stop func()) {
	if n, err := strconv.ParseFloat(hr.URL.Query().Get("seconds"), 64); err == nil && n > 0 {
		d = time.Duration(min(n, s.c.Limits.Timeout.Seconds()) * float64(time.Second))
	}
	var buf bytes.Buffer
	if err := start(&buf); err != nil {
		s.refuse(w, hr, genericError(http.StatusConflict, err.Error()))
		return
	}
	ctx, cancel := context.WithTimeout(hr.Context(), d)
	defer cancel()
	<-ctx.Done()
	stop()
	_, _ = w.Write(buf.Bytes()) // as above
}
