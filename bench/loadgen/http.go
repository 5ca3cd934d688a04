package main

import (
	"fmt"
	"sync"
	"time"

	"github.com/valyala/fasthttp"
)

const (
	answerTimeout = 20 * time.Second
	afterError    = 10 * time.Millisecond
)

// loadHTTP sends one Command per request in a closed loop: -c workers, each with one connection and one request in flight.
func loadHTTP(o options) (result, error) {
	client := &fasthttp.Client{MaxConnsPerHost: o.inFlight + 8, ReadTimeout: answerTimeout, NoDefaultUserAgentHeader: true}
	tallies := make([]*tally, o.inFlight)
	start := time.Now()
	stop := start.Add(time.Duration(o.seconds * float64(time.Second)))
	var workers sync.WaitGroup
	for w := range tallies {
		tallies[w] = newTally(o)
		workers.Go(func() { closedLoop(o, client, newMix(o, w), stop, tallies[w]) })
	}
	workers.Wait()
	total := newTally(o)
	elapsed := time.Since(start)
	for _, t := range tallies {
		total.add(t)
	}
	return result{total, elapsed}, nil
}

func closedLoop(o options, client *fasthttp.Client, commands *mix, stop time.Time, t *tally) {
	target, data, buffer := newTemplate(o.url), newTemplate(o.body), make([]byte, 0, 512)
	request, response := fasthttp.AcquireRequest(), fasthttp.AcquireResponse()
	request.Header.SetMethod("POST")
	request.Header.SetContentType("application/json")
	for {
		c := commands.next()
		if c.sent = time.Now(); c.sent.After(stop) {
			return
		}
		request.SetRequestURIBytes(target.fill(buffer, c))
		request.SetBody(data.fill(buffer, c))
		if c.key != "" {
			request.Header.Set("Idempotency-Key", c.key)
		}
		err := client.Do(request, response)
		status := response.StatusCode()
		if err == nil && (status == fasthttp.StatusOK || status == fasthttp.StatusUnprocessableEntity) {
			t.settled(o, c, response.Body())
			continue
		}
		t.failed(fmt.Sprintf("%s: status %d, error %v: %s", request.URI(), status, err, response.Body()))
		time.Sleep(afterError)
	}
}
