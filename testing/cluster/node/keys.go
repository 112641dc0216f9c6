package main

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"time"
)

// A kept cluster is not expected to be older than this.
const validity = 365 * 24 * time.Hour

// identity is a certificate that its holder shows as a server and as a client.
type identity struct {
	name, common, group string
	hosts               []string
}

var identities = []identity{
	{name: "apiserver", common: "kube-apiserver", hosts: []string{
		"kubernetes", "kubernetes.default", "kubernetes.default.svc", "localhost", "127.0.0.1", apiService, nodeAddress}},
	{name: "admin", common: "admin", group: "system:masters"},
	{name: "front", common: "front"},
	{name: "kube-controller-manager", common: "system:kube-controller-manager"},
	{name: "kube-scheduler", common: "system:kube-scheduler"},
	{name: "kube-proxy", common: "system:kube-proxy"},
	{name: "kubelet", common: "system:node:" + nodeName, group: "system:nodes",
		hosts: []string{nodeName, "127.0.0.1", nodeAddress}},
}

// makeKeys makes an authority, what it signs, and the key of service accounts; a kept cluster has them already.
func (p place) makeKeys() error {
	if _, err := os.Stat(p.key("complete")); err == nil {
		return nil
	}
	if err := os.MkdirAll(p.at("keys"), 0o700); err != nil {
		return err
	}
	key, err := p.newKey("ca.key")
	if err != nil {
		return err
	}
	authority := &x509.Certificate{
		Subject:  pkix.Name{CommonName: "test cluster"},
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign | x509.KeyUsageDigitalSignature,
		IsCA:     true, BasicConstraintsValid: true,
	}
	if err := p.sign("ca.crt", authority, authority, key.Public(), key); err != nil {
		return err
	}
	for _, who := range identities {
		its, err := p.newKey(who.name + ".key")
		if err != nil {
			return err
		}
		if err := p.sign(who.name+".crt", who.certificate(), authority, its.Public(), key); err != nil {
			return err
		}
	}
	accounts, err := p.newKey("sa.key")
	if err != nil {
		return err
	}
	public, err := x509.MarshalPKIXPublicKey(accounts.Public())
	if err != nil {
		return err
	}
	if err := p.writePEM("sa.pub", "PUBLIC KEY", public); err != nil {
		return err
	}
	return os.WriteFile(p.key("complete"), nil, 0o600)
}

func (i identity) certificate() *x509.Certificate {
	certificate := &x509.Certificate{
		Subject:     pkix.Name{CommonName: i.common},
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	if i.group != "" {
		certificate.Subject.Organization = []string{i.group}
	}
	for _, host := range i.hosts {
		if address := net.ParseIP(host); address != nil {
			certificate.IPAddresses = append(certificate.IPAddresses, address)
		} else {
			certificate.DNSNames = append(certificate.DNSNames, host)
		}
	}
	return certificate
}

func (p place) newKey(name string) (*ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return nil, err
	}
	return key, p.writePEM(name, "EC PRIVATE KEY", der)
}

func (p place) sign(name string, subject, authority *x509.Certificate, public crypto.PublicKey, key crypto.Signer) error {
	number, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return err
	}
	subject.SerialNumber = number
	// Begun an hour ago: tests may run a program under another clock.
	subject.NotBefore, subject.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(validity)
	der, err := x509.CreateCertificate(rand.Reader, subject, authority, public, key)
	if err != nil {
		return err
	}
	return p.writePEM(name, "CERTIFICATE", der)
}

func (p place) writePEM(name, kind string, der []byte) error {
	return os.WriteFile(p.key(name), pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600)
}
