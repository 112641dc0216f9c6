package main

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"time"
)

// report tells whoever waits for the cluster how far it is. After the last word its output is closed: nobody reads it
// any more, and writing would end the cluster.
type report struct {
	lock  sync.Mutex
	out   io.WriteCloser
	began time.Time
}

func newReport(out io.WriteCloser) *report {
	return &report{out: out, began: time.Now()}
}

func (r *report) step(text string) {
	r.say(fmt.Sprintf("%6.2f s  %s", time.Since(r.began).Seconds(), text), false)
}

func (r *report) ready() { r.say("ready", true) }

func (r *report) failed(part string, err error) {
	r.say("failed: "+part+": "+err.Error(), true)
}

func (r *report) say(line string, last bool) {
	r.lock.Lock()
	defer r.lock.Unlock()
	if r.out == nil {
		return
	}
	fmt.Fprintln(r.out, strings.ReplaceAll(line, "\n", " "))
	if last {
		r.out.Close()
		r.out = nil
	}
}
