// Savings accounts, served to Evento without an SDK: an Avro library and Go's HTTP server are all that it takes.
// The rules are in evento/protocol/function.md; discovery.avro, made of manifests.yaml, says that each call has one item.
package main

import (
	"cmp"
	"embed"
	"fmt"
	"io"
	"io/fs"
	"math/big"
	"net"
	"net/http"
	"os"
	"syscall"

	"github.com/linkedin/goavro/v2"
)

//go:embed discovery.avro protocol bank
var files embed.FS
var codecs = map[string]*goavro.Codec{} // by path; those of a namespace are in the folder of its name
type record = map[string]any

var outcomes = map[string]string{ // of each Command, unless it is rejected
	"OpenSavings": "SavingsOpened", "ReceiveDeposit": "SavingsDeposited", "WithdrawCash": "SavingsWithdrawn",
	"CreditInterest": "InterestCredited", "CloseSavings": "SavingsClosed"}

// handle decides what becomes of a Command: an event, and its data.
func handle(command string, data, account record, balance *big.Rat) (event string, e record) {
	reject := func(reason string) (string, record) { return "SavingsRejected", record{"reason": reason} }
	amount, given := cmp.Or(data["amount"], data["rate_percent"]).(*big.Rat)
	switch status, percent := account["status"], big.NewRat(1, 100); {
	case status == "CLOSED", (status == "NEW") != (command == "OpenSavings"): // only what is new is opened
		return reject(map[any]string{"NEW": "NOT_OPEN", "OPEN": "ALREADY_OPEN", "CLOSED": "CLOSED"}[status])
	case given && amount.Sign() <= 0:
		return reject("NOT_POSITIVE")
	case command == "WithdrawCash" && balance.Cmp(amount) < 0:
		return reject("INSUFFICIENT_FUNDS")
	case command == "CloseSavings" && balance.Sign() != 0:
		return reject("NOT_EMPTY")
	case command == "CreditInterest": // in cents, halves rounded up
		data["amount"], _ = new(big.Rat).SetString(new(big.Rat).Mul(balance, new(big.Rat).Mul(amount, percent)).FloatString(2))
	}
	return outcomes[command], data
}

var apply = map[string]func(e, account record, balance *big.Rat){ // what each event changes
	"SavingsOpened":    func(e, account record, _ *big.Rat) { account["owner"], account["status"] = e["owner"], "OPEN" },
	"SavingsDeposited": func(e, _ record, balance *big.Rat) { balance.Add(balance, e["amount"].(*big.Rat)) },
	"SavingsWithdrawn": func(e, _ record, balance *big.Rat) { balance.Sub(balance, e["amount"].(*big.Rat)) },
	"InterestCredited": func(e, _ record, balance *big.Rat) { balance.Add(balance, e["amount"].(*big.Rat)) },
	"SavingsClosed":    func(_, account record, _ *big.Rat) { account["status"] = "CLOSED" },
	"SavingsRejected":  func(_, _ record, _ *big.Rat) {},
}

func decode(schema string, data any) record {
	value, rest, err := codecs[schema].NativeFromBinary(data.([]byte))
	if err != nil || len(rest) > 0 {
		panic(fmt.Sprintf("not %s: %v, %d bytes left over", schema, err, len(rest)))
	}
	return value.(record)
}

func encode(schema string, v record) []byte { return must(codecs[schema].BinaryFromNative(nil, v)) }

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

// serve answers GET, of the health too, with the discovery, and POST with a reply. What panics is the failure of the item.
func serve(w http.ResponseWriter, request *http.Request) {
	defer func() {
		if problem := recover(); problem != nil {
			http.Error(w, fmt.Sprint(problem), http.StatusInternalServerError)
		}
	}()
	w.Header().Set("Content-Type", "application/avro")
	if request.Method == http.MethodGet {
		_, _ = w.Write(must(files.ReadFile("discovery.avro")))
		return
	}
	call := decode("protocol/call", must(io.ReadAll(http.MaxBytesReader(w, request.Body, 2<<20))))
	the := func(column string) any { return call[column].([]any)[0] } // there is but one
	namespace, event := call["namespace"].(string)+"/", call["types"].([]any)[the("item_types").(int32)].(string)
	entity, data := namespace+call["entity"].(string), decode(namespace+event, the("payloads"))
	account := record{"owner": "", "balance": new(big.Rat), "status": "NEW"}
	if the("versions") != int64(0) {
		account = decode(entity, the("states"))
	}
	balance, counts, indexes, payloads := account["balance"].(*big.Rat), []any{}, []any{}, []any{}
	if call["operation"] == "turn" { // a Command; else it is an event already
		event, data = handle(event, data, account, balance)
		counts, indexes, payloads = []any{1}, []any{0}, []any{encode(namespace+event, data)}
	}
	apply[event](data, account, balance)
	_, _ = w.Write(encode("protocol/reply", record{"revision": "", "types": []any{event}, "done": []any{1}, "counts": counts,
		"states": []any{encode(entity, account)}, "event_types": indexes, "payloads": payloads, "failures": []any{}}))
}

func main() {
	goavro.MaxBlockCount, goavro.MaxBlockSize = 1<<10, 1<<20 // no memory is taken for more
	for _, path := range must(fs.Glob(files, "*/*.avsc")) {
		codecs[path[:len(path)-len(".avsc")]] = must(goavro.NewCodec(string(must(files.ReadFile(path)))))
	}
	network, address := "unix", os.Getenv("EVENTO_SOCKET")
	if address == "" {
		network, address = "tcp", ":"+cmp.Or(os.Getenv("PORT"), "8080")
	}
	syscall.Umask(0) // in a container the platform is somebody else
	panic(http.Serve(must(net.Listen(network, address)), http.HandlerFunc(serve)))
}
