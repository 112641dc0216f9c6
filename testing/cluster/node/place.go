package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
)

// Names and addresses inside a cluster. Every cluster has a network of its own, so that all may have the same.
const (
	nodeName     = "node1"
	nodeAddress  = "10.96.0.1"
	gateway      = "10.96.0.2"
	services     = "10.97.0.0/16"
	pods         = "10.98.0.0/16"
	apiService   = "10.97.0.1"
	dnsService   = "10.97.0.10"
	registryHost = "registry.test"
	registryPort = "5000"
	apiPort      = "6443"
	dnsPort      = 1053
	pauseImage   = "cluster.test/pause:1"
	containerd   = "/run/containerd/containerd.sock"
	searchPath   = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
)

// place says where a cluster's files are.
type place struct{ state, cgroup string }

func (p place) at(parts ...string) string {
	return filepath.Join(append([]string{p.state}, parts...)...)
}

func (p place) key(name string) string  { return p.at("keys", name) }
func (p place) conf(name string) string { return p.at("conf", name) }
func (p place) data(name string) string { return p.at("data", name) }
func (p place) log(name string) string  { return p.at("log", name+".log") }

// program finds a program: first among the cluster's own, then among the system's.
func (p place) program(name string) (string, error) {
	for _, folder := range strings.Split(p.path(), ":") {
		at := filepath.Join(folder, name)
		if info, err := os.Stat(at); err == nil && !info.IsDir() && info.Mode()&0o111 != 0 {
			return at, nil
		}
	}
	return "", errors.New("there is no program " + name)
}

func (p place) path() string { return p.at("bin") + ":" + searchPath }

// startTime is the 22nd field of /proc/PID/stat; the second, in brackets, may hold anything.
func startTime(stat string) (string, error) {
	end := strings.LastIndexByte(stat, ')')
	fields := strings.Fields(stat[end+1:])
	if end < 0 || len(fields) < 20 {
		return "", errors.New("/proc/PID/stat is not as expected")
	}
	return fields[19], nil
}
