package test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/pg-netstat/pg_netstat/test/harness"
)

// sums are what was sent for a statement.
type sums struct {
	Calls, Bytes, Messages, Rows, Max, BytesIn int64
}

func (a *sums) add(b sums) {
	a.Calls += b.Calls
	a.Bytes += b.Bytes
	a.Messages += b.Messages
	a.Rows += b.Rows
	a.BytesIn += b.BytesIn
	a.Max = max(a.Max, b.Max)
}

// rawClient is a client that counts by itself what each message of the server
// takes, and whose it should be. It reads the server's bytes as they come.
type rawClient struct {
	t    *testing.T
	conn net.Conn
	next *rawMessage // was read, and not taken yet

	sums  map[string]*sums // by owner
	calls map[string]int64 // bytes of the present call of each
	data  int64            // rows since it began or went on
	owner string           // of the last message
	value []byte           // first column of the last row
}

type rawMessage struct {
	kind byte
	body []byte
}

func (m rawMessage) size() int64 { return int64(5 + len(m.body)) }

// newRawClient connects by the Unix socket; what the startup brings is counted.
func newRawClient(t *testing.T, s *harness.Server, parameters map[string]string) *rawClient {
	t.Helper()
	conn, err := net.Dial("unix", filepath.Join(s.Sockets, fmt.Sprintf(".s.PGSQL.%d", s.Port)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	c := &rawClient{t: t, conn: conn, sums: map[string]*sums{}, calls: map[string]int64{}}
	c.send(&pgproto3.StartupMessage{ProtocolVersion: pgproto3.ProtocolVersion30, Parameters: parameters})
	c.expect("p:RS+KZ")
	return c
}

func (c *rawClient) send(messages ...pgproto3.FrontendMessage) {
	c.t.Helper()
	var out []byte
	var err error
	for _, m := range messages {
		if out, err = m.Encode(out); err != nil {
			c.t.Fatal(err)
		}
		if data, ok := m.(*pgproto3.CopyData); ok {
			c.sums[c.owner].BytesIn += int64(len(data.Data))
		}
	}
	if err = c.conn.SetDeadline(time.Now().Add(patience)); err == nil {
		_, err = c.conn.Write(out)
	}
	if err != nil {
		c.t.Fatal("sending: ", err)
	}
}

// peek waits for the next message and leaves it to be taken.
func (c *rawClient) peek() rawMessage {
	c.t.Helper()
	if c.next != nil {
		return *c.next
	}
	header := make([]byte, 5)
	err := c.conn.SetReadDeadline(time.Now().Add(patience))
	if err == nil {
		_, err = io.ReadFull(c.conn, header)
	}
	if err != nil {
		c.t.Fatal("waiting for a message: ", err)
	}
	m := rawMessage{kind: header[0], body: make([]byte, binary.BigEndian.Uint32(header[1:])-4)}
	if _, err = io.ReadFull(c.conn, m.body); err != nil {
		c.t.Fatal("reading a message: ", err)
	}
	c.next = &m
	return m
}

// expect takes messages that are as wanted, and counts each for its owner. What is
// wanted has an item for each owner in turn, as "a:TDDC p:Z", with the types of
// its messages; D+ is one D or more, D* may be none. It is another call of the owner's,
// unless a plus sign stands before it. An item "!" is the end of the connection.
func (c *rawClient) expect(wanted string) {
	c.t.Helper()
	for _, item := range strings.Fields(wanted) {
		if item == "!" {
			c.expectEnd()
			continue
		}
		owner, kinds, _ := strings.Cut(item, ":")
		c.begin(owner)
		for i := range len(kinds) {
			following := kinds[min(i+1, len(kinds)-1)]
			if kinds[i] == '*' || kinds[i] == '+' {
				continue
			}
			if following != '*' {
				c.take(kinds[i], wanted)
			}
			for (following == '*' || following == '+') && c.peek().kind == kinds[i] {
				c.take(kinds[i], wanted)
			}
		}
	}
}

func (c *rawClient) begin(owner string) {
	owner, goesOn := strings.CutPrefix(owner, "+")
	if c.sums[owner] == nil {
		c.sums[owner] = &sums{}
	}
	if !goesOn {
		c.sums[owner].Calls++
		c.calls[owner] = 0
	}
	c.data = 0
	c.owner = owner
}

func (c *rawClient) take(kind byte, wanted string) {
	c.t.Helper()
	m := c.peek()
	c.next = nil
	if m.kind != kind {
		c.t.Fatalf("%c came where %c was expected of %q: %q", m.kind, kind, wanted, m.body[:min(len(m.body), 300)])
	}
	s := c.sums[c.owner]
	s.Bytes += m.size()
	s.Messages++
	c.calls[c.owner] += m.size()
	s.Max = max(s.Max, c.calls[c.owner])
	switch kind {
	case 'D':
		c.data++
		c.value = m.body[min(6, len(m.body)):] // after the counts of columns and of bytes
	case 's':
		s.Rows += c.data
	case 'C':
		tag := strings.Fields(strings.TrimRight(string(m.body), "\x00"))
		if n, err := strconv.ParseInt(tag[len(tag)-1], 10, 64); err == nil {
			s.Rows += n
		}
	}
}

func (c *rawClient) expectEnd() {
	c.t.Helper()
	if n, err := c.conn.Read(make([]byte, 1)); n != 0 || !errors.Is(err, io.EOF) {
		c.t.Fatalf("the connection should end: %d bytes, %v", n, err)
	}
}

// The messages of a client, in short.

func query(sql string) pgproto3.FrontendMessage { return &pgproto3.Query{String: sql} }

func prepare(name, sql string) pgproto3.FrontendMessage {
	return &pgproto3.Parse{Name: name, Query: sql}
}

func bind(portal, statement string, parameters ...string) pgproto3.FrontendMessage {
	m := &pgproto3.Bind{DestinationPortal: portal, PreparedStatement: statement}
	for _, p := range parameters {
		m.Parameters = append(m.Parameters, []byte(p))
	}
	return m
}

func describe(what byte, name string) pgproto3.FrontendMessage {
	return &pgproto3.Describe{ObjectType: what, Name: name}
}

// execute asks for so many rows of a portal at most; 0 is all.
func execute(portal string, rows uint32) pgproto3.FrontendMessage {
	return &pgproto3.Execute{Portal: portal, MaxRows: rows}
}

func syncs() pgproto3.FrontendMessage { return &pgproto3.Sync{} }

func copyData(data string) pgproto3.FrontendMessage {
	return &pgproto3.CopyData{Data: []byte(data)}
}
