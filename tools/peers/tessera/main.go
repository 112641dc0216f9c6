// Appends entries to a log of Tessera's POSIX driver and prints, as JSON, how fast that was.
//
// usage: tessera-bench LOG-FOLDER BUNDLES-FOLDER WRITERS ENTRIES
//
// BUNDLES-FOLDER is `tile/entries` of a tlog-tiles log: its entries are appended, again from the start when they do
// not suffice. An append counts when a published checkpoint covers it.
package main

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/transparency-dev/tessera"
	"github.com/transparency-dev/tessera/storage/posix"
	"golang.org/x/mod/sumdb/note"
)

const (
	// The driver takes no shorter interval. Longer ones only make an append wait longer.
	checkpointInterval = 100 * time.Millisecond
	// A batch is full when all writers are in it; what is not full waits for this long.
	batchAge = 5 * time.Millisecond
	// How often a writer looks for a new checkpoint.
	pollPeriod = 2 * time.Millisecond
	// Most entries that are read: as many as 256 full bundles hold.
	entriesLimit = 256 * 256
)

type result struct {
	Entries          int     `json:"entries"`
	Seconds          float64 `json:"seconds"`
	EntriesPerSecond float64 `json:"entries_per_second"`
	P50              float64 `json:"p50_ms"`
	P99              float64 `json:"p99_ms"`
	EntryBytes       int     `json:"entry_bytes"`
}

func main() {
	log.SetFlags(0)
	if err := run(os.Args[1:]); err != nil {
		log.Fatal(err)
	}
}

func run(arguments []string) error {
	if len(arguments) != 4 {
		return errors.New("usage: tessera-bench LOG-FOLDER BUNDLES-FOLDER WRITERS ENTRIES")
	}
	writers, err := strconv.Atoi(arguments[2])
	if err != nil {
		return err
	}
	count, err := strconv.Atoi(arguments[3])
	if err != nil {
		return err
	}
	entries, err := readEntries(arguments[1])
	if err != nil {
		return err
	}
	done, err := appendAll(context.Background(), arguments[0], entries, writers, count)
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(done)
}

// readEntries reads full bundles: entries with a length of two bytes before each.
func readEntries(folder string) ([][]byte, error) {
	var entries [][]byte
	err := filepath.WalkDir(folder, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() {
			if strings.HasSuffix(path, ".p") {
				return fs.SkipDir
			}
			return nil
		}
		bundle, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for len(bundle) > 0 {
			if len(bundle) < 2 || len(bundle) < 2+int(binary.BigEndian.Uint16(bundle)) {
				return fmt.Errorf("%s is no bundle", path)
			}
			length := 2 + int(binary.BigEndian.Uint16(bundle))
			entries = append(entries, bundle[2:length])
			bundle = bundle[length:]
		}
		if len(entries) >= entriesLimit {
			return fs.SkipAll
		}
		return nil
	})
	if err == nil && len(entries) == 0 {
		err = fmt.Errorf("%s has no full bundle", folder)
	}
	return entries, err
}

func appendAll(ctx context.Context, folder string, entries [][]byte, writers, count int) (*result, error) {
	private, _, err := note.GenerateKey(rand.Reader, "bench.lineal.dev")
	if err != nil {
		return nil, err
	}
	signer, err := note.NewSigner(private)
	if err != nil {
		return nil, err
	}
	driver, err := posix.New(ctx, posix.Config{Path: folder})
	if err != nil {
		return nil, err
	}
	options := tessera.NewAppendOptions().
		WithCheckpointSigner(signer).
		WithCheckpointInterval(checkpointInterval).
		WithBatching(uint(writers), batchAge).
		WithPushback(uint(max(2*writers, tessera.DefaultPushbackMaxOutstanding)))
	appender, shutdown, reader, err := tessera.NewAppender(ctx, driver, options)
	if err != nil {
		return nil, err
	}
	awaiter := tessera.NewPublicationAwaiter(ctx, reader.ReadCheckpoint, pollPeriod)
	times := make([]time.Duration, count)
	failures := make(chan error, writers)
	var next atomic.Int64
	var group sync.WaitGroup
	began := time.Now()
	for range writers {
		group.Go(func() {
			for number := int(next.Add(1)) - 1; number < count; number = int(next.Add(1)) - 1 {
				started := time.Now()
				future := appender.Add(ctx, tessera.NewEntry(entries[number%len(entries)]))
				if _, _, err := awaiter.Await(ctx, future); err != nil {
					failures <- err
					return
				}
				times[number] = time.Since(started)
			}
		})
	}
	group.Wait()
	seconds := time.Since(began).Seconds()
	select {
	case err := <-failures:
		return nil, err
	default:
	}
	slices.Sort(times)
	at := func(quantile float64) float64 {
		return float64(times[int(quantile*float64(count-1))].Microseconds()) / 1000
	}
	return &result{
		Entries: count, Seconds: seconds, EntriesPerSecond: float64(count) / seconds,
		P50: at(0.5), P99: at(0.99), EntryBytes: len(entries[0]),
	}, shutdown(ctx)
}
