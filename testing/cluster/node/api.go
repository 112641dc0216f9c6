package main

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"time"
)

// Longest answer that is read.
const answerLimit = 8 << 20

// api speaks to the API server as its administrator.
type api struct{ client *http.Client }

func newAPI(p place) (*api, error) {
	authority, err := os.ReadFile(p.key("ca.crt"))
	if err != nil {
		return nil, err
	}
	own, err := tls.LoadX509KeyPair(p.key("admin.crt"), p.key("admin.key"))
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(authority)
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{own}}}
	return &api{&http.Client{Transport: transport, Timeout: 5 * time.Second}}, nil
}

func (a *api) call(method, path string, body []byte) ([]byte, error) {
	request, err := http.NewRequest(method, "https://"+net.JoinHostPort(nodeAddress, apiPort)+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	request.Header.Set("Content-Type", "application/apply-patch+yaml")
	answer, err := a.client.Do(request)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(io.LimitReader(answer.Body, answerLimit))
	if err == nil && answer.StatusCode >= 300 {
		err = fmt.Errorf("%s %s: %s: %.300s", method, path, answer.Status, text)
	}
	return text, err
}

func (a *api) ok(path string) error {
	_, err := a.call(http.MethodGet, path, nil)
	return err
}

func (a *api) apply(path string, value object) error {
	body, err := json.Marshal(value)
	if err != nil {
		return err
	}
	_, err = a.call(http.MethodPatch, path+"?fieldManager=cluster&force=true", body)
	return err
}

func (a *api) nodeIsReady() error {
	text, err := a.call(http.MethodGet, "/api/v1/nodes/"+nodeName, nil)
	if err != nil {
		return err
	}
	var node struct {
		Status struct {
			Conditions []struct{ Type, Status, Message string }
		}
	}
	if err := json.Unmarshal(text, &node); err != nil {
		return err
	}
	said := "the node has no condition Ready"
	for _, condition := range node.Status.Conditions {
		if condition.Type == "Ready" && condition.Status == "True" {
			return nil
		}
		if condition.Type == "Ready" {
			said = condition.Message
		}
	}
	return errors.New(said)
}

// publishDNS puts the node's DNS server behind the address that pods are told to ask.
func (a *api) publishDNS() error {
	ports := []object{}
	targets := []object{}
	for name, protocol := range map[string]string{"dns": "UDP", "dns-tcp": "TCP"} {
		ports = append(ports, object{"name": name, "protocol": protocol, "port": 53, "targetPort": dnsPort})
		targets = append(targets, object{"name": name, "protocol": protocol, "port": dnsPort})
	}
	err := a.apply("/api/v1/namespaces/kube-system/services/kube-dns", object{
		"apiVersion": "v1", "kind": "Service",
		"metadata": object{"name": "kube-dns", "labels": object{"k8s-app": "kube-dns"}},
		"spec":     object{"clusterIP": dnsService, "ports": ports}})
	if err != nil {
		return err
	}
	return a.apply("/apis/discovery.k8s.io/v1/namespaces/kube-system/endpointslices/kube-dns", object{
		"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
		"metadata":  object{"name": "kube-dns", "labels": object{"kubernetes.io/service-name": "kube-dns"}},
		"endpoints": []object{{"addresses": []string{nodeAddress}, "conditions": object{"ready": true}}},
		"ports":     targets})
}
