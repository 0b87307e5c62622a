// Checks a log with Go's own packages and nothing of ours: golang.org/x/mod/sumdb/note and tlog as
// Debian has them. Prints one line when all of it holds.
//
//	check DIR LOG-KEY WITNESS-KEY|- OLD-CHECKPOINT|-
package main

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// A witness's key: the note package knows plain signatures only.
type witness struct {
	name string
	hash uint32
	key  ed25519.PublicKey
}

func (w *witness) Name() string    { return w.name }
func (w *witness) KeyHash() uint32 { return w.hash }
func (w *witness) Verify(msg, sig []byte) bool {
	if len(sig) != 8+ed25519.SignatureSize {
		return false
	}
	at := binary.BigEndian.Uint64(sig)
	text := fmt.Sprintf("cosignature/v1\ntime %d\n%s", at, msg)
	return ed25519.Verify(w.key, []byte(text), sig[8:])
}

func newWitness(vkey string) *witness {
	parts := strings.SplitN(vkey, "+", 3)
	key, err := base64.StdEncoding.DecodeString(parts[2])
	if err != nil || len(key) != 33 || key[0] != 4 {
		log.Fatalf("%s is no witness's key", vkey)
	}
	sum := sha256.Sum256(append([]byte(parts[0]+"\n"), key...))
	return &witness{parts[0], binary.BigEndian.Uint32(sum[:]), key[1:]}
}

func open(text []byte, verifiers ...note.Verifier) (tlog.Tree, int) {
	opened, err := note.Open(text, note.VerifierList(verifiers...))
	if err != nil {
		log.Fatalf("the note does not open: %v", err)
	}
	lines := strings.Split(opened.Text, "\n")
	if lines[0] != verifiers[0].Name() {
		log.Fatalf("the origin is %q", lines[0])
	}
	var tree tlog.Tree
	if _, err := fmt.Sscan(lines[1], &tree.N); err != nil {
		log.Fatal(err)
	}
	if tree.Hash, err = tlog.ParseHash(lines[2]); err != nil {
		log.Fatal(err)
	}
	return tree, len(opened.Sigs)
}

// Tiles as files; where one has become full its part is gone.
type files string

func (dir files) Height() int                          { return 8 }
func (dir files) SaveTiles(_ []tlog.Tile, _ [][]byte) {}
func (dir files) ReadTiles(tiles []tlog.Tile) ([][]byte, error) {
	var all [][]byte
	for _, tile := range tiles {
		// Go's names have the height of tiles in them, the C2SP's do not.
		name := strings.Replace(tile.Path(), "tile/8/", "tile/", 1)
		data, err := os.ReadFile(filepath.Join(string(dir), name))
		if os.IsNotExist(err) && tile.W < 256 {
			data, err = os.ReadFile(filepath.Join(string(dir), name[:strings.Index(name, ".p/")]))
		}
		if err != nil || len(data) < tile.W*32 {
			return nil, fmt.Errorf("%s: %v, %d bytes", name, err, len(data))
		}
		all = append(all, data[:tile.W*32])
	}
	return all, nil
}

// All entries, bundle by bundle.
func (dir files) entries(size int64) [][]byte {
	var all [][]byte
	for n := int64(0); n*256 < size; n++ {
		name := filepath.Join(string(dir), "tile/entries", fmt.Sprintf("%03d", n))
		data, err := os.ReadFile(name)
		if os.IsNotExist(err) {
			data, err = os.ReadFile(fmt.Sprintf("%s.p/%d", name, size-n*256))
		}
		if err != nil {
			log.Fatal(err)
		}
		for len(data) > 0 && int64(len(all)) < size {
			length := int(binary.BigEndian.Uint16(data))
			all = append(all, data[2:2+length])
			data = data[2+length:]
		}
	}
	return all
}

func main() {
	log.SetFlags(0)
	dir := files(os.Args[1])
	key, err := note.NewVerifier(os.Args[2])
	if err != nil {
		log.Fatal(err)
	}
	verifiers := []note.Verifier{key}
	if os.Args[3] != "-" {
		verifiers = append(verifiers, newWitness(os.Args[3]))
	}
	text, err := os.ReadFile(filepath.Join(os.Args[1], "checkpoint"))
	if err != nil {
		log.Fatal(err)
	}
	tree, signatures := open(text, verifiers...)
	if signatures != len(verifiers) {
		log.Fatalf("%d of %d signatures", signatures, len(verifiers))
	}

	// The reader believes a tile only if the checkpoint's root follows from it.
	reader := tlog.TileHashReader(tree, dir)
	entries := dir.entries(tree.N)
	if int64(len(entries)) != tree.N {
		log.Fatalf("%d of %d entries", len(entries), tree.N)
	}
	for at, entry := range entries {
		proof, err := tlog.ProveRecord(tree.N, int64(at), reader)
		if err != nil {
			log.Fatal(err)
		}
		if err := tlog.CheckRecord(proof, tree.N, tree.Hash, int64(at), tlog.RecordHash(entry)); err != nil {
			log.Fatalf("entry %d: %v", at, err)
		}
	}
	consistent := int64(0)
	if os.Args[4] != "-" {
		text, err := os.ReadFile(os.Args[4])
		if err != nil {
			log.Fatal(err)
		}
		old, _ := open(text, verifiers[0])
		proof, err := tlog.ProveTree(tree.N, old.N, reader)
		if err != nil {
			log.Fatal(err)
		}
		if err := tlog.CheckTree(proof, tree.N, tree.Hash, old.N, old.Hash); err != nil {
			log.Fatal(err)
		}
		consistent = old.N
	}
	fmt.Printf("%d entries, %d signatures, consistent with %d\n", tree.N, signatures, consistent)
}
