package event

import "time"

// Types and codes about the audit log itself.
const (
	TypeAuditGap       = "audit.gap"
	CodeAuditGap       = "TXA01E"
	TypeAuditFork      = "audit.fork"
	CodeAuditFork      = "TXA02E"
	TypeAuditRefused   = "audit.refused"
	CodeAuditRefused   = "TXA03E"
	TypeAuditLost      = "audit.lost"
	CodeAuditLost      = "TXA04E"
	TypeAuditRecovered = "audit.recovered"
	CodeAuditRecovered = "TXA05W"
	TypeAuditCut       = "audit.cut"
	CodeAuditCut       = "TXA06E"
	TypeAuditExport    = "audit.export"
	CodeAuditExport    = "TXA07I"
	TypeAuditPrune     = "audit.prune"
	CodeAuditPrune     = "TXA08I"
	TypeAuditConflict  = "audit.checkpoint_conflict"
	CodeAuditConflict  = "TXA09E"
)

// AuditWriter names the writer whose chain an event is about.
type AuditWriter struct {
	Writer     string `json:"writer,omitempty" class:"public"` // host UUID
	Generation uint64 `json:"writer_generation,omitempty" class:"public"`
}

// AuditGap is a batch that auth refused because events before it are missing.
type AuditGap struct {
	Meta
	AuditWriter
	Expected uint64 `json:"expected_sequence" class:"public"`
	Got      uint64 `json:"got_sequence" class:"public"`
}

// AuditFork is a batch that auth refused because it continues another history
// than the one that was acknowledged: the writer was cloned or its disk rolled
// back.
type AuditFork struct {
	Meta
	AuditWriter
	Sequence uint64 `json:"sequence" class:"public"`
}

// AuditRefused is a batch that auth refused for what it says: a foreign
// writer, an event that its emitter may not emit, broken bytes. As the writer
// sees it, the spool of a generation that auth will not take, kept aside.
type AuditRefused struct {
	Meta
	AuditWriter
	Status
	Sequence uint64 `json:"sequence,omitempty" class:"public"`
}

// AuditLost says how many events this writer had to refuse since the last one
// that it took, and why: the actions behind them were refused too.
type AuditLost struct {
	Meta
	AuditWriter
	Count  uint64 `json:"count" class:"public"`
	Reason string `json:"reason" class:"public"` // quota, disk_full, disk
}

// AuditRecovered is what was found after a crash: bytes of a torn last record
// were dropped (they were never confirmed), or a damaged middle was put aside.
type AuditRecovered struct {
	Meta
	AuditWriter
	LastSequence uint64 `json:"last_sequence" class:"public"` // the last good one
	DroppedBytes int64  `json:"dropped_bytes" class:"public"`
	Damaged      bool   `json:"damaged" class:"public"` // more than a torn tail
}

// AuditCut is a log that is shorter than, or differs from, the checkpoint
// published last.
type AuditCut struct {
	Meta
	PublishedBlock uint64 `json:"published_block" class:"public"`
	FoundBlock     uint64 `json:"found_block" class:"public"`
}

// AuditExport is somebody taking the log out.
type AuditExport struct {
	Meta
	User
	Connection
	From time.Time `json:"from,omitzero" class:"public"`
	To   time.Time `json:"to,omitzero" class:"public"`
}

// AuditPrune is old blocks removed; their hash stays in the signed prefix.
type AuditPrune struct {
	Meta
	User
	ThroughBlock uint64 `json:"through_block" class:"public"`
	PrefixHash   string `json:"prefix_hash" class:"public"`
}

// AuditCheckpointConflict is a checkpoint that the witness store refused
// because another one continues the chain.
type AuditCheckpointConflict struct {
	Meta
	Number uint64 `json:"number" class:"public"`
}
