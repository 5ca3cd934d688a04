package main

import (
	"math/big"
	"slices"
)

// savings is the state of one account; nil stands for an account of which nothing is known yet.
type savings struct {
	Owner   string   `avro:"owner"`
	Balance *big.Rat `avro:"balance"`
	Status  string   `avro:"status"`
}

// fact has the fields of all Commands and events together; the codec takes those that a schema names.
type fact struct {
	Owner  string   `avro:"owner"`
	Amount *big.Rat `avro:"amount"`
	Rate   *big.Rat `avro:"rate_percent"`
	Reason string   `avro:"reason"`
}

// commands, and for each the event that it ends in unless it is rejected.
var (
	commands = []string{"OpenSavings", "ReceiveDeposit", "WithdrawCash", "CreditInterest", "CloseSavings"}
	events   = []string{"SavingsOpened", "SavingsDeposited", "SavingsWithdrawn", "InterestCredited", "SavingsClosed", rejection}
)

const rejection = "SavingsRejected"

// handle decides what becomes of a Command.
func handle(command string, c fact, s *savings) (event string, e fact) {
	if reason := refusal(command, c, s); reason != "" {
		return rejection, fact{Reason: reason}
	}
	if command == "CreditInterest" {
		c.Amount = roundedCents(new(big.Rat).Mul(s.Balance, c.Rate)) // percent of units: cents
	}
	return events[slices.Index(commands, command)], c
}

func refusal(command string, c fact, s *savings) string {
	status := "NEW"
	if s != nil {
		status = s.Status
	}
	switch {
	case command == "OpenSavings" && status == "NEW":
		return ""
	case status == "CLOSED":
		return "CLOSED"
	case command == "OpenSavings":
		return "ALREADY_OPEN"
	case status == "NEW":
		return "NOT_OPEN"
	case c.Amount != nil && c.Amount.Sign() <= 0, c.Rate != nil && c.Rate.Sign() <= 0:
		return "NOT_POSITIVE"
	case command == "WithdrawCash" && s.Balance.Cmp(c.Amount) < 0:
		return "INSUFFICIENT_FUNDS"
	case command == "CloseSavings" && s.Balance.Sign() != 0:
		return "NOT_EMPTY"
	}
	return ""
}

// apply evolves an account by what happened. It changes nothing in place: a Command that fails leaves the account as it was.
func apply(event string, e fact, s *savings) *savings {
	after := savings{Balance: new(big.Rat), Status: "NEW"}
	if s != nil {
		after = *s
	}
	switch event {
	case "SavingsOpened":
		after.Owner, after.Status = e.Owner, "OPEN"
	case "SavingsDeposited", "InterestCredited":
		after.Balance = new(big.Rat).Add(after.Balance, e.Amount)
	case "SavingsWithdrawn":
		after.Balance = new(big.Rat).Sub(after.Balance, e.Amount)
	case "SavingsClosed":
		after.Status = "CLOSED"
	}
	return &after
}

// roundedCents rounds a positive number of cents to a whole one, halves to the even one.
func roundedCents(cents *big.Rat) *big.Rat {
	whole, rest := new(big.Int).QuoRem(cents.Num(), cents.Denom(), new(big.Int))
	if half := rest.Lsh(rest, 1).Cmp(cents.Denom()); half > 0 || half == 0 && whole.Bit(0) == 1 {
		whole.Add(whole, big.NewInt(1))
	}
	return new(big.Rat).SetFrac(whole, big.NewInt(100))
}
