package main

import (
	"encoding/binary"
	"fmt"
	"math/rand"
	"regexp"
	"strconv"
	"time"
)

const (
	depositShare = 0.7
	centsMax     = 10_000
)

// command is one Command of the bank's mix.
type command struct {
	account int
	name    string
	cents   int
	key     string // its own id, if the run sends ids
	sent    time.Time
}

func (c command) id() string { return "a" + strconv.Itoa(c.account) }

func (c command) amount() string {
	return strconv.Itoa(c.cents/100) + "." + string(rune('0'+c.cents/10%10)) + string(rune('0'+c.cents%10))
}

// places of a template, and what stands there.
var places = map[string]func(command) string{
	"{id}":      command.id,
	"{command}": func(c command) string { return c.name },
	"{amount}":  command.amount,
	"{cents}":   func(c command) string { return strconv.Itoa(c.cents) },
}

var placePattern = regexp.MustCompile(`\{[a-z]+\}`)

// template is a text cut at its places once, because it is filled for every Command and shares the cores with the service.
type template struct {
	texts  []string
	values []func(command) string // one after each text but the last
}

func newTemplate(text string) template {
	var t template
	end := 0
	for _, place := range placePattern.FindAllStringIndex(text, -1) {
		if value := places[text[place[0]:place[1]]]; value != nil {
			t.texts, t.values, end = append(t.texts, text[end:place[0]]), append(t.values, value), place[1]
		}
	}
	t.texts = append(t.texts, text[end:])
	return t
}

func (t template) fill(to []byte, c command) []byte {
	for i, value := range t.values {
		to = append(append(to, t.texts[i]...), value(c)...)
	}
	return append(to, t.texts[len(t.values)]...)
}

// mix draws Commands: uniform over the accounts, 70 % deposits, 30 % withdrawals, amounts from 0.01 to 100.00.
type mix struct {
	random *rand.Rand
	o      options
}

func newMix(o options, worker int) *mix {
	return &mix{rand.New(rand.NewSource(o.seed*1_000 + int64(worker))), o}
}

func (m *mix) next() command {
	c := command{account: m.random.Intn(m.o.accounts), name: m.o.deposit, cents: 1 + m.random.Intn(centsMax)}
	if m.random.Float64() >= depositShare {
		c.name = m.o.withdraw
	}
	if m.o.keys {
		c.key = uuid7()
	}
	return c
}

// uuid7 makes a time-ordered id, as a careful client would; not from the seed, so that no two runs share ids.
func uuid7() string {
	var b [16]byte
	binary.BigEndian.PutUint64(b[8:], rand.Uint64())
	binary.BigEndian.PutUint64(b[:8], uint64(time.Now().UnixMilli())<<16|uint64(rand.Intn(1<<12))|0x7000)
	b[8] = b[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
