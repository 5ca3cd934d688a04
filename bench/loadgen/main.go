// Loadgen loads a bank over HTTP: one Command per request, or many in one NDJSON stream.
//
// It knows the HTTP faces of Evento and of a Restate ingress (as URL and body templates) and nothing of what is behind
// them. Each run prints one line of JSON: rate, latency percentiles, what the answers were, and whether they were right.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"sort"
	"time"
)

// options holds the flags of every mode; a mode ignores what does not concern it.
type options struct {
	name, url, body, answers, stateURL, entity, open, openBody string
	deposit, withdraw                                          string
	accounts, inFlight, streams, window, verify                int
	seed                                                       int64
	seconds                                                    float64
	keys, setup                                                bool
}

func parse(mode string, arguments []string) options {
	var o options
	flags := flag.NewFlagSet("loadgen "+mode, flag.ExitOnError)
	flags.StringVar(&o.name, "name", mode, "name of the run in its result")
	flags.StringVar(&o.url, "url", "", "http: URL with {id} and {command}; stream, setup: URL of the stream")
	flags.StringVar(&o.body, "body", `{"amount":"{amount}"}`, "body with {amount} (12.34) or {cents} (1234)")
	flags.StringVar(&o.answers, "answers", "evento", "what the answers look like: evento or restate")
	flags.StringVar(&o.stateURL, "state-url", "", "URL with {id} that tells an account's version (with -verify)")
	flags.StringVar(&o.entity, "entity", "bank/Checking", "stream, setup: the Entity")
	flags.StringVar(&o.open, "open", "OpenChecking", "setup: the Command that opens an account")
	flags.StringVar(&o.openBody, "open-body", `{"owner":"Owner of {id}"}`, "setup: its body")
	flags.StringVar(&o.deposit, "deposit", "ReceiveDeposit", "the Command in {command} for 70 %")
	flags.StringVar(&o.withdraw, "withdraw", "WithdrawCash", "the Command in {command} for 30 %")
	flags.IntVar(&o.accounts, "n", 10_000, "accounts, a0 ... a(n-1), chosen uniformly")
	flags.IntVar(&o.inFlight, "c", 128, "http: requests in flight, each on its own connection")
	flags.IntVar(&o.streams, "streams", 1, "stream: streams side by side")
	flags.IntVar(&o.window, "window", 4_000, "stream: lines without an answer, per stream")
	flags.IntVar(&o.verify, "verify", 0, "compare this many accounts' versions with the answers counted")
	flags.Int64Var(&o.seed, "seed", 1, "seed of accounts and amounts")
	flags.Float64Var(&o.seconds, "s", 10, "seconds")
	flags.BoolVar(&o.keys, "keys", false, "send an own Command id (UUIDv7) with every Command")
	_ = flags.Parse(arguments) // exits on an error
	return o
}

func main() {
	modes := map[string]func(options) (result, error){"http": loadHTTP, "stream": loadStream, "setup": setup}
	if len(os.Args) < 2 || modes[os.Args[1]] == nil {
		fmt.Fprintln(os.Stderr, "usage: loadgen http|stream|setup -url URL [flags]")
		os.Exit(2)
	}
	o := parse(os.Args[1], os.Args[2:])
	before, err := versions(o)
	var r result
	if err == nil {
		r, err = modes[os.Args[1]](o)
	}
	if err == nil {
		err = r.tally.compare(o, before)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "loadgen:", err)
		os.Exit(1)
	}
	line, _ := json.Marshal(r.summary(o))
	fmt.Println(string(line))
	if r.tally.errors+r.tally.wrong > 0 {
		fmt.Fprintln(os.Stderr, "loadgen: first failure:", r.tally.first)
		os.Exit(3)
	}
}

// result is what a run measured: one tally of all workers, and how long it took.
type result struct {
	tally   *tally
	elapsed time.Duration
}

func (r result) summary(o options) map[string]any {
	t := r.tally
	sort.Slice(t.latencies, func(i, j int) bool { return t.latencies[i] < t.latencies[j] })
	quantile := func(q float64) float64 {
		if len(t.latencies) == 0 {
			return -1
		}
		return t.latencies[int(q*float64(len(t.latencies)-1))].Seconds() * 1e3
	}
	return map[string]any{
		"name": o.name, "rate": float64(int(float64(len(t.latencies))/r.elapsed.Seconds()*10)) / 10, "n": len(t.latencies),
		"succeeded": t.succeeded, "rejected": t.rejected, "errors": t.errors, "checked": t.checked, "wrong": t.wrong,
		"verified": t.verified, "in_flight": o.inFlight, "streams": o.streams, "accounts": o.accounts, "seconds": r.elapsed.Seconds(),
		"p50_ms": quantile(.5), "p90_ms": quantile(.9), "p99_ms": quantile(.99), "p999_ms": quantile(.999),
	}
}
