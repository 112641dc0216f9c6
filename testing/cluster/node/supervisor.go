package main

import (
	"errors"
	"fmt"
	"log"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	// A part that lives shorter than this has not really started.
	shortLife = 5 * time.Second
	// So many short lives in a row, and the cluster cannot come up.
	shortLives = 5
	// Between a part's end and its next start, for each short life.
	patience = 200 * time.Millisecond
)

// supervisor starts processes and is told when they end; one goroutine waits for all, also for orphans.
type supervisor struct {
	place place
	said  *report
	// lock is held from before a process starts until ended knows it, so that none ends unknown.
	lock  sync.Mutex
	ended map[int]func(syscall.WaitStatus)
}

func newSupervisor(p place, said *report) *supervisor {
	return &supervisor{place: p, said: said, ended: map[int]func(syscall.WaitStatus){}}
}

// start begins a process whose output is appended to the log of that name.
func (s *supervisor) start(name string, argv []string, ended func(syscall.WaitStatus)) error {
	program, err := s.place.program(argv[0])
	if err != nil {
		return err
	}
	// Not by os/exec: that waits for its processes itself, and reap would take them away.
	output, err := os.OpenFile(s.place.log(name), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	defer output.Close()
	nothing, err := os.Open(os.DevNull)
	if err != nil {
		return err
	}
	defer nothing.Close()
	attributes := &syscall.ProcAttr{
		Env:   []string{"PATH=" + s.place.path(), "HOME=" + s.place.at("data")},
		Files: []uintptr{nothing.Fd(), output.Fd(), output.Fd()},
	}
	s.lock.Lock()
	defer s.lock.Unlock()
	pid, err := syscall.ForkExec(program, argv, attributes)
	if err != nil {
		return fmt.Errorf("starting %s: %w", program, err)
	}
	s.ended[pid] = ended
	return nil
}

// keep starts a process, and again whenever it ends.
func (s *supervisor) keep(name string, argv ...string) error {
	return s.keepAfter(name, argv, 0)
}

func (s *supervisor) keepAfter(name string, argv []string, lives int) error {
	began := time.Now()
	return s.start(name, argv, func(status syscall.WaitStatus) {
		next := 0
		if time.Since(began) < shortLife {
			next = lives + 1
		}
		log.Printf("%s: ended with %s, starts again", name, statusText(status))
		if next == shortLives {
			s.said.failed(name, errors.New("it ends as soon as it is started"))
		}
		time.AfterFunc(patience*time.Duration(min(next, shortLives)), func() {
			if err := s.keepAfter(name, argv, next); err != nil {
				s.said.failed(name, err)
			}
		})
	})
}

// run starts a process and waits for its end.
func (s *supervisor) run(name string, argv ...string) error {
	done := make(chan syscall.WaitStatus, 1)
	if err := s.start(name, argv, func(status syscall.WaitStatus) { done <- status }); err != nil {
		return err
	}
	if status := <-done; status.ExitStatus() != 0 {
		return fmt.Errorf("`%s` ended with %s; see its log", strings.Join(argv, " "), statusText(status))
	}
	return nil
}

// reap waits for every process that ends below this one, for ever.
func (s *supervisor) reap() {
	ends := make(chan os.Signal, 1)
	signal.Notify(ends, syscall.SIGCHLD)
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, syscall.WNOHANG, nil)
		switch {
		case err == syscall.EINTR:
		case err != nil || pid == 0:
			<-ends
		default:
			s.lock.Lock()
			ended := s.ended[pid]
			delete(s.ended, pid)
			s.lock.Unlock()
			if ended != nil {
				ended(status)
			}
		}
	}
}

func statusText(status syscall.WaitStatus) string {
	if status.Signaled() {
		return "signal " + status.Signal().String()
	}
	return fmt.Sprintf("code %d", status.ExitStatus())
}
