package chain

// checkpoint checks a checkpoint of the export against the state so far.
func (v *verifier) checkpoint(s Signed) {
	c, err := s.Verify(v.keys)
	if err != nil {
		v.problem(BadSignature, Writer{}, "the checkpoint after block %d is not signed by a given key", v.number)
		return
	}
	var wantNumber uint64 = 1
	if v.previous != nil {
		wantNumber = v.previous.Number + 1
	}
	if c.Number != wantNumber || c.Previous != v.prevHash {
		v.problem(Missing, Writer{}, "checkpoint %d does not follow the one before: checkpoints are missing or from another log", c.Number)
	}
	if c.Cluster != v.report.Cluster || c.Block != v.number || c.Log != v.log {
		v.problem(Rewritten, Writer{}, "the log up to block %d is not the one that checkpoint %d signed", v.number, c.Number)
	}
	v.compareHeads(c)
	v.previous, v.prevHash, v.covered = &c, s.Hash(), c.Block
	v.report.Checkpoints++
	v.report.Last, v.report.LastTime = &s, c.Time
}

// compareHeads finds writers that a checkpoint lists and the log lacks.
func (v *verifier) compareHeads(c Checkpoint) {
	named := false
	for _, want := range c.Changed {
		have, known := v.heads[want.Writer]
		switch {
		case !known:
			named = true
			v.problem(DroppedWriter, want.Writer, "all events of writer %s (generation %d) are missing", want.UUID, want.Generation)
		case have.Sequence < want.Sequence:
			named = true
			v.problem(Missing, want.Writer, "events %d to %d of writer %s (generation %d) are missing", have.Sequence+1, want.Sequence, want.UUID, want.Generation)
		}
	}
	if named {
		return
	}
	heads := make([]Head, 0, len(v.heads))
	for _, h := range v.heads {
		heads = append(heads, h)
	}
	if c.Writers != len(heads) || c.Heads != HashHeads(heads) {
		v.problem(DroppedWriter, Writer{}, "the writers up to block %d are not those that checkpoint %d signed", v.number, c.Number)
	}
}

// checkSaved compares the log with the saved checkpoint when it reaches it.
func (v *verifier) checkSaved() {
	if v.saved == nil || v.savedDone || v.number < v.saved.Block {
		return
	}
	v.savedDone = true
	if v.number == v.saved.Block && v.log == v.saved.Log {
		return
	}
	v.problem(Rewritten, Writer{}, "the log up to block %d is not the one of the saved checkpoint %d", v.saved.Block, v.saved.Number)
	v.compareHeads(*v.saved)
}

// finish looks at what is only known at the end.
func (v *verifier) finish() {
	v.report.Writers = len(v.heads)
	if v.saved != nil && !v.savedDone {
		v.problem(Cut, Writer{}, "the log ends at block %d, the saved checkpoint was taken at block %d: the end is cut off", v.number, v.saved.Block)
		v.compareHeads(*v.saved)
	}
	if v.ended && v.covered < v.number {
		v.problem(Unsigned, Writer{}, "no checkpoint signs blocks %d to %d", v.covered+1, v.number)
	}
}
