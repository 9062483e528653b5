package proxy

import (
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
)

// The codes that stand where a startup packet has the protocol's version.
const (
	cancelRequest = 80877102
	tlsRequest    = 80877103
	gssRequest    = 80877104
)

// stream counts the messages of one direction as their bytes pass, whatever
// pieces those come in.
type stream struct {
	tallies map[byte]Tally
	header  []byte // of the message that is passing, as far as it has come
	left    int64  // bytes of it that have not passed
}

const headerSize = 5 // type and length

func newStream() *stream { return &stream{tallies: map[byte]Tally{}} }

func (s *stream) pass(b []byte) {
	for len(b) > 0 {
		if s.left == 0 {
			n := min(headerSize-len(s.header), len(b))
			s.header, b = append(s.header, b[:n]...), b[n:]
			if len(s.header) < headerSize {
				return
			}
			// The length counts itself, not the type.
			length := int64(binary.BigEndian.Uint32(s.header[1:]))
			t := s.tallies[s.header[0]]
			s.tallies[s.header[0]] = Tally{t.Messages + 1, t.Bytes + 1 + length}
			s.left, s.header = length-4, s.header[:0]
		}
		n := min(s.left, int64(len(b)))
		s.left, b = s.left-n, b[n:]
	}
}

func (s *stream) copy() map[byte]Tally { return maps.Clone(s.tallies) }

// negotiate passes on what comes before the messages: requests for encryption and
// the startup packet. It gives the connections to talk through from then on.
func (s *session) negotiate(client, server net.Conn) (net.Conn, net.Conn, error) {
	s.update(func() { s.toServer, s.from = newStream(), newStream() })
	for {
		first, err := startupPacket(client)
		if err != nil {
			return nil, nil, err
		}
		if _, err := server.Write(first); err != nil {
			return nil, nil, err
		}
		switch binary.BigEndian.Uint32(first[4:]) {
		case cancelRequest:
			s.update(func() { s.known.Cancel = true })
			return client, server, nil
		case tlsRequest, gssRequest:
			if client, server, err = s.encrypt(client, server); err != nil {
				return nil, nil, err
			}
		default:
			s.update(func() { s.known.Startup = parameters(first[8:]) })
			return client, server, nil
		}
	}
}

// encrypt passes on the answer to a request for encryption.
func (s *session) encrypt(client, server net.Conn) (net.Conn, net.Conn, error) {
	answer := make([]byte, 1)
	if _, err := io.ReadFull(server, answer); err != nil {
		return nil, nil, err
	}
	if _, err := client.Write(answer); err != nil {
		return nil, nil, err
	}
	switch {
	case answer[0] == 'N':
		return client, server, nil
	case answer[0] != 'S':
		return nil, nil, fmt.Errorf("the answer to a request for encryption is %q", answer)
	case s.p.o.TLS == nil:
		return nil, nil, errors.New("client and server talk TLS, and the proxy cannot look into it")
	}
	inner := tls.Server(client, &tls.Config{Certificates: []tls.Certificate{*s.p.o.TLS}})
	outer := tls.Client(server, &tls.Config{InsecureSkipVerify: true}) //nolint:gosec // both ends are the test's
	if err := errors.Join(outer.Handshake(), inner.Handshake()); err != nil {
		return nil, nil, err
	}
	s.update(func() { s.known.TLS = true })
	return inner, outer, nil
}

// startupPacket reads one: length and code, then what belongs to it.
func startupPacket(from io.Reader) ([]byte, error) {
	head := make([]byte, 8)
	if _, err := io.ReadFull(from, head); err != nil {
		return nil, err
	}
	length := binary.BigEndian.Uint32(head)
	if length < 8 || length > 10000 {
		return nil, fmt.Errorf("a startup packet of %d bytes", length)
	}
	packet := append(head, make([]byte, length-8)...)
	_, err := io.ReadFull(from, packet[8:])
	return packet, err
}

// parameters are pairs of strings, each ended by a zero byte, and one more of those.
func parameters(b []byte) map[string]string {
	all := map[string]string{}
	fields := bytes.Split(b, []byte{0})
	for i := 0; i+1 < len(fields) && len(fields[i]) > 0; i += 2 {
		all[string(fields[i])] = string(fields[i+1])
	}
	return all
}
