package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Where Debian and others keep the CNI plugins.
var pluginFolders = []string{"/usr/lib/cni", "/opt/cni/bin"}

type object = map[string]any

// prepare writes keys and every configuration file, while the machine's files are still to be seen.
func (p place) prepare(relay *relay) error {
	if err := p.makeKeys(); err != nil {
		return fmt.Errorf("making keys: %w", err)
	}
	plugins := ""
	for _, folder := range pluginFolders {
		if _, err := os.Stat(filepath.Join(folder, "ptp")); err == nil {
			plugins = folder
		}
	}
	if plugins == "" {
		return fmt.Errorf("no CNI plugins in %s", strings.Join(pluginFolders, ", "))
	}
	runc, err := p.program("runc")
	if err != nil {
		return err
	}
	major, err := p.containerdMajor()
	if err != nil {
		return err
	}
	hostname, err := os.Hostname()
	if err != nil {
		return err
	}
	files := map[string]any{
		"containerd.toml": p.containerdConfiguration(major, plugins, runc),
		"certs.d/" + registry() + "/hosts.toml": fmt.Sprintf(
			"server = \"http://%[1]s\"\n[host.\"http://%[1]s\"]\n  capabilities = [\"pull\", \"resolve\", \"push\"]\n", registry()),
		"cni/10-cluster.conflist": pluginConfiguration(),
		"kubelet.yaml":            p.kubeletConfiguration(),
		"kube-proxy.yaml":         p.proxyConfiguration(),
		"resolv.conf":             "nameserver " + dnsService + "\noptions timeout:1 attempts:1\n",
		"hosts":                   fmt.Sprintf("127.0.0.1 localhost %s\n%s %s %s\n", hostname, nodeAddress, nodeName, registryHost),
		"Corefile": fmt.Sprintf(".:%d {\n bind %s\n errors\n ready %[2]s:8181\n kubernetes cluster.local {\n"+
			"  kubeconfig %s cluster\n }\n}\n", dnsPort, nodeAddress, p.conf("admin.kubeconfig")),
		"registry.yml": fmt.Sprintf("version: 0.1\nlog: {level: warn}\nstorage: {filesystem: {rootdirectory: %q}, "+
			"delete: {enabled: true}}\nhttp: {addr: %q}\n", p.data("registry"), nodeAddress+":"+registryPort),
	}
	inside := "https://" + nodeAddress + ":" + apiPort
	for _, who := range []string{"admin", "kube-controller-manager", "kube-scheduler", "kube-proxy", "kubelet"} {
		if files[who+".kubeconfig"], err = p.kubeconfig(who, inside); err != nil {
			return err
		}
	}
	if files["machine.kubeconfig"], err = p.kubeconfig("admin", "https://"+relay.address()); err != nil {
		return err
	}
	for name, content := range files {
		if err := put(p.conf(name), content); err != nil {
			return err
		}
	}
	return nil
}

// put writes a text as it is, anything else as JSON.
func put(path string, content any) error {
	text, is := content.(string)
	if !is {
		encoded, err := json.MarshalIndent(content, "", " ")
		if err != nil {
			return err
		}
		text = string(encoded) + "\n"
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, []byte(text), 0o600)
}

func registry() string { return registryHost + ":" + registryPort }

// kubeconfig holds its keys, so that the file can be given to anybody on the machine.
func (p place) kubeconfig(who, server string) (object, error) {
	read := map[string][]byte{}
	for _, name := range []string{"ca.crt", who + ".crt", who + ".key"} {
		content, err := os.ReadFile(p.key(name))
		if err != nil {
			return nil, err
		}
		read[name] = content
	}
	return object{
		"apiVersion": "v1", "kind": "Config", "current-context": "cluster",
		"clusters": []object{{"name": "cluster", "cluster": object{
			"server": server, "certificate-authority-data": read["ca.crt"]}}},
		"users": []object{{"name": who, "user": object{
			"client-certificate-data": read[who+".crt"], "client-key-data": read[who+".key"]}}},
		"contexts": []object{{"name": "cluster", "context": object{"cluster": "cluster", "user": who}}},
	}, nil
}

// containerdMajor asks the program: the two versions read different files, and the older one given a newer file starts
// with defaults and says nothing.
func (p place) containerdMajor() (int, error) {
	program, err := p.program("containerd")
	if err != nil {
		return 0, err
	}
	said, err := exec.Command(program, "--version").Output()
	if err != nil {
		return 0, err
	}
	return majorVersion(string(said))
}

// majorVersion reads `containerd NAME VERSION COMMIT`.
func majorVersion(said string) (int, error) {
	fields := strings.Fields(said)
	major := 0
	if len(fields) < 3 {
		return 0, fmt.Errorf("containerd calls itself %q", said)
	}
	if _, err := fmt.Sscanf(strings.TrimPrefix(fields[2], "v"), "%d.", &major); err != nil {
		return 0, fmt.Errorf("containerd calls itself %q", said)
	}
	return major, nil
}

func (p place) containerdConfiguration(major int, plugins, runc string) string {
	version, images, runtime := 2, "io.containerd.grpc.v1.cri", "io.containerd.grpc.v1.cri"
	folder := fmt.Sprintf("  bin_dir = %q", plugins)
	if major >= 2 {
		version, images, runtime = 3, "io.containerd.cri.v1.images", "io.containerd.cri.v1.runtime"
		folder = fmt.Sprintf("  bin_dirs = [%q]", plugins)
	}
	lines := []string{
		fmt.Sprintf("version = %d", version),
		fmt.Sprintf("root = %q", p.data("containerd")),
		`state = "/run/containerd"`,
		"[grpc]",
		fmt.Sprintf("  address = %q", containerd),
		`[plugins."io.containerd.internal.v1.opt"]`,
		fmt.Sprintf("  path = %q", p.data("opt")),
		fmt.Sprintf("[plugins.%q]", runtime),
		// Without CAP_SYS_RESOURCE a process cannot lower its score.
		"  restrict_oom_score_adj = true",
	}
	if major < 2 {
		lines = append(lines, fmt.Sprintf("  sandbox_image = %q", pauseImage))
	}
	lines = append(lines,
		fmt.Sprintf("[plugins.%q.cni]", runtime), folder, fmt.Sprintf("  conf_dir = %q", p.conf("cni")),
		fmt.Sprintf("[plugins.%q.containerd.runtimes.runc]", runtime), `  runtime_type = "io.containerd.runc.v2"`,
		fmt.Sprintf("[plugins.%q.containerd.runtimes.runc.options]", runtime), fmt.Sprintf("  BinaryName = %q", runc))
	if major >= 2 {
		lines = append(lines, fmt.Sprintf("[plugins.%q.pinned_images]", images), fmt.Sprintf("  sandbox = %q", pauseImage))
	}
	lines = append(lines, fmt.Sprintf("[plugins.%q.registry]", images), fmt.Sprintf("  config_path = %q", p.conf("certs.d")))
	return strings.Join(lines, "\n") + "\n"
}

// pluginConfiguration uses ptp and not bridge: every packet between pods is routed, so that kube-proxy and
// NetworkPolicy see it without the module br_netfilter.
func pluginConfiguration() object {
	return object{"cniVersion": "0.4.0", "name": "cluster", "plugins": []object{
		{"type": "ptp", "ipMasq": false, "ipam": object{
			"type": "host-local", "dataDir": "/run/containerd/ipam",
			"ranges": [][]object{{{"subnet": pods}}}, "routes": []object{{"dst": "0.0.0.0/0"}}}},
		{"type": "portmap", "capabilities": object{"portMappings": true}},
	}}
}

func (p place) kubeletConfiguration() object {
	return object{
		"apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration",
		"authentication": object{
			"x509": object{"clientCAFile": p.key("ca.crt")}, "webhook": object{"enabled": true},
			"anonymous": object{"enabled": false}},
		"authorization": object{"mode": "Webhook"},
		"tlsCertFile":   p.key("kubelet.crt"), "tlsPrivateKeyFile": p.key("kubelet.key"),
		"cgroupDriver": "cgroupfs", "cgroupRoot": "/" + p.cgroup, "failCgroupV1": false, "failSwapOn": false,
		"oomScoreAdj": 0, "enforceNodeAllocatable": []string{},
		"clusterDNS": []string{dnsService}, "clusterDomain": "cluster.local", "resolvConf": p.conf("resolv.conf"),
		"containerRuntimeEndpoint": "unix://" + containerd,
		// The machine's disk may be as full as it likes: nothing is evicted for that.
		"evictionHard":                object{"memory.available": "0%", "nodefs.available": "0%", "imagefs.available": "0%"},
		"imageGCHighThresholdPercent": 100, "imageGCLowThresholdPercent": 99,
		"volumePluginDir": p.data("plugins"), "staticPodPath": "", "maxPods": 300,
		"registryPullQPS": 0, "eventRecordQPS": 0, "kubeAPIQPS": 200, "kubeAPIBurst": 400, "serializeImagePulls": false,
		"featureGates": object{"ImageVolume": true},
	}
}

func (p place) proxyConfiguration() object {
	return object{
		"apiVersion": "kubeproxy.config.k8s.io/v1alpha1", "kind": "KubeProxyConfiguration", "mode": "iptables",
		"clientConnection": object{"kubeconfig": p.conf("kube-proxy.kubeconfig")}, "oomScoreAdj": 0,
		"clusterCIDR": pods, "hostnameOverride": nodeName, "iptables": object{"minSyncPeriod": "100ms"},
		// These are the machine's, not the namespace's.
		"conntrack": object{"maxPerCore": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
	}
}
