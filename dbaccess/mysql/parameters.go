package mysql

import (
	"teleport/dbaccess"
	"teleport/dbaccess/mysql/mysqlwire"
	"teleport/types"
	"teleport/types/event"
)

// bound remembers what executions say of parameters once and leave out later, for
// sessions of which parameters are told. It belongs to the client's direction.
type bound struct {
	level string
	types map[uint32][]uint16        // of statements
	long  map[uint32]map[uint16]bool // parameters that were sent before
}

// mostBound are the statements that are remembered; others are told by count.
const mostBound = 1 << 10

// on tells whether executions are to be seen whole.
func (b *bound) on() bool {
	return b.level == types.DBParametersTypes || b.level == types.DBParametersValues
}

// sent notes that a parameter came by itself.
func (b *bound) sent(id uint32, parameter uint16) {
	if !b.on() {
		return
	}
	if b.long == nil {
		b.long = map[uint32]map[uint16]bool{}
	}
	if b.long[id] == nil && len(b.long) < mostBound {
		b.long[id] = map[uint16]bool{}
	}
	if b.long[id] != nil {
		b.long[id][parameter] = true
	}
}

// reset forgets what was sent of a statement, forget all of it.
func (b *bound) reset(id uint32) { delete(b.long, id) }

func (b *bound) forget(id uint32) {
	b.reset(id)
	delete(b.types, id)
}

func (b *bound) forgetAll() { b.types, b.long = nil, nil }

// execute is what an event tells of an execution of so many parameters.
func (b *bound) execute(id uint32, count int, body []byte) event.Parameters {
	p := dbaccess.NewParameters(b.level, count)
	if !b.on() || count == 0 {
		return p.Event()
	}
	long := b.long[id]
	// What cannot be read is the server's to refuse: it is told as far as it goes.
	x, _ := mysqlwire.ParseExecute(body, count, b.types[id], func(i int) bool { return long[uint16(i)] })
	b.reset(id)
	if b.types == nil {
		b.types = map[uint32][]uint16{}
	}
	if b.types[id] != nil || len(b.types) < mostBound {
		b.types[id] = x.Types
	}
	for _, v := range x.Values {
		switch {
		case v.Null:
			p.Add(mysqlwire.TypeName(v.Type), nil, false)
		case v.Long:
			p.Add(mysqlwire.TypeName(v.Type), []byte("(sent before)"), false)
		default:
			p.Add(mysqlwire.TypeName(v.Type), v.Data, false)
		}
	}
	return p.Event()
}
