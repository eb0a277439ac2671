package websocket

import (
	"bytes"
	"encoding/binary"
	"errors"
)

// Opcodes (RFC 6455 5.2).
const (
	opContinuation = 0x0
	opText         = 0x1
	opBinary       = 0x2
	opClose        = 0x8
	opPing         = 0x9
	opPong         = 0xA
)

// status is why a connection is closed (RFC 6455 7.4.1).
type status uint16

const (
	statusNormal      status = 1000
	statusProtocol    status = 1002
	statusUnsupported status = 1003
)

// Error implements error.
func (s status) Error() string {
	switch s {
	case statusProtocol:
		return "websocket: protocol error"
	case statusUnsupported:
		return "websocket: binary data"
	}
	return "websocket: closed"
}

const (
	endOfMessage = 0    // see transport.FramingWebSocket
	noXML        = 0x01 // in place of a byte that would be taken for endOfMessage
	maxControl   = 125  // bytes in a control frame (RFC 6455 5.5)
	maxHeader    = 14   // bytes of a frame's header, at most: 2, length 8, mask 4
)

// decoder takes the frames of a client apart. It can stop after any byte.
type decoder struct {
	header  [maxHeader]byte
	have    uint8 // bytes of the header that came
	inside  bool  // a frame's payload is expected
	message bool  // a message has begun that is not whole
	fin     bool  // of the frame at hand
	op      byte
	mask    uint32 // as the next byte of payload wants it, in little endian
	left    uint64 // bytes of payload to come
	control []byte // payload of the control frame at hand, nil if there is none
}

// controlFrame is a whole one.
type controlFrame struct {
	op      byte
	payload []byte
}

// errClosed says that the peer's Close came; nothing behind it matters.
var errClosed = errors.New("websocket: the peer closes")

// decode appends to dst the payload of the data frames in p, with endOfMessage behind
// each message, and calls control for each control frame, whose payload is borrowed.
// It appends at most len(p)+1 bytes. The error, errClosed or a status, is final.
func (d *decoder) decode(dst, p []byte, control func(controlFrame)) ([]byte, error) {
	for {
		if !d.inside {
			var whole bool
			var err error
			if p, whole, err = d.head(p); err != nil || !whole {
				return dst, err
			}
		}
		n := int(min(d.left, uint64(len(p))))
		part := p[:n]
		p, d.left = p[n:], d.left-uint64(n)
		if d.op >= opClose {
			from := len(d.control)
			d.control = append(d.control, part...)
			d.unmask(d.control[from:])
		} else {
			from := len(dst)
			dst = append(dst, part...)
			d.unmask(dst[from:])
			hide(dst[from:])
		}
		if d.left > 0 {
			return dst, nil
		}
		d.inside = false
		switch {
		case d.op >= opClose:
			f := controlFrame{d.op, d.control}
			d.control = nil
			if control(f); f.op == opClose {
				return dst, errClosed
			}
		case d.fin:
			d.message = false
			dst = append(dst, endOfMessage)
		default:
			d.message = true
		}
	}
}

// head takes the header of a frame off p; whole is false if p ended first.
func (d *decoder) head(p []byte) (rest []byte, whole bool, err error) {
	for want := d.size(); d.have < want; want = d.size() {
		n := copy(d.header[d.have:want], p)
		if n == 0 {
			return nil, false, nil
		}
		p = p[n:]
		if d.have += uint8(n); d.have == 2 {
			if err := d.check(); err != nil {
				return nil, false, err
			}
		}
	}
	at := 2
	switch l := d.header[1] & 0x7F; l {
	case 126:
		d.left, at = uint64(binary.BigEndian.Uint16(d.header[2:])), 4
	case 127:
		d.left, at = binary.BigEndian.Uint64(d.header[2:]), 10
	default:
		d.left = uint64(l)
	}
	if d.left>>63 != 0 || at == 4 && d.left < 126 || at == 10 && d.left < 1<<16 { // RFC 6455 5.2: the shortest form
		return nil, false, statusProtocol
	}
	d.mask = binary.LittleEndian.Uint32(d.header[at:])
	d.have, d.inside = 0, true
	return p, true, nil
}

// size is how many bytes of the header are needed, as far as is known.
func (d *decoder) size() uint8 {
	if d.have < 2 {
		return 2
	}
	switch d.header[1] & 0x7F {
	case 126:
		return 2 + 2 + 4
	case 127:
		return 2 + 8 + 4
	}
	return 2 + 4
}

// check looks at the first two bytes of a header.
func (d *decoder) check() error {
	first, second := d.header[0], d.header[1]
	d.fin, d.op = first&0x80 != 0, first&0x0F
	switch {
	case first&0x70 != 0, second&0x80 == 0: // an extension that was not agreed on; no mask (RFC 6455 5.1)
		return statusProtocol
	case d.op == opBinary: // RFC 7395 3.2
		return statusUnsupported
	case d.op == opClose, d.op == opPing, d.op == opPong:
		if !d.fin || second&0x7F > maxControl {
			return statusProtocol
		}
	case d.op == opText && d.message, d.op == opContinuation && !d.message, d.op > opText:
		return statusProtocol
	}
	return nil
}

// unmask is RFC 6455 5.3, eight bytes at a time.
func (d *decoder) unmask(p []byte) {
	wide := uint64(d.mask)<<32 | uint64(d.mask)
	for ; len(p) >= 8; p = p[8:] {
		binary.LittleEndian.PutUint64(p, binary.LittleEndian.Uint64(p)^wide)
	}
	for i := range p {
		p[i] ^= byte(d.mask)
		d.mask = d.mask>>8 | d.mask<<24
	}
}

// hide makes bytes that the client must not send others that XML does not allow
// either.
func hide(p []byte) {
	for {
		i := bytes.IndexByte(p, endOfMessage)
		if i < 0 {
			return
		}
		p[i] = noXML
		p = p[i+1:]
	}
}

// appendFrame appends a whole frame of the server's, which has no mask.
func appendFrame(dst []byte, op byte, payload []byte) []byte {
	return append(appendHead(dst, op, len(payload)), payload...)
}

func appendHead(dst []byte, op byte, n int) []byte {
	dst = append(dst, 0x80|op)
	switch {
	case n < 126:
		return append(dst, byte(n))
	case n < 1<<16:
		return binary.BigEndian.AppendUint16(append(dst, 126), uint16(n))
	}
	return binary.BigEndian.AppendUint64(append(dst, 127), uint64(n))
}

// appendClose appends a Close with its status; 0 stands for none.
func appendClose(dst []byte, s status) []byte {
	if s == 0 {
		return appendFrame(dst, opClose, nil)
	}
	return appendFrame(dst, opClose, []byte{byte(s >> 8), byte(s)})
}
