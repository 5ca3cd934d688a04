package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"sync"
	"time"
)

const (
	blocksPerWindow = 16 // or one per line, in a smaller window
	readBytes       = 64 << 10
	lineMax         = 1 << 20 // bytes of one outcome
)

// loadStream sends Commands in -streams NDJSON requests, reading outcomes while it writes, at most -window ahead of them.
func loadStream(o options) (result, error) {
	stop := time.Now().Add(time.Duration(o.seconds * float64(time.Second)))
	return runStreams(o, func(stream int) func() (command, bool) {
		commands := newMix(o, stream)
		return func() (command, bool) { return commands.next(), time.Now().Before(stop) }
	})
}

// setup opens the accounts, each once; one that is open already is no failure.
func setup(o options) (result, error) {
	o.setup = true
	return runStreams(o, func(stream int) func() (command, bool) {
		account := stream - o.streams
		return func() (command, bool) {
			account += o.streams
			return command{account: account, name: o.open}, account < o.accounts
		}
	})
}

func runStreams(o options, source func(stream int) func() (command, bool)) (result, error) {
	tallies, failures := make([]*tally, o.streams), make([]error, o.streams)
	start := time.Now()
	var streams sync.WaitGroup
	for s := range tallies {
		tallies[s] = newTally(o)
		streams.Go(func() { failures[s] = stream(o, source(s), tallies[s]) })
	}
	streams.Wait()
	total := newTally(o)
	elapsed := time.Since(start)
	for _, t := range tallies {
		total.add(t)
	}
	return result{total, elapsed}, errors.Join(failures...)
}

// block is a run of lines that is written at once, as a client that reads a file would.
type block []command

// window holds what is written and not answered yet, in order; `room` has a token for each block that may be under way.
type window struct {
	blocks chan block
	room   chan struct{}
}

// stream makes one request: it writes lines and reads outcomes at the same time, on one connection.
func stream(o options, next func() (command, bool), t *tally) error {
	target, err := url.Parse(o.url)
	if err != nil {
		return err
	}
	connection, err := net.Dial("tcp", target.Host)
	if err != nil {
		return err
	}
	blocks := min(o.window, blocksPerWindow)
	w, written := window{make(chan block, blocks), make(chan struct{}, blocks)}, make(chan error, 1)
	go func() { written <- writeBlocks(o, target, connection, next, w) }()
	readError := readBlocks(o, connection, w, t)
	connection.Close() // ends a writer that waits for room in the socket
	for b := range w.blocks {
		<-w.room // and one that waits for room in the window
		for _, c := range b {
			t.failed(fmt.Sprintf("no outcome of %s to %s", c.name, c.id()))
		}
	}
	return errors.Join(readError, <-written)
}

func writeBlocks(o options, target *url.URL, connection net.Conn, next func() (command, bool), w window) error {
	defer close(w.blocks)
	head := "POST %s HTTP/1.1\r\nHost: %s\r\nContent-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n"
	if _, err := fmt.Fprintf(connection, head, target.RequestURI(), target.Host); err != nil {
		return err
	}
	chunks, order, lines := httputil.NewChunkedWriter(connection), lineTemplate(o), make([]byte, 0, 64<<10)
	for more := true; more; {
		w.room <- struct{}{}
		b, now := make(block, 0, o.window/cap(w.blocks)), time.Now()
		var c command
		for lines = lines[:0]; len(b) < cap(b); b = append(b, c) {
			if c, more = next(); !more {
				break
			}
			c.sent = now
			lines = line(lines, order, c)
		}
		w.blocks <- b
		if _, err := chunks.Write(lines); err != nil {
			return err
		}
	}
	err := chunks.Close()
	if err == nil {
		_, err = io.WriteString(connection, "\r\n")
	}
	return err
}

func lineTemplate(o options) template {
	body := o.body
	if o.setup {
		body = o.openBody
	}
	return newTemplate(`{"entity":"` + o.entity + `","id":"{id}","command":"{command}","data":` + body)
}

func line(to []byte, order template, c command) []byte {
	to = order.fill(to, c)
	if c.key != "" {
		to = append(append(append(to, `,"command_id":"`...), c.key...), '"')
	}
	return append(to, "}\n"...)
}

func readBlocks(o options, connection io.Reader, w window, t *tally) error {
	response, err := http.ReadResponse(bufio.NewReaderSize(connection, readBytes), nil)
	if err != nil {
		return fmt.Errorf("no answer to the stream: %w", err)
	}
	if response.StatusCode != http.StatusOK {
		body, _ := io.ReadAll(io.LimitReader(response.Body, lineMax))
		return fmt.Errorf("stream: status %d: %s", response.StatusCode, body)
	}
	lines := bufio.NewScanner(response.Body)
	lines.Buffer(make([]byte, readBytes), lineMax)
	for b := range w.blocks {
		for i, c := range b {
			if !lines.Scan() {
				t.errors += len(b) - i
				return fmt.Errorf("stream ended before the outcome of %s to %s (%v)", c.name, c.id(), lines.Err())
			}
			t.settled(o, c, lines.Bytes())
		}
		<-w.room
	}
	if lines.Scan() {
		return fmt.Errorf("an outcome too many: %s", lines.Bytes())
	}
	return lines.Err()
}
