// Command cluster is every part of a small Kubernetes cluster in one binary: the first argument names the part. So one
// `go build` gives a control plane, a node, DNS and a client.
package main

import (
	"context"
	"fmt"
	"maps"
	"net/url"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"go.etcd.io/etcd/server/v3/embed"
	"k8s.io/component-base/cli"
	"k8s.io/kubectl/pkg/cmd"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllermanager "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	proxy "k8s.io/kubernetes/cmd/kube-proxy/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
	kubelet "k8s.io/kubernetes/cmd/kubelet/app"

	"github.com/coredns/coredns/core/dnsserver"
	"github.com/coredns/coredns/coremain"
	_ "github.com/coredns/coredns/plugin/bind"
	_ "github.com/coredns/coredns/plugin/errors"
	_ "github.com/coredns/coredns/plugin/kubernetes"
	_ "github.com/coredns/coredns/plugin/ready"
)

// Only the plugins that the cluster needs; CoreDNS runs them in this order.
func init() { dnsserver.Directives = []string{"bind", "ready", "errors", "kubernetes"} }

// etcd runs one embedded member in the folder args[0], on 127.0.0.1:2379.
func etcd() *cobra.Command {
	return &cobra.Command{Use: "etcd DIR", Args: cobra.ExactArgs(1), RunE: func(_ *cobra.Command, args []string) error {
		client, _ := url.Parse("http://127.0.0.1:2379")
		peer, _ := url.Parse("http://127.0.0.1:2380")
		c := embed.NewConfig()
		c.Dir = args[0]
		c.ListenClientUrls, c.AdvertiseClientUrls = []url.URL{*client}, []url.URL{*client}
		c.ListenPeerUrls, c.AdvertisePeerUrls = []url.URL{*peer}, []url.URL{*peer}
		c.InitialCluster = c.InitialClusterFromName(c.Name)
		c.UnsafeNoFsync = true // a test cluster need not survive a power cut
		c.LogLevel = "warn"
		e, err := embed.StartEtcd(c)
		if err != nil {
			return err
		}
		defer e.Close()
		select {
		case <-e.Server.ReadyNotify():
		case <-time.After(30 * time.Second):
			return fmt.Errorf("etcd: not ready after 30 s")
		}
		ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
		defer stop()
		<-ctx.Done()
		return nil
	}}
}

func main() {
	parts := map[string]func() int{
		"etcd":                    func() int { return cli.Run(etcd()) },
		"kube-apiserver":          func() int { return cli.Run(apiserver.NewAPIServerCommand()) },
		"kube-controller-manager": func() int { return cli.Run(controllermanager.NewControllerManagerCommand()) },
		"kube-scheduler":          func() int { return cli.Run(scheduler.NewSchedulerCommand()) },
		"kubelet":                 func() int { return cli.Run(kubelet.NewKubeletCommand(context.Background())) },
		"kube-proxy":              func() int { return cli.Run(proxy.NewProxyCommand()) },
		"kubectl":                 func() int { return cli.Run(cmd.NewDefaultKubectlCommand()) },
		"coredns":                 func() int { coremain.Run(); return 0 },
		"netpolicy":               func() int { return cli.Run(netpolicy()) },
	}
	// A link to this program with the name of a part is that part.
	if part := parts[filepath.Base(os.Args[0])]; part != nil {
		os.Exit(part())
	}
	if len(os.Args) < 2 || parts[os.Args[1]] == nil {
		names := slices.Sorted(maps.Keys(parts))
		fmt.Fprintln(os.Stderr, "usage: cluster PART [ARG...], where PART is one of", names)
		os.Exit(2)
	}
	part := parts[os.Args[1]]
	os.Args = os.Args[1:]
	os.Exit(part())
}
