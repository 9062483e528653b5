package agent

import (
	"context"
	"io"
	"log/slog"
	"strings"
	"sync"

	"github.com/pg-netstat/pg_netstat/internal/link"
)

// Wire writes whole frames, also from several goroutines. Its first error
// stays: the worker is gone then.
type Wire struct {
	mu  sync.Mutex
	w   io.Writer
	err error
}

// NewWire writes frames to w.
func NewWire(w io.Writer) *Wire { return &Wire{w: w} }

// Send writes frames one behind the other, with none of another goroutine
// between them.
func (w *Wire) Send(frames ...[]byte) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, f := range frames {
		if w.err != nil {
			break
		}
		_, w.err = w.w.Write(f)
	}
	return w.err
}

// handler makes log records lines of the server's log. The attributes
// "detail" and "hint" become the lines of that name, others follow the message.
type handler struct {
	wire  *Wire
	attrs []slog.Attr
}

// NewLogger logs to the server's log.
func NewLogger(w *Wire) *slog.Logger { return slog.New(handler{wire: w}) }

func (h handler) Enabled(context.Context, slog.Level) bool { return true }
func (h handler) WithGroup(string) slog.Handler            { return h }

func (h handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return handler{h.wire, append(h.attrs[:len(h.attrs):len(h.attrs)], attrs...)}
}

func (h handler) Handle(_ context.Context, r slog.Record) error {
	var message strings.Builder
	var detail, hint string
	message.WriteString(r.Message)
	add := func(a slog.Attr) bool {
		switch v := a.Value.Resolve().String(); a.Key {
		case "detail":
			detail = v
		case "hint":
			hint = v
		case "err":
			message.WriteString(": " + v)
		default:
			message.WriteString(" " + a.Key + "=" + v)
		}
		return true
	}
	for _, a := range h.attrs {
		add(a)
	}
	r.Attrs(add)
	return h.wire.Send(link.Log(level(r.Level), message.String(), detail, hint))
}

func level(l slog.Level) link.Level {
	switch {
	case l >= slog.LevelError:
		return link.LevelError
	case l >= slog.LevelWarn:
		return link.LevelWarning
	case l >= slog.LevelInfo:
		return link.LevelLog
	default:
		return link.LevelDebug
	}
}
