package main

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
)

const (
	manifestType = "application/vnd.oci.image.manifest.v1+json"
	blobs        = "blobs/sha256/"
	// Longest index or manifest that is read.
	documentLimit = 4 << 20
)

type descriptor struct {
	Digest string
	Size   int64
}

// archive is an OCI layout in one tar file: where each file's bytes begin.
type archive struct {
	file  *os.File
	files map[string]*io.SectionReader
}

// push uploads an image to the cluster's registry and prints the digest by which pods name it.
func push(args []string) error {
	if len(args) != 2 {
		usage()
	}
	image, err := openArchive(args[0])
	if err != nil {
		return err
	}
	defer image.file.Close()
	var index struct{ Manifests []descriptor }
	if err := image.document("index.json", &index); err != nil {
		return err
	}
	if len(index.Manifests) != 1 {
		return fmt.Errorf("%s holds %d images, not one", args[0], len(index.Manifests))
	}
	digest := index.Manifests[0].Digest
	var manifest struct {
		Config descriptor
		Layers []descriptor
	}
	if err := image.document(blobPath(digest), &manifest); err != nil {
		return err
	}
	to := "http://" + registry() + "/v2/" + args[1]
	for _, blob := range append(manifest.Layers, manifest.Config) {
		if err := image.upload(to, blob); err != nil {
			return err
		}
	}
	body, err := image.open(blobPath(digest))
	if err != nil {
		return err
	}
	if err := send(http.MethodPut, to+"/manifests/"+digest, manifestType, body, body.Size()); err != nil {
		return err
	}
	fmt.Println(registry() + "/" + args[1] + "@" + digest)
	return nil
}

func openArchive(path string) (*archive, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	image := &archive{file, map[string]*io.SectionReader{}}
	reader := tar.NewReader(file)
	for {
		header, err := reader.Next()
		if err == io.EOF {
			return image, nil
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		at, err := file.Seek(0, io.SeekCurrent)
		if err != nil {
			return nil, err
		}
		image.files[header.Name] = io.NewSectionReader(file, at, header.Size)
	}
}

func (a *archive) open(name string) (*io.SectionReader, error) {
	file := a.files[name]
	if file == nil {
		return nil, fmt.Errorf("%s: no %s in it; is it an OCI image in a tar file?", a.file.Name(), name)
	}
	return io.NewSectionReader(file, 0, file.Size()), nil
}

func (a *archive) document(name string, into any) error {
	file, err := a.open(name)
	if err != nil {
		return err
	}
	if file.Size() > documentLimit {
		return fmt.Errorf("%s has %d bytes", name, file.Size())
	}
	return json.NewDecoder(file).Decode(into)
}

// upload sends a blob unless the registry has it.
func (a *archive) upload(to string, blob descriptor) error {
	answer, err := http.Head(to + "/blobs/" + blob.Digest)
	if err != nil {
		return err
	}
	answer.Body.Close()
	if answer.StatusCode == http.StatusOK {
		return nil
	}
	begun, err := http.Post(to+"/blobs/uploads/", "", nil)
	if err != nil {
		return err
	}
	begun.Body.Close()
	at, err := begun.Location()
	if err != nil {
		return errors.New("the registry begins no upload: " + begun.Status)
	}
	query := at.Query()
	query.Set("digest", blob.Digest)
	at.RawQuery = query.Encode()
	body, err := a.open(blobPath(blob.Digest))
	if err != nil {
		return err
	}
	return send(http.MethodPut, at.String(), "application/octet-stream", body, blob.Size)
}

func send(method, to, kind string, body io.Reader, size int64) error {
	request, err := http.NewRequest(method, to, body)
	if err != nil {
		return err
	}
	request.ContentLength = size
	request.Header.Set("Content-Type", kind)
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	said := bytes.Buffer{}
	_, _ = io.CopyN(&said, answer.Body, 300)
	if answer.StatusCode >= 300 {
		return fmt.Errorf("%s: %s: %s", to, answer.Status, said.String())
	}
	return nil
}

func blobPath(digest string) string { return blobs + strings.TrimPrefix(digest, "sha256:") }
