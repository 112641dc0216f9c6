// Command node is the first process of a test cluster: the init of the cluster's own PID, mount, network, UTS and IPC
// namespaces. It covers fixed paths, starts the parts and starts them again, and reaps. When it ends, the kernel ends
// everything below it. It needs nothing but the standard library, so that it builds in a second.
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

func main() {
	if len(os.Args) < 2 {
		usage()
	}
	var err error
	switch os.Args[1] {
	case "up":
		err = up(os.Args[2:])
	case "push":
		err = push(os.Args[2:])
	default:
		usage()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "node:", err)
		os.Exit(1)
	}
}

func usage() {
	fmt.Fprintln(os.Stderr, "usage: node up --state DIR --cgroup NAME --relay FD --seat FD [--limit TIME] | node push IMAGE.tar REPOSITORY")
	os.Exit(2)
}

// up never returns once the cluster runs. On its standard output it says one line a step, then `ready`, or
// `failed: PART: REASON`; the output is closed after that.
func up(args []string) error {
	var p place
	var relayed, seat int
	var limit time.Duration
	flags := flag.NewFlagSet("node up", flag.ExitOnError)
	flags.StringVar(&p.state, "state", "", "folder of the cluster")
	flags.StringVar(&p.cgroup, "cgroup", "", "cgroup of all pods, below the root of each hierarchy")
	flags.IntVar(&relayed, "relay", 0, "a listener of the machine's network, passed on to the API server")
	flags.IntVar(&seat, "seat", 0, "a locked file: others see by its lock that this process lives")
	flags.DurationVar(&limit, "limit", 90*time.Second, "for all parts to be ready")
	if err := flags.Parse(args); err != nil {
		return err
	}
	syscall.CloseOnExec(seat)
	if err := recordInit(p); err != nil {
		return err
	}
	said := newReport(os.Stdout)
	relay, err := newRelay(relayed)
	if err == nil {
		err = p.prepare(relay)
	}
	if err == nil {
		err = enclose(p)
	}
	if err != nil {
		said.failed("node", err)
		return err
	}
	go relay.run()
	processes := newSupervisor(p, said)
	go func() {
		if part, err := bringUp(p, processes, said, limit); err != nil {
			said.failed(part, err)
			os.Exit(1)
		}
		said.ready()
	}()
	processes.reap()
	return nil
}

// recordInit writes this process's number on the machine and when it began, by which others find it. /proc is still
// that of the machine.
func recordInit(p place) error {
	number, err := os.Readlink("/proc/self")
	if err != nil {
		return err
	}
	stat, err := os.ReadFile(filepath.Join("/proc", number, "stat"))
	if err != nil {
		return err
	}
	began, err := startTime(string(stat))
	if err != nil {
		return err
	}
	fresh := p.at("init.new")
	if err := os.WriteFile(fresh, []byte(number+" "+began+"\n"), 0o644); err != nil {
		return err
	}
	return os.Rename(fresh, p.at("init"))
}
