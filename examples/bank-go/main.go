// Savings accounts, served to Evento without an SDK: an Avro library and the standard HTTP server are enough.
// This file is the protocol (evento/protocol/function.md), savings.go is the business. Build: go build -o savings .
package main

import (
	"cmp"
	"context"
	"embed"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/hamba/avro/v2"
)

//go:embed protocol schemas
var files embed.FS

const callBytesMax = 64 << 20

// Longer strings and arrays are refused before memory is taken for them.
var codec = avro.Config{MaxByteSliceSize: 1 << 20, MaxSliceAllocSize: 1 << 20}.Freeze()

var schemas, texts = load()

type call struct {
	Operation  string      `avro:"operation"`
	Namespace  string      `avro:"namespace"`
	Entity     string      `avro:"entity"`
	Types      []string    `avro:"types"`
	IDs        []string    `avro:"ids"`
	Versions   []int64     `avro:"versions"`
	States     [][]byte    `avro:"states"`
	Counts     []int       `avro:"counts"`
	ItemTypes  []int       `avro:"item_types"`
	Payloads   [][]byte    `avro:"payloads"`
	Times      []int64     `avro:"times"`
	CommandIDs []string    `avro:"command_ids"`
	Contexts   []*struct{} `avro:"contexts"` // of no interest to this bank
}

type reply struct {
	Revision   string    `avro:"revision"`
	Types      []string  `avro:"types"`
	Done       []int     `avro:"done"`
	States     [][]byte  `avro:"states"`
	Counts     []int     `avro:"counts"`
	EventTypes []int     `avro:"event_types"`
	Payloads   [][]byte  `avro:"payloads"`
	Failures   []failure `avro:"failures"`
}

type failure struct {
	Instance int    `avro:"instance"`
	Code     string `avro:"code"`
	Message  string `avro:"message"`
}

// work goes through the instances of a call, and through the items of each until one fails.
func work(c call) *reply {
	r, item := &reply{Types: events}, 0
	for i, count := range c.Counts {
		var s *savings
		var failed *failure
		if c.Versions[i] > 0 && count > 0 {
			s = &savings{}
			failed = decode("Savings", c.States[i], s)
		}
		state, done := []byte{}, 0
		for failed == nil && done < count {
			if s, failed = r.step(c, item+done, s, &state); failed == nil {
				done++
			}
		}
		if failed != nil {
			r.Failures = append(r.Failures, failure{i, failed.Code, failed.Message})
		}
		if c.Operation != "handle" {
			r.States = append(r.States, state)
		}
		r.Done, item = append(r.Done, done), item+count
	}
	return r
}

// step does one item: it returns the account after it, and leaves its state and event behind. What goes wrong in it, even a
// panic, is this instance's failure alone, and leaves nothing behind.
func (r *reply) step(c call, item int, s *savings, state *[]byte) (after *savings, failed *failure) {
	defer func() {
		if problem := recover(); problem != nil {
			failed = &failure{Code: "handler-failed", Message: fmt.Sprint(problem)}
		}
	}()
	var f fact
	name := c.Types[c.ItemTypes[item]]
	known := commands
	if c.Operation == "apply" {
		known = events
	}
	if !slices.Contains(known, name) {
		return nil, &failure{Code: "unknown-type", Message: name}
	}
	if failed = decode(name, c.Payloads[item], &f); failed != nil {
		return nil, failed
	}
	var payload []byte
	event, e := name, f
	if c.Operation != "apply" {
		event, e = handle(name, f, s)
		payload = encode(event, e)
	}
	if after = s; c.Operation != "handle" {
		after = apply(event, e, s)
		*state = encode("Savings", after)
	}
	if c.Operation != "apply" {
		r.Counts, r.Payloads = append(r.Counts, 1), append(r.Payloads, payload)
		r.EventTypes = append(r.EventTypes, slices.Index(events, event))
	}
	return after, nil
}

// fits tells whether the columns of a call fit together.
func (c call) fits() bool {
	instances, items := len(c.IDs), 0
	for _, count := range c.Counts {
		if count < 0 {
			return false
		}
		items += count
	}
	for _, index := range c.ItemTypes {
		if index < 0 || index >= len(c.Types) {
			return false
		}
	}
	commands := items
	if c.Operation == "apply" {
		commands = 0
	}
	return len(c.Versions) == instances && len(c.States) == instances && len(c.Counts) == instances &&
		len(c.ItemTypes) == items && len(c.Payloads) == items &&
		len(c.Times) == commands && len(c.CommandIDs) == commands && len(c.Contexts) == commands
}

func serveWork(w http.ResponseWriter, request *http.Request) {
	var c call
	body, err := io.ReadAll(http.MaxBytesReader(w, request.Body, callBytesMax))
	switch {
	case err != nil:
		http.Error(w, err.Error(), http.StatusRequestEntityTooLarge)
	case decode("call", body, &c) != nil || !c.fits():
		http.Error(w, "not a call", http.StatusBadRequest)
	case c.Namespace != "bank" || c.Entity != "Savings":
		http.Error(w, "only bank/Savings is served here", http.StatusNotFound)
	default:
		answer(w, encode("reply", work(c)))
	}
}

func answer(w http.ResponseWriter, body []byte) {
	w.Header().Set("Content-Type", "application/avro")
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	_, _ = w.Write(body) // if the platform is gone, nobody is left to be told
}

// load reads the schemas by file name, for the codec and as text for discovery.
func load() (map[string]avro.Schema, map[string]string) {
	schemas, texts := map[string]avro.Schema{}, map[string]string{}
	for _, folder := range []string{"protocol", "schemas"} {
		entries, _ := files.ReadDir(folder)
		for _, entry := range entries {
			text, _ := files.ReadFile(folder + "/" + entry.Name())
			name := strings.TrimSuffix(entry.Name(), ".avsc")
			texts[name], schemas[name] = string(text), avro.MustParse(string(text))
		}
	}
	return schemas, texts
}

// decode reads one value, all of the bytes and no more: the library alone would take the end of the bytes for the end of the value.
func decode(schema string, data []byte, value any) *failure {
	reader := avro.NewReader(nil, 0, avro.WithReaderConfig(codec)).Reset(data)
	reader.ReadVal(schemas[schema], value)
	if reader.Error == nil {
		if reader.Peek(); reader.Error == io.EOF {
			return nil
		}
	}
	return &failure{Code: "undecodable", Message: fmt.Sprintf("not %s: %v", schema, reader.Error)}
}

func encode(schema string, value any) []byte {
	data, err := codec.Marshal(schemas[schema], value)
	if err != nil {
		panic(err)
	}
	return data
}

func main() {
	discovery := encode("discovery", discover())
	http.HandleFunc("GET /evento", func(w http.ResponseWriter, _ *http.Request) { answer(w, discovery) })
	http.HandleFunc("GET /evento/health", func(http.ResponseWriter, *http.Request) {})
	http.HandleFunc("POST /evento", serveWork)
	listener, err := listen()
	if err != nil {
		log.Fatal(err)
	}
	go endWithParent()
	server, asked := http.Server{}, make(chan os.Signal, 1)
	signal.Notify(asked, syscall.SIGTERM, os.Interrupt)
	go func() {
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			log.Fatal(err)
		}
	}()
	<-asked
	_ = server.Shutdown(context.Background()) // finishes what is under way
}

func listen() (net.Listener, error) {
	if path := os.Getenv("EVENTO_SOCKET"); path != "" {
		_ = os.Remove(path) // what a killed predecessor left
		listener, err := net.Listen("unix", path)
		if err == nil && !ownFolder(path) {
			err = os.Chmod(path, 0o666) // in a container the platform is somebody else
		}
		return listener, err
	}
	return net.Listen("tcp", ":"+cmp.Or(os.Getenv("PORT"), "8080"))
}

func ownFolder(path string) bool {
	folder, err := os.Stat(filepath.Dir(path))
	return err == nil && folder.Sys().(*syscall.Stat_t).Uid == uint32(os.Getuid())
}

// endWithParent ends this process soon after the platform that started it, however that ended.
func endWithParent() {
	parent, err := strconv.Atoi(os.Getenv("EVENTO_PARENT_PID"))
	for err == nil {
		if os.Getppid() != parent {
			os.Exit(0)
		}
		time.Sleep(time.Second)
	}
}

// discover tells what this function serves.
func discover() map[string]any {
	served, happen := []map[string]any{}, []map[string]any{}
	for i, name := range commands {
		served = append(served, map[string]any{
			"name": name, "schema": texts[name], "events": events[i : i+1], "rejections": []string{rejection},
		})
	}
	for _, name := range events {
		happen = append(happen, map[string]any{"name": name, "schema": texts[name]})
	}
	return map[string]any{"protocol": 1, "sdk": "", "revision": "", "entities": []map[string]any{{
		"namespace": "bank", "name": "Savings", "schema": texts["Savings"], "applies": true, "commands": served, "events": happen,
	}}}
}
