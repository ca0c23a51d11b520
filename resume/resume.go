// Package resume is a byte stream that outlives its connections. Between a
// client and an agent lies a carrier, a dialled connection that may break when a
// proxy restarts, a network changes or a laptop sleeps. A Conn is a net.Conn
// over one carrier after the other: each side keeps what the other has not
// acknowledged, in a bounded memory, and sends it again on the next carrier, so
// that no byte is lost and none comes twice.
//
// What lies inside (SSH) is end to end; this layer guards who may go on with a
// stream. At the first carrier the client presents a fresh Ed25519 key, signed
// by the key of its certificate. Each further carrier is admitted only after it
// has signed the agent's fresh nonce with that fresh key, and after the agent
// has decided about its bearer again. A stream has one carrier at a time: the
// old one is fenced off before positions are told.
//
// Grammar. Everything on a carrier is a frame:
//
//	frame  = kind:u8 length:u24 sequence:u64 ack:u64 payload     big endian
//	data   = 1, payload of 1..MaxPayload bytes
//	ack    = 2, empty
//	ping   = 3, empty; answered by pong
//	pong   = 4, empty
//	end    = 5, empty: the sender writes no more
//	close  = 6, empty: nor does it read any more
//	open      = 16, version:u8 key:32 certificate:u16-string signature:u16-string
//	challenge = 17, version:u8 nonce:32
//	attach    = 18, version:u8 generation:u64 received:u64 base:u64 next:u64 signature:64
//	attached  = 19, received:u64
//	refused   = 20, fault:u8-string message:u16-string hint:u16-string
//
// The sequence is the position in its direction of the first byte of the frame,
// the ack the position up to which the sender has received. An end or close
// takes one position. A frame whose sequence is not the position expected
// breaks its carrier. On a first carrier the client sends open, and both sides'
// frames follow without waiting. On a later one the agent sends challenge, the
// client attach, the agent attached, and each side goes on from the position
// that the other has told. A refusal ends the stream for the client. Sequence
// and ack are zero in open, challenge, attach, attached and refused.
//
// History of the version number:
//
//	1  first version
//	2  the certificate is X.509, not of SSH: who may open no login has one too
package resume

import (
	"time"
)

// Version is what this package speaks.
const Version = 2

// Window bounds what one direction of one stream keeps for the other side, in
// bytes of memory. It lets 35 MB/s through a path of 100 ms.
const Window = 4 << 20

// Times of the protocol.
const (
	// HandshakeTimeout bounds the exchange at the beginning of a carrier.
	HandshakeTimeout = 10 * time.Second
	// pingEvery is how long a client hears nothing before it asks, and clientDead
	// after how long without a word it takes the carrier for dead.
	pingEvery  = 5 * time.Second
	clientDead = 12 * time.Second
	// agentDead is the same for an agent, which never asks: its client does.
	agentDead = 30 * time.Second
	// probeFor is how long an answer may take after this machine has slept.
	probeFor = 2 * time.Second
	// farewellFor is how long Close may wait for its last words to leave.
	farewellFor = time.Second
	// farewellLost is the same where the connection is lost: a next one may take them.
	farewellLost = 2 * time.Second
)
