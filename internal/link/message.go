package link

import "time"

// Hello is the worker's first frame.
type Hello struct {
	Protocol      uint32
	ServerVersion uint32 // as server_version_num
	ModuleVersion string
	MaxSet        uint64 // bytes that one set of snapshots may take
}

// Restored ends the snapshots that the worker gives the agent at its start.
type Restored struct {
	Origin    Origin
	Published time.Time // when the set became visible; zero if there is none
	ResetSeq  uint64    // through which reset request the set goes
	EventSeq  uint64    // through which event the set goes
}

// Origin says where restored snapshots come from.
type Origin byte

// Origins of restored snapshots.
const (
	OriginNone Origin = iota
	OriginMemory
	OriginFile
)

// String names the origin as pg_netstat_status does.
func (o Origin) String() string {
	switch o {
	case OriginMemory:
		return "shared memory"
	case OriginFile:
		return "file"
	case OriginNone:
	}
	return ""
}

// Level is the severity of a log line, as the server shows it.
type Level byte

// Levels of log lines. An Error is shown as a warning and kept as last_error.
const (
	LevelDebug Level = iota
	LevelLog
	LevelWarning
	LevelError
)

// DecodeHello reads the body of a TypeHello frame. Only the protocol version
// is sure to be there in every version.
func DecodeHello(p []byte) (Hello, error) {
	b := body{b: p}
	h := Hello{Protocol: b.u32("protocol version")}
	if b.err != nil || h.Protocol != Protocol {
		return h, b.err
	}
	h.ServerVersion = b.u32("server version")
	h.ModuleVersion = b.str("module version")
	h.MaxSet = b.u64("size of a set")
	return h, b.end()
}

// DecodeConfig reads the body of a TypeConfig frame: settings and their values.
func DecodeConfig(p []byte) (map[string]string, error) {
	b := body{b: p}
	n := b.u32("number of settings")
	m := make(map[string]string, min(n, 64))
	for i := uint32(0); i < n && b.err == nil; i++ {
		name := b.str("name of a setting")
		m[name] = b.str("value of a setting")
	}
	return m, b.end()
}

// DecodeRestore reads the body of a TypeRestore frame: a snapshot's name and data.
func DecodeRestore(p []byte) (name string, data []byte, err error) {
	b := body{b: p}
	name = b.str("name of a snapshot")
	data = b.take(uint64(b.u32("length of a snapshot")), "snapshot")
	return name, data, b.end()
}

// DecodeRestored reads the body of a TypeRestored frame.
func DecodeRestored(p []byte) (Restored, error) {
	b := body{b: p}
	r := Restored{Origin: Origin(b.u8("origin"))}
	r.Published = fromMicros(int64(b.u64("time of publication")))
	r.ResetSeq = b.u64("reset number")
	r.EventSeq = b.u64("event number")
	if b.err == nil && r.Origin > OriginFile {
		return r, malformed("origin %d", r.Origin)
	}
	return r, b.end()
}

// DecodeReset reads the body of a TypeReset frame: the request's number.
func DecodeReset(p []byte) (uint64, error) {
	b := body{b: p}
	seq := b.u64("reset number")
	return seq, b.end()
}

// AgentHello makes the agent's first frame.
func AgentHello(version string) []byte {
	return newFrame(TypeAgentHello, 8+len(version)).u32(Protocol).str(version).bytes()
}

// Snapshot makes a frame that carries the snapshot called name.
func Snapshot(name string, data []byte) []byte {
	f := newFrame(TypeSnapshot, 8+len(name)+len(data)).str(name).u32(uint32(len(data)))
	return append(f, data...).bytes()
}

// Publish makes the frame that shows the snapshots since the last one, which
// contain every event and reset request up to these numbers.
func Publish(eventSeq, resetSeq uint64) []byte {
	return newFrame(TypePublish, 16).u64(eventSeq).u64(resetSeq).bytes()
}

// maxLog bounds each text of a log line, so that the frame is at most 8 kB.
const maxLog = 2500

// Log makes a frame that becomes a line of the server's log. Detail and hint
// may be empty.
func Log(level Level, message, detail, hint string) []byte {
	f := newFrame(TypeLog, 128).u8(byte(level))
	for _, s := range []string{message, detail, hint} {
		f = f.str(s[:min(len(s), maxLog)])
	}
	return f.bytes()
}

// Beat makes the frame that says the agent lives.
func Beat() []byte { return newFrame(TypeBeat, 0).bytes() }
