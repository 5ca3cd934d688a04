package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"time"

	"github.com/valyala/fasthttp"
)

// checkEvery: one answer in so many is parsed and compared with what was asked; all are counted.
const checkEvery = 64

// tally counts answers; each worker has its own, added up at the end.
type tally struct {
	latencies                                             []time.Duration
	answered                                              []int32 // per account: answers that tell of an event
	succeeded, rejected, errors, checked, wrong, verified int
	first                                                 string
}

func newTally(o options) *tally { return &tally{answered: make([]int32, o.accounts)} }

func (t *tally) add(other *tally) {
	t.latencies = append(t.latencies, other.latencies...)
	for i, n := range other.answered {
		t.answered[i] += n
	}
	t.succeeded, t.rejected, t.errors = t.succeeded+other.succeeded, t.rejected+other.rejected, t.errors+other.errors
	t.checked, t.wrong = t.checked+other.checked, t.wrong+other.wrong
	t.note(other.first)
}

func (t *tally) note(problem string) {
	if t.first == "" {
		t.first = problem
	}
}

// failed counts a request that got no good answer.
func (t *tally) failed(problem string) {
	t.errors++
	t.note(problem)
}

// settled counts one answer to c and checks a sample of their contents.
func (t *tally) settled(o options, c command, answer []byte) {
	rejected := bytes.Contains(answer, []byte(`"outcome":"rejected"`)) || bytes.Contains(answer, []byte(`"event":"Rejected"`))
	if o.answers == "evento" && !rejected && !bytes.Contains(answer, []byte(`"outcome":"succeeded"`)) {
		t.failed(fmt.Sprintf("%s of %s to %s: %s", c.name, c.amount(), c.id(), answer))
		return
	}
	if rejected {
		t.rejected++
	} else {
		t.succeeded++
	}
	t.answered[c.account]++
	t.latencies = append(t.latencies, time.Since(c.sent))
	if len(t.latencies)%checkEvery != 0 {
		return
	}
	t.checked++
	if problem := check(o, c, answer); problem != "" {
		t.wrong++
		t.note(fmt.Sprintf("%s of %s to %s: %s: %s", c.name, c.amount(), c.id(), problem, answer))
	}
}

// outcome is what the check reads of either kind of answer.
type outcome struct {
	CommandID string `json:"command_id"`
	Outcome   string
	Version   int
	Events    []struct {
		ID, Type string
		Version  int
		Data     struct{ Amount json.RawMessage }
	}
	Event  string
	Amount json.RawMessage
}

// check returns what is wrong with the content of an answer, or nothing.
func check(o options, c command, answer []byte) string {
	var got outcome
	if err := json.Unmarshal(answer, &got); err != nil {
		return err.Error()
	}
	if o.answers == "restate" {
		if got.Event == "" || string(got.Amount) != fmt.Sprint(c.cents) {
			return "wrong event or amount"
		}
		return ""
	}
	switch {
	case len(got.Events) != 1 || got.Events[0].ID == "" || got.Events[0].Type == "":
		return "not exactly one event"
	case got.Version < 1 || got.Events[0].Version != got.Version:
		return "version of the outcome is not its event's"
	case c.key != "" && got.CommandID != c.key || got.CommandID == "":
		return "another Command's answer"
	case c.cents > 0 && !sameAmount(got.Events[0].Data.Amount, c):
		return "wrong amount"
	case c.name == o.deposit && got.Outcome != "succeeded":
		return "a deposit was not accepted"
	}
	return ""
}

// sameAmount accepts a decimal as string or as number.
func sameAmount(raw json.RawMessage, c command) bool {
	var text string
	if json.Unmarshal(raw, &text) == nil {
		return text == c.amount()
	}
	var number float64
	return json.Unmarshal(raw, &number) == nil && fmt.Sprintf("%.2f", number) == c.amount()
}

// versions asks for the version of the first -verify accounts; one that does not exist yet has version 0.
func versions(o options) ([]int, error) {
	found := make([]int, 0, o.verify)
	state := newTemplate(o.stateURL)
	for account := range min(o.verify, o.accounts) {
		var got struct{ Version int }
		status, body, err := fasthttp.Get(nil, string(state.fill(nil, command{account: account})))
		switch {
		case err == nil && status == fasthttp.StatusOK:
			err = json.Unmarshal(body, &got)
		case err == nil && status != fasthttp.StatusNotFound:
			err = fmt.Errorf("status %d: %s", status, body)
		}
		if err != nil {
			return nil, fmt.Errorf("no version of account a%d: %w", account, err)
		}
		found = append(found, got.Version)
	}
	return found, nil
}

// compare proves that each answer counted is one event more in its account, and that there is no event without answer.
func (t *tally) compare(o options, before []int) error {
	after, err := versions(o)
	if err != nil {
		return err
	}
	for account := range after {
		t.verified++
		if gained := after[account] - before[account]; gained != int(t.answered[account]) {
			t.wrong++
			t.note(fmt.Sprintf("a%d gained %d versions, but %d answers", account, gained, t.answered[account]))
		}
	}
	return nil
}
