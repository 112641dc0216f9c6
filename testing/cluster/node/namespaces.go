package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
)

// covered are folders whose paths are fixed in programs: each is covered inside the cluster's mount namespace, by a
// folder of its data or, without a name, by one in memory. They exist on the machine; `cargo xtask cluster` saw to it.
var covered = []struct{ path, data string }{
	{"/run/containerd", ""},
	{"/run/netns", ""},
	{"/var/lib/cni", "cni"},
	{"/var/lib/kubelet", "kubelet"},
	{"/var/log/pods", "pods"},
	{"/var/log/containers", "links"},
}

// enclose makes the new namespaces fit to live in.
func enclose(p place) error {
	// The kubelet wants mounts to reach from the node into pods and back; nothing reaches the machine.
	if err := syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_SHARED, ""); err != nil {
		return fmt.Errorf("sharing mounts: %w", err)
	}
	if err := syscall.Mount("proc", "/proc", "proc", 0, ""); err != nil {
		return fmt.Errorf("mounting /proc: %w", err)
	}
	for _, cover := range covered {
		if err := coverWith(p, cover.path, cover.data); err != nil {
			return fmt.Errorf("covering %s: %w", cover.path, err)
		}
	}
	for _, name := range []string{"hosts", "resolv.conf"} {
		at, err := filepath.EvalSymlinks(filepath.Join("/etc", name))
		if err != nil {
			return err
		}
		if err := syscall.Mount(p.conf(name), at, "", syscall.MS_BIND, ""); err != nil {
			return fmt.Errorf("covering %s: %w", at, err)
		}
	}
	if err := syscall.Sethostname([]byte(nodeName)); err != nil {
		return err
	}
	return network(p)
}

func coverWith(p place, path, name string) error {
	if name == "" {
		return syscall.Mount("cluster", path, "tmpfs", 0, "mode=755")
	}
	if err := os.MkdirAll(p.data(name), 0o755); err != nil {
		return err
	}
	return syscall.Mount(p.data(name), path, "", syscall.MS_BIND, "")
}

// network gives the node an address on a pair of devices that leads nowhere.
func network(p place) error {
	ip, err := p.program("ip")
	if err != nil {
		return err
	}
	for _, line := range []string{
		"link set lo up",
		"link add node0 type veth peer name node1",
		"addr add " + nodeAddress + "/24 dev node0",
		"link set node0 up",
		"link set node1 up",
		// Addresses of Services need some route.
		"route add default via " + gateway,
	} {
		if said, err := exec.Command(ip, strings.Fields(line)...).CombinedOutput(); err != nil {
			return fmt.Errorf("ip %s: %w: %s", line, err, said)
		}
	}
	return os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0o644)
}
