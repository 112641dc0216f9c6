// Command lineal-log-check derives the log of an audit folder again with the code of Go's checksum database, and checks
// the inclusion proof of every bundle. It shares no code with Lineal.
//
//	lineal-log-check [-log-key VKEY] FOLDER
//
// Of statements it reads only which of them are about keys, and whether these are those that the checkpoint counts. It
// says nothing about the keys that signed. Exit code: 0 it holds, 1 it does not, 2 wrong use.
package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

const (
	tileHeight   = 8
	tileWidth    = 1 << tileHeight
	entriesLimit = 10_000_000
	// Largest file in bytes: 256 entries of 64 KiB with their lengths.
	fileLimit = 17 << 20
)

// checkpoint is a size and a root that somebody signed.
type checkpoint struct {
	note   []byte
	origin string
	size   int64
	root   tlog.Hash
	// The line about key statements; empty if the log says nothing about them.
	keys string
}

// bundle is what is read of a Sigstore bundle.
type bundle struct {
	DsseEnvelope struct {
		PayloadType string `json:"payloadType"`
		Payload     []byte `json:"payload"`
	} `json:"dsseEnvelope"`
	VerificationMaterial struct {
		TlogEntries []struct {
			LogIndex       string `json:"logIndex"`
			InclusionProof struct {
				LogIndex   string   `json:"logIndex"`
				RootHash   []byte   `json:"rootHash"`
				TreeSize   string   `json:"treeSize"`
				Hashes     [][]byte `json:"hashes"`
				Checkpoint struct {
					Envelope string `json:"envelope"`
				} `json:"checkpoint"`
			} `json:"inclusionProof"`
			CanonicalizedBody []byte `json:"canonicalizedBody"`
		} `json:"tlogEntries"`
	} `json:"verificationMaterial"`
}

func main() {
	pinned := flag.String("log-key", "", "the log's key, from elsewhere than the folder")
	flag.Parse()
	if flag.NArg() != 1 {
		flag.Usage()
		os.Exit(2)
	}
	folder := flag.Arg(0)
	lines, err := check(folder, *pinned)
	if err != nil {
		fmt.Printf("NOT VERIFIED: %v\n", err)
		os.Exit(1)
	}
	fmt.Printf("%s\nVERIFIED: %s\n", strings.Join(lines, "\n"), folder)
}

func check(folder, pinned string) ([]string, error) {
	signed, err := openCheckpoint(folder, pinned)
	if err != nil {
		return nil, err
	}
	entries, err := readEntries(folder, signed.size)
	if err != nil {
		return nil, err
	}
	if err := derive(folder, signed, entries); err != nil {
		return nil, err
	}
	bundles, err := checkBundles(folder, signed, entries)
	if err != nil {
		return nil, err
	}
	pins := "pinned: yes"
	if pinned == "" {
		pins = "pinned: no; anybody can make a whole folder, so name the log's key"
	}
	return []string{
		fmt.Sprintf("log: %d entries of %s re-hashed, root %v", signed.size, signed.origin, signed.root),
		fmt.Sprintf("bundles: %d entries included", bundles),
		pins,
	}, nil
}

// openCheckpoint checks the signature of the log key that signs checkpoints of this size.
func openCheckpoint(folder, pinned string) (*checkpoint, error) {
	text, err := read(folder, "checkpoint")
	if err != nil {
		return nil, err
	}
	copied, err := read(folder, "log/checkpoint")
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(text, copied) {
		return nil, errors.New("checkpoint and log/checkpoint differ")
	}
	keys, err := read(folder, "log.vkey")
	if err != nil {
		return nil, err
	}
	signed, err := parseCheckpoint(text)
	if err != nil {
		return nil, err
	}
	var key string
	for number, line := range strings.Split(strings.TrimSuffix(string(keys), "\n"), "\n") {
		vkey, start, later := strings.Cut(line, " ")
		from := int64(0)
		if later != (number > 0) {
			return nil, errors.New("log.vkey: expected a key on the first line, then keys and sizes")
		}
		if later {
			if from, err = number63(start); err != nil {
				return nil, err
			}
		}
		if from <= signed.size {
			key = vkey
		}
	}
	if pinned != "" && pinned != key {
		return nil, fmt.Errorf("the checkpoint is by %s, not by the key that you named", key)
	}
	verifier, err := note.NewVerifier(key)
	if err != nil {
		return nil, fmt.Errorf("log.vkey: %w", err)
	}
	if verifier.Name() != signed.origin {
		return nil, errors.New("the checkpoint is of another log than its key")
	}
	if _, err := note.Open(text, note.VerifierList(verifier)); err != nil {
		return nil, fmt.Errorf("checkpoint: %w", err)
	}
	return signed, nil
}

// parseCheckpoint reads a C2SP checkpoint whose signature is still to be checked.
func parseCheckpoint(text []byte) (*checkpoint, error) {
	signed, _, found := strings.Cut(string(text), "\n\n")
	lines := strings.Split(signed, "\n")
	if !found || len(lines) < 3 || lines[0] == "" {
		return nil, errors.New("not a checkpoint")
	}
	size, err := number63(lines[1])
	if err != nil {
		return nil, err
	}
	if size == 0 || size > entriesLimit {
		return nil, fmt.Errorf("the log has %d entries; 1 to %d can be checked", size, entriesLimit)
	}
	root, err := base64.StdEncoding.Strict().DecodeString(lines[2])
	if err != nil || len(root) != tlog.HashSize {
		return nil, errors.New("the checkpoint has no root")
	}
	keys := ""
	for _, line := range lines[3:] {
		if strings.HasPrefix(line, "lineal-keys ") {
			if keys != "" {
				return nil, errors.New("two lines about keys")
			}
			keys = line
		}
	}
	return &checkpoint{text, lines[0], size, tlog.Hash(root), keys}, nil
}

// readEntries reads every entry bundle: big-endian 16 bits of length before each entry.
func readEntries(folder string, size int64) ([][]byte, error) {
	entries := make([][]byte, 0, size)
	for _, tile := range tiles(0, size) {
		tile.L = -1
		name := path(tile)
		data, err := read(folder, name)
		if err != nil {
			return nil, err
		}
		for range tile.W {
			if len(data) < 2 || len(data) < 2+int(binary.BigEndian.Uint16(data)) {
				return nil, fmt.Errorf("%s ends within an entry", name)
			}
			end := 2 + int(binary.BigEndian.Uint16(data))
			entries = append(entries, data[2:end])
			data = data[end:]
		}
		if len(data) > 0 {
			return nil, fmt.Errorf("%s has more than %d entries", name, tile.W)
		}
	}
	return entries, nil
}

// derive makes every hash again from the entries and compares root and tiles.
func derive(folder string, signed *checkpoint, entries [][]byte) error {
	var stored []tlog.Hash
	reader := tlog.HashReaderFunc(func(indexes []int64) ([]tlog.Hash, error) {
		hashes := make([]tlog.Hash, len(indexes))
		for at, index := range indexes {
			if index >= int64(len(stored)) {
				return nil, fmt.Errorf("no hash %d", index)
			}
			hashes[at] = stored[index]
		}
		return hashes, nil
	})
	for position, entry := range entries {
		hashes, err := tlog.StoredHashes(int64(position), entry, reader)
		if err != nil {
			return err
		}
		stored = append(stored, hashes...)
	}
	root, err := tlog.TreeHash(signed.size, reader)
	if err != nil {
		return err
	}
	if root != signed.root {
		return errors.New("the entries do not have the checkpoint's root")
	}
	for level, count := 0, signed.size; count > 0; level, count = level+1, count/tileWidth {
		for _, tile := range tiles(level, count) {
			expected, err := tlog.ReadTileData(tile, reader)
			if err != nil {
				return err
			}
			found, err := read(folder, path(tile))
			if err != nil {
				return err
			}
			if !bytes.Equal(found, expected) {
				return fmt.Errorf("%s does not follow from the entries", path(tile))
			}
		}
	}
	return nil
}

// checkBundles checks that every bundle is about an entry of this log under this checkpoint.
func checkBundles(folder string, signed *checkpoint, entries [][]byte) (int, error) {
	names, err := filepath.Glob(filepath.Join(folder, "bundles", "*.sigstore.json"))
	if err != nil {
		return 0, err
	}
	keys, chained := 0, [tlog.HashSize]byte{}
	for _, name := range names {
		data, err := read(folder, "bundles/"+filepath.Base(name))
		if err != nil {
			return 0, err
		}
		var parsed bundle
		err = json.Unmarshal(data, &parsed)
		if err == nil {
			err = checkBundle(parsed, signed, entries)
		}
		isKey := false
		if err == nil {
			isKey, err = isKeyStatement(parsed)
		}
		if err != nil {
			return 0, fmt.Errorf("%s: %w", filepath.Base(name), err)
		}
		if isKey {
			// The names are in order of the positions.
			index, _ := number63(parsed.VerificationMaterial.TlogEntries[0].LogIndex)
			leaf := tlog.RecordHash(entries[index])
			text := append([]byte("lineal/key-statements/v1\n"), chained[:]...)
			text = binary.BigEndian.AppendUint64(text, uint64(index))
			keys, chained = keys+1, sha256.Sum256(append(text, leaf[:]...))
		}
	}
	found := fmt.Sprintf("lineal-keys %d %s", keys, base64.StdEncoding.EncodeToString(chained[:]))
	if signed.keys != "" && signed.keys != found {
		return 0, errors.New("the key statements are not those that the checkpoint counts")
	}
	return len(names), nil
}

// isKeyStatement reads what the statement is about; its bytes must be those of the entry.
func isKeyStatement(parsed bundle) (bool, error) {
	var entry struct {
		Spec struct {
			HashedRekordV002 struct {
				Data struct {
					Digest []byte `json:"digest"`
				} `json:"data"`
			} `json:"hashedRekordV002"`
		} `json:"spec"`
	}
	if err := json.Unmarshal(parsed.VerificationMaterial.TlogEntries[0].CanonicalizedBody, &entry); err != nil {
		return false, err
	}
	envelope := parsed.DsseEnvelope
	encoded := fmt.Sprintf("DSSEv1 %d %s %d %s", len(envelope.PayloadType), envelope.PayloadType, len(envelope.Payload), envelope.Payload)
	digest := sha256.Sum256([]byte(encoded))
	if !bytes.Equal(digest[:], entry.Spec.HashedRekordV002.Data.Digest) {
		return false, errors.New("the statement is not the one of the entry")
	}
	var statement struct {
		PredicateType string `json:"predicateType"`
	}
	if err := json.Unmarshal(envelope.Payload, &statement); err != nil {
		return false, err
	}
	return statement.PredicateType == "https://lineal.dev/attestation/key/v1", nil
}

func checkBundle(parsed bundle, signed *checkpoint, entries [][]byte) error {
	if len(parsed.VerificationMaterial.TlogEntries) != 1 {
		return errors.New("expected one log entry")
	}
	entry := parsed.VerificationMaterial.TlogEntries[0]
	proof := entry.InclusionProof
	index, err := number63(entry.LogIndex)
	if err != nil {
		return err
	}
	same := proof.LogIndex == entry.LogIndex && proof.TreeSize == strconv.FormatInt(signed.size, 10)
	if !same || index >= signed.size || proof.Checkpoint.Envelope != string(signed.note) {
		return errors.New("the proof is under another checkpoint")
	}
	if !bytes.Equal(proof.RootHash, signed.root[:]) || !bytes.Equal(entry.CanonicalizedBody, entries[index]) {
		return errors.New("the entry is not the one in the log")
	}
	record := make(tlog.RecordProof, len(proof.Hashes))
	for at, hash := range proof.Hashes {
		if len(hash) != tlog.HashSize {
			return errors.New("a hash of another length")
		}
		record[at] = tlog.Hash(hash)
	}
	return tlog.CheckRecord(record, signed.size, signed.root, index, tlog.RecordHash(entries[index]))
}

// tiles yields the tiles of a level with so many hashes or entries.
func tiles(level int, count int64) []tlog.Tile {
	var found []tlog.Tile
	for first := int64(0); first < count; first += tileWidth {
		width := min(count-first, tileWidth)
		found = append(found, tlog.Tile{H: tileHeight, L: level, N: first / tileWidth, W: int(width)})
	}
	return found
}

// path is a tile's name in the folder. The checksum database names the height too, and calls entries data.
func path(tile tlog.Tile) string {
	name := strings.TrimPrefix(tile.Path(), "tile/8/")
	if rest, isData := strings.CutPrefix(name, "data/"); isData {
		name = "entries/" + rest
	}
	return "log/tile/" + name
}

// number63 reads a decimal number as the formats write it.
func number63(text string) (int64, error) {
	number, err := strconv.ParseInt(text, 10, 64)
	if err != nil || number < 0 || strconv.FormatInt(number, 10) != text {
		return 0, fmt.Errorf("%q is not a number of entries", text)
	}
	return number, nil
}

func read(folder, name string) ([]byte, error) {
	file := filepath.Join(folder, filepath.FromSlash(name))
	status, err := os.Lstat(file)
	if err != nil {
		return nil, err
	}
	if !status.Mode().IsRegular() || status.Size() > fileLimit {
		return nil, fmt.Errorf("%s is no file of at most %d bytes", name, fileLimit)
	}
	return os.ReadFile(file)
}
