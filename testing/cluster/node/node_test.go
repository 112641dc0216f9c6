package main

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"
)

func newPlace(t *testing.T) place {
	p := place{state: t.TempDir(), cgroup: "group"}
	for _, folder := range []string{"log", "data", "conf", "bin"} {
		if err := os.MkdirAll(p.at(folder), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return p
}

func TestStartTimeIsBehindTheName(t *testing.T) {
	stat := "812 (a) (b) S 1 812 812 0 -1 4194560 9 0 0 0 3 4 0 0 20 0 7 0 55021 1 2 3"
	if began, err := startTime(stat); err != nil || began != "55021" {
		t.Fatal(began, err)
	}
	for _, bad := range []string{"", "812 a", "812 (a) S 1"} {
		if _, err := startTime(bad); err == nil {
			t.Fatalf("%q is no stat", bad)
		}
	}
}

func TestContainerdVersions(t *testing.T) {
	for said, want := range map[string]int{
		"containerd github.com/containerd/containerd 1.6.20~ds1 1.6.20~ds1-1": 1,
		"containerd github.com/containerd/containerd/v2 v2.4.2 ":              2,
	} {
		if major, err := majorVersion(said); err != nil || major != want {
			t.Fatal(said, major, err)
		}
	}
	if _, err := majorVersion("containerd x"); err == nil {
		t.Fatal("no version was found")
	}
	p := newPlace(t)
	old, fresh := p.containerdConfiguration(1, "/plugins", "/runc"), p.containerdConfiguration(2, "/plugins", "/runc")
	for _, has := range []struct{ text, word, not string }{
		{old, "version = 2\n", "bin_dirs"}, {old, "sandbox_image", "pinned_images"},
		{fresh, "version = 3\n", "bin_dir ="}, {fresh, "pinned_images", "sandbox_image"},
	} {
		if !strings.Contains(has.text, has.word) || strings.Contains(has.text, has.not) {
			t.Fatalf("wanted %q and not %q in\n%s", has.word, has.not, has.text)
		}
	}
}

func TestKeysAreMadeOnceAndFit(t *testing.T) {
	p := newPlace(t)
	if err := p.makeKeys(); err != nil {
		t.Fatal(err)
	}
	authority, _ := os.ReadFile(p.key("ca.crt"))
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(authority)
	for _, who := range identities {
		pair, err := tls.LoadX509KeyPair(p.key(who.name+".crt"), p.key(who.name+".key"))
		if err != nil {
			t.Fatal(who.name, err)
		}
		usages := []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
		if _, err := pair.Leaf.Verify(x509.VerifyOptions{Roots: roots, KeyUsages: usages}); err != nil {
			t.Fatal(who.name, err)
		}
		for _, host := range who.hosts {
			if err := pair.Leaf.VerifyHostname(host); err != nil {
				t.Fatal(who.name, err)
			}
		}
	}
	if err := p.makeKeys(); err != nil {
		t.Fatal(err)
	}
	if again, _ := os.ReadFile(p.key("ca.crt")); !bytes.Equal(authority, again) {
		t.Fatal("a kept cluster got new keys")
	}
}

func TestKubeconfigNeedsNoOtherFile(t *testing.T) {
	p := newPlace(t)
	if err := p.makeKeys(); err != nil {
		t.Fatal(err)
	}
	value, err := p.kubeconfig("admin", "https://127.0.0.1:1")
	if err != nil {
		t.Fatal(err)
	}
	text, _ := json.Marshal(value)
	if strings.Contains(string(text), p.state) {
		t.Fatalf("it names a file: %s", text)
	}
}

func TestEveryFileThatAPartIsGivenIsWritten(t *testing.T) {
	p := newPlace(t)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := p.prepare(&relay{listener: listener}); err != nil {
		t.Fatal(err)
	}
	words := append(append(p.apiServer(), p.kubelet()...), append(p.controllerManager(), p.client("kube-scheduler")...)...)
	files := 0
	for _, word := range words {
		if _, path, has := strings.Cut(word, "="); has && strings.HasPrefix(path, p.state) {
			files++
			if _, err := os.Stat(path); err != nil {
				t.Error(err)
			}
		}
	}
	if files < 20 {
		t.Fatalf("only %d files were named", files)
	}
	corefile, _ := os.ReadFile(p.conf("Corefile"))
	if want := "kubeconfig " + p.conf("admin.kubeconfig") + " cluster"; !strings.Contains(string(corefile), want) {
		t.Fatalf("no %q in %s", want, corefile)
	}
}

func TestSupervisorStartsAgainAndReaps(t *testing.T) {
	p := newPlace(t)
	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	processes := newSupervisor(p, newReport(writer))
	go processes.reap()
	if err := processes.run("good", "sh", "-c", "echo said"); err != nil {
		t.Fatal(err)
	}
	if said, _ := os.ReadFile(p.log("good")); string(said) != "said\n" {
		t.Fatalf("the log says %q", said)
	}
	if err := processes.run("bad", "sh", "-c", "exit 3"); err == nil || !strings.Contains(err.Error(), "code 3") {
		t.Fatal(err)
	}
	if err := processes.run("none", "there-is-no-such-program"); err == nil {
		t.Fatal("it was started")
	}
	if err := processes.keep("dying", "sh", "-c", "echo again; exit 1"); err != nil {
		t.Fatal(err)
	}
	// The report's last word closes the pipe.
	told, _ := io.ReadAll(reader)
	if string(told) != "failed: dying: it ends as soon as it is started\n" {
		t.Fatalf("told %q", told)
	}
	if said, _ := os.ReadFile(p.log("dying")); strings.Count(string(said), "again") != shortLives {
		t.Fatalf("the log says %q", said)
	}
}

func TestReportIsOneLineAndEnds(t *testing.T) {
	reader, writer := io.Pipe()
	go func() {
		said := newReport(writer)
		said.failed("kubelet", errors.New("two\nlines"))
		said.ready()
		said.step("later")
	}()
	if told, _ := io.ReadAll(reader); string(told) != "failed: kubelet: two lines\n" {
		t.Fatalf("told %q", told)
	}
}

func TestRelayPassesBothWays(t *testing.T) {
	server, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		connection, err := server.Accept()
		if err == nil {
			_, _ = io.Copy(connection, connection)
			connection.Close()
		}
	}()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	file, err := listener.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	descriptor, err := syscall.Dup(int(file.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	made, err := newRelay(descriptor)
	if err != nil {
		t.Fatal(err)
	}
	made.target = server.Addr().String()
	go made.run()
	connection, err := net.DialTimeout("tcp", made.address(), time.Second)
	if err != nil {
		t.Fatal(err)
	}
	_ = connection.SetDeadline(time.Now().Add(10 * time.Second))
	_, _ = connection.Write([]byte("there and back"))
	_ = connection.(*net.TCPConn).CloseWrite()
	if back, err := io.ReadAll(connection); err != nil || string(back) != "there and back" {
		t.Fatalf("%q %v", back, err)
	}
	if _, err := newRelay(int(os.Stdin.Fd()) + 90); err == nil {
		t.Fatal("a descriptor that is none was taken")
	}
}
