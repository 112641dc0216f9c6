package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"time"
)

// bringUp starts everything in the order in which one needs the other. It gives the part that failed.
func bringUp(p place, processes *supervisor, said *report, limit time.Duration) (string, error) {
	scope, stop := context.WithTimeout(context.Background(), limit)
	defer stop()
	api, err := newAPI(p)
	if err != nil {
		return "kube-apiserver", err
	}
	steps := []struct {
		name  string
		start []string
		ready func() error
	}{
		{"etcd", []string{"cluster", "etcd", p.data("etcd")}, nil},
		{"containerd", []string{"containerd", "-c", p.conf("containerd.toml")}, nil},
		{"registry", []string{"docker-registry", "serve", p.conf("registry.yml")}, nil},
		{"kube-apiserver", p.apiServer(), nil},
		{"containerd", nil, func() error { return answers("unix", containerd) }},
		{"pause image", nil, func() error {
			return processes.run("pause-image", "ctr", "--address", containerd, "-n", "k8s.io", "images", "import", p.at("bin", "pause.tar"))
		}},
		{"kube-apiserver", nil, func() error { return api.ok("/readyz") }},
		{"kubelet", p.kubelet(), nil},
		{"kube-controller-manager", p.controllerManager(), nil},
		{"kube-scheduler", p.client("kube-scheduler"), nil},
		{"kube-proxy", []string{"cluster", "kube-proxy", "--config=" + p.conf("kube-proxy.yaml")}, nil},
		{"coredns", []string{"cluster", "coredns", "-conf", p.conf("Corefile")}, nil},
		{"kube-apiserver", nil, func() error { return api.ok("/api/v1/namespaces/kube-system") }},
		{"coredns", nil, func() error { return api.publishDNS() }},
		{"kubelet", nil, func() error { return api.nodeIsReady() }},
		{"netpolicy", []string{"cluster", "netpolicy", "--kubeconfig=" + p.conf("admin.kubeconfig"), "--node=" + nodeName,
			"--services=" + services}, nil},
		{"kube-controller-manager", nil, func() error { return api.ok("/api/v1/namespaces/default/serviceaccounts/default") }},
		{"coredns", nil, func() error { return responds("http://" + net.JoinHostPort(nodeAddress, "8181") + "/ready") }},
		{"registry", nil, func() error { return responds("http://" + net.JoinHostPort(nodeAddress, registryPort) + "/v2/") }},
	}
	for _, step := range steps {
		if step.start != nil {
			if err := processes.keep(step.name, step.start...); err != nil {
				return step.name, err
			}
		}
		if step.ready != nil {
			if err := await(scope, step.ready); err != nil {
				return step.name, fmt.Errorf("not ready within %s: %w", limit, err)
			}
			said.step(step.name)
		}
	}
	return "", nil
}

// await asks again and again until there is no error, or gives the last one.
func await(scope context.Context, ready func() error) error {
	again := time.NewTicker(50 * time.Millisecond)
	defer again.Stop()
	for {
		err := ready()
		if err == nil {
			return nil
		}
		select {
		case <-again.C:
		case <-scope.Done():
			return err
		}
	}
}

func answers(network, address string) error {
	connection, err := net.DialTimeout(network, address, time.Second)
	if err != nil {
		return err
	}
	return connection.Close()
}

func responds(url string) error {
	answer, err := (&http.Client{Timeout: 2 * time.Second}).Get(url)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", url, answer.Status)
	}
	return nil
}

func (p place) apiServer() []string {
	return []string{
		"cluster", "kube-apiserver", "--etcd-servers=http://127.0.0.1:2379", "--secure-port=" + apiPort,
		"--bind-address=0.0.0.0", "--advertise-address=" + nodeAddress,
		"--tls-cert-file=" + p.key("apiserver.crt"), "--tls-private-key-file=" + p.key("apiserver.key"),
		"--client-ca-file=" + p.key("ca.crt"),
		"--service-account-key-file=" + p.key("sa.pub"), "--service-account-signing-key-file=" + p.key("sa.key"),
		"--service-account-issuer=https://kubernetes.default.svc",
		"--authorization-mode=Node,RBAC", "--service-cluster-ip-range=" + services,
		"--enable-admission-plugins=NodeRestriction", "--allow-privileged=true",
		"--kubelet-client-certificate=" + p.key("admin.crt"), "--kubelet-client-key=" + p.key("admin.key"),
		"--kubelet-certificate-authority=" + p.key("ca.crt"), "--kubelet-preferred-address-types=InternalIP",
		"--enable-priority-and-fairness=false",
		"--requestheader-client-ca-file=" + p.key("ca.crt"), "--requestheader-allowed-names=front",
		"--requestheader-username-headers=X-Remote-User", "--requestheader-group-headers=X-Remote-Group",
		"--requestheader-extra-headers-prefix=X-Remote-Extra-",
		"--proxy-client-cert-file=" + p.key("front.crt"), "--proxy-client-key-file=" + p.key("front.key"),
		"--feature-gates=ImageVolume=true",
	}
}

func (p place) kubelet() []string {
	return []string{"cluster", "kubelet", "--config=" + p.conf("kubelet.yaml"),
		"--kubeconfig=" + p.conf("kubelet.kubeconfig"), "--hostname-override=" + nodeName, "--node-ip=" + nodeAddress}
}

func (p place) controllerManager() []string {
	return append(p.client("kube-controller-manager"),
		"--use-service-account-credentials", "--service-account-private-key-file="+p.key("sa.key"),
		"--root-ca-file="+p.key("ca.crt"), "--cluster-signing-cert-file="+p.key("ca.crt"),
		"--cluster-signing-key-file="+p.key("ca.key"), "--allocate-node-cidrs=false", "--controllers=*")
}

// client is what the two parts have in common that only talk to the API server.
func (p place) client(name string) []string {
	kubeconfig := p.conf(name + ".kubeconfig")
	return []string{"cluster", name, "--kubeconfig=" + kubeconfig, "--authentication-kubeconfig=" + kubeconfig,
		"--authorization-kubeconfig=" + kubeconfig, "--leader-elect=false", "--kube-api-qps=200", "--kube-api-burst=400"}
}
