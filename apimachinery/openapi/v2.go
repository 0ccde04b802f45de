package openapi

// V2MediaType is the media type of V2 in answers. (Clients ask for it with an @ in place of the last point, which no
// answer may have: it is not a valid media type.)
const V2MediaType = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"

// V2 returns an OpenAPI v2 document without paths and models, in protobuf. Clients of today use v3; kubectl asks for
// v2 when a kind has no PATCH operation (a TokenReview), and with an empty document leaves validation to the server.
func V2() []byte {
	// Document{swagger: "2.0", info: {title: "Bedplate", version: "v1.37"}}: fields 1 and 2, then 1 and 2 of Info.
	info := protoString(protoString(nil, 1, "Bedplate"), 2, "v1.37")
	return protoString(protoString(nil, 1, "2.0"), 2, string(info))
}

// protoString appends a length-delimited field of fewer than 128 bytes.
func protoString(dst []byte, field byte, s string) []byte {
	return append(append(dst, field<<3|2, byte(len(s))), s...)
}
