package main

import (
	"math/big"
	"slices"
)

// savings is the state of one account; nil stands for an account that does not exist yet.
type savings struct {
	Owner   string   `avro:"owner"`
	Balance *big.Rat `avro:"balance"`
	Closed  bool     `avro:"closed"`
}

// fact has the fields of all Commands and events together; the codec takes those that a schema names.
type fact struct {
	Owner  string   `avro:"owner"`
	Amount *big.Rat `avro:"amount"`
	Rate   *big.Rat `avro:"rate"`
	Reason string   `avro:"reason"`
}

// commands, the events that each may end in, and its rejections.
var (
	commands   = []string{"OpenSavings", "ReceiveDeposit", "WithdrawCash", "CreditInterest", "CloseSavings"}
	facts      = []string{"SavingsOpened", "DepositReceived", "CashWithdrawn", "InterestCredited", "SavingsClosed"}
	rejections = []string{"SavingsOpeningRejected", "DepositRejected", "WithdrawalRejected", "InterestRejected", "SavingsClosingRejected"}
	events     = slices.Concat(facts, rejections)
)

// handle decides what becomes of a Command: an event of this name, or a rejection.
func handle(command string, c fact, s *savings) (string, fact) {
	i := slices.Index(commands, command)
	reject := func(reason string) (string, fact) {
		c.Reason = reason
		return rejections[i], c
	}
	switch {
	case command == "OpenSavings" && s != nil:
		return reject("already open")
	case command == "OpenSavings":
	case s == nil:
		return reject("not open")
	case s.Closed:
		return reject("closed")
	case command == "WithdrawCash" && s.Balance.Cmp(c.Amount) < 0:
		return reject("insufficient funds")
	case command == "CreditInterest":
		c.Amount = cents(new(big.Rat).Mul(s.Balance, c.Rate))
	case command == "CloseSavings" && s.Balance.Sign() != 0:
		return reject("balance is not zero")
	}
	return facts[i], c
}

// apply evolves the account by what happened; it changes nothing in place, and a rejection changes nothing at all.
func apply(event string, e fact, s *savings) *savings {
	switch event {
	case "SavingsOpened":
		return &savings{Owner: e.Owner, Balance: new(big.Rat)}
	case "DepositReceived", "InterestCredited":
		return &savings{s.Owner, new(big.Rat).Add(s.Balance, e.Amount), s.Closed}
	case "CashWithdrawn":
		return &savings{s.Owner, new(big.Rat).Sub(s.Balance, e.Amount), s.Closed}
	case "SavingsClosed":
		return &savings{s.Owner, s.Balance, true}
	}
	return s
}

// cents rounds to two places, half away from zero.
func cents(amount *big.Rat) *big.Rat {
	rounded, _ := new(big.Rat).SetString(amount.FloatString(2))
	return rounded
}
