package main

import (
	"fmt"
	"io"
	"log"
	"net"
	"os"
	"syscall"
)

// relay passes connections from the machine's loopback on to the API server. A socket stays in the network where it
// was made, so that the listener, made by `cargo xtask cluster` before the namespaces, joins the two without a device.
type relay struct {
	listener net.Listener
	target   string
}

func newRelay(descriptor int) (*relay, error) {
	syscall.CloseOnExec(descriptor)
	file := os.NewFile(uintptr(descriptor), "relay")
	listener, err := net.FileListener(file)
	if err != nil {
		return nil, fmt.Errorf("the descriptor %d is no listener: %w", descriptor, err)
	}
	file.Close()
	return &relay{listener, net.JoinHostPort(nodeAddress, apiPort)}, nil
}

func (r *relay) address() string { return r.listener.Addr().String() }

func (r *relay) run() {
	for {
		near, err := r.listener.Accept()
		if err != nil {
			log.Printf("relay: %v", err)
			return
		}
		go func() {
			defer near.Close()
			far, err := net.Dial("tcp", r.target)
			if err != nil {
				return
			}
			defer far.Close()
			go pass(far, near)
			pass(near, far)
		}()
	}
}

// pass copies one direction and hands on its end.
func pass(to, from net.Conn) {
	_, _ = io.Copy(to, from)
	if half, ok := to.(*net.TCPConn); ok {
		_ = half.CloseWrite()
	}
}
