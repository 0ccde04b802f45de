package proxy

import (
	"encoding/binary"
	"errors"
	"net/netip"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Numbers of linux/netfilter/nfnetlink_conntrack.h.
const (
	ctMsgGet    = 1
	ctMsgDelete = 2

	ctaTupleOrig  = 1
	ctaTupleReply = 2
	ctaFilter     = 25

	ctaTupleIP    = 1
	ctaTupleProto = 2
	ctaIPv4Src    = 1
	ctaIPv4Dst    = 2
	ctaProtoNum   = 1
	ctaPortSrc    = 2
	ctaPortDst    = 3

	ctaFilterOrig  = 1
	filterIPDst    = 1 << 1
	filterProtoNum = 1 << 3
	filterPortDst  = 1 << 5
)

// flow is a tracked connection: where its client sends to, and who answers.
type flow struct {
	to, from netip.AddrPort
	proto    Protocol
	original []byte // the tuple, as the kernel gave it
}

func conntrackMessage(kind int, flags netlink.HeaderFlags, attrs []byte) netlink.Message {
	return netlink.Message{
		Header: netlink.Header{Type: netlink.HeaderType(unix.NFNL_SUBSYS_CTNETLINK<<8 | kind), Flags: netlink.Request | flags},
		Data:   append([]byte{unix.AF_INET, unix.NFNETLINK_V0, 0, 0}, attrs...),
	}
}

// dumpFlows lists the flows of at's protocol and, unless its address is invalid, to at alone. The kernel picks them
// (since 5.8; older ones give all, of which those that were not asked for are left out here).
func dumpFlows(conn *netlink.Conn, at Frontend) ([]flow, error) {
	attrs, err := flowFilter(at)
	if err != nil {
		return nil, err
	}
	answers, err := conn.Execute(conntrackMessage(ctMsgGet, netlink.Dump, attrs))
	if err != nil {
		return nil, err
	}
	var found []flow
	for _, m := range answers {
		if len(m.Data) < 4 {
			continue
		}
		f, err := decodeFlow(m.Data[4:])
		if err != nil {
			return nil, err
		}
		if f.proto == at.Protocol {
			found = append(found, f)
		}
	}
	return found, nil
}

func flowFilter(at Frontend) ([]byte, error) {
	flags := uint32(filterProtoNum)
	e := netlink.NewAttributeEncoder()
	e.Nested(ctaTupleOrig, func(e *netlink.AttributeEncoder) error {
		if at.Addr.IsValid() {
			flags |= filterIPDst | filterPortDst
			e.Nested(ctaTupleIP, func(e *netlink.AttributeEncoder) error {
				e.Bytes(ctaIPv4Dst, at.Addr.AsSlice())
				return nil
			})
		}
		e.Nested(ctaTupleProto, func(e *netlink.AttributeEncoder) error {
			e.Uint8(ctaProtoNum, uint8(at.Protocol))
			if at.Addr.IsValid() {
				e.Bytes(ctaPortDst, binary.BigEndian.AppendUint16(nil, at.Port))
			}
			return nil
		})
		return nil
	})
	e.Nested(ctaFilter, func(e *netlink.AttributeEncoder) error {
		e.Uint32(ctaFilterOrig, flags)
		return nil
	})
	return e.Encode()
}

func decodeFlow(b []byte) (f flow, err error) {
	d, err := netlink.NewAttributeDecoder(b)
	if err != nil {
		return f, err
	}
	for d.Next() {
		switch d.Type() {
		case ctaTupleOrig:
			f.original = d.Bytes()
			d.Nested(func(d *netlink.AttributeDecoder) error {
				return decodeTuple(d, ctaIPv4Dst, ctaPortDst, &f.to, &f.proto)
			})
		case ctaTupleReply:
			d.Nested(func(d *netlink.AttributeDecoder) error {
				return decodeTuple(d, ctaIPv4Src, ctaPortSrc, &f.from, &f.proto)
			})
		}
	}
	return f, d.Err()
}

// decodeTuple reads one side of a tuple.
func decodeTuple(d *netlink.AttributeDecoder, ip, port uint16, at *netip.AddrPort, proto *Protocol) error {
	var a netip.Addr
	var p uint16
	for d.Next() {
		switch d.Type() {
		case ctaTupleIP:
			d.Nested(func(d *netlink.AttributeDecoder) error {
				for d.Next() {
					if d.Type() == ip {
						a, _ = netip.AddrFromSlice(d.Bytes())
					}
				}
				return nil
			})
		case ctaTupleProto:
			d.Nested(func(d *netlink.AttributeDecoder) error {
				for d.Next() {
					switch b := d.Bytes(); {
					case d.Type() == ctaProtoNum && len(b) == 1:
						*proto = Protocol(b[0])
					case d.Type() == port && len(b) == 2:
						p = binary.BigEndian.Uint16(b)
					}
				}
				return nil
			})
		}
	}
	*at = netip.AddrPortFrom(a, p)
	return nil
}

// delete ends a flow; that it has ended is fine.
func (f flow) delete(conn *netlink.Conn) error {
	attrs, err := netlink.MarshalAttributes([]netlink.Attribute{{Type: ctaTupleOrig | netlink.Nested, Data: f.original}})
	if err != nil {
		return err
	}
	_, err = conn.Execute(conntrackMessage(ctMsgDelete, netlink.Acknowledge, attrs))
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	return err
}
