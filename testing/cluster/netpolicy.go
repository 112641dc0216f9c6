package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/cloudnativelabs/kube-router/v2/pkg/controllers/netpol"
	"github.com/cloudnativelabs/kube-router/v2/pkg/healthcheck"
	"github.com/cloudnativelabs/kube-router/v2/pkg/options"
	"github.com/spf13/cobra"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
)

// netpolicy enforces NetworkPolicy with iptables and ipset: the firewall controller of kube-router, as a library.
func netpolicy() *cobra.Command {
	var kubeconfig, node, services string
	c := &cobra.Command{Use: "netpolicy", Args: cobra.NoArgs, RunE: func(*cobra.Command, []string) error {
		rest, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
		if err != nil {
			return err
		}
		client, err := kubernetes.NewForConfig(rest)
		if err != nil {
			return err
		}
		ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
		defer stop()

		o := options.NewKubeRouterConfig()
		o.EnableIPv4, o.RunFirewall = true, true
		o.ClusterIPCIDRs = []string{services}
		o.HostnameOverride = node
		o.IPTablesSyncPeriod = time.Minute

		f := informers.NewSharedInformerFactory(client, 0)
		pods := f.Core().V1().Pods().Informer()
		policies := f.Networking().V1().NetworkPolicies().Informer()
		spaces := f.Core().V1().Namespaces().Informer()
		f.Start(ctx.Done())
		f.WaitForCacheSync(ctx.Done())

		tables, sets, err := netpol.NewIPTablesHandlers(o)
		if err != nil {
			return fmt.Errorf("the programs iptables and ipset are needed: %w", err)
		}
		ctl, err := netpol.NewNetworkPolicyController(client, o, pods, policies, spaces, &sync.Mutex{}, tables, sets)
		if err != nil {
			return err
		}
		if _, err := pods.AddEventHandler(ctl.PodEventHandler); err != nil {
			return err
		}
		if _, err := spaces.AddEventHandler(ctl.NamespaceEventHandler); err != nil {
			return err
		}
		if _, err := policies.AddEventHandler(ctl.NetworkPolicyEventHandler); err != nil {
			return err
		}
		beats := make(chan *healthcheck.ControllerHeartbeat, 10)
		go func() {
			for range beats {
			}
		}()
		var wg sync.WaitGroup
		wg.Add(1)
		fmt.Fprintln(os.Stderr, "netpolicy: running")
		ctl.Run(beats, ctx.Done(), &wg)
		wg.Wait()
		return nil
	}}
	c.Flags().StringVar(&kubeconfig, "kubeconfig", "", "client configuration")
	c.Flags().StringVar(&node, "node", "", "name of this node")
	c.Flags().StringVar(&services, "services", "", "address range of the Services")
	return c
}
