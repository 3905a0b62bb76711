/*
 * What libteec and the daemon say to each other.
 *
 * AF_UNIX SEQPACKET; one packet is one frame; little-endian; natural alignment, no padding. A
 * connection carries one request at a time and its reply. A context may have many connections (one
 * for each thread that is in a call): the first is given a token, the others show it. The context
 * ends with its last connection.
 *
 * normal_world/protocol.py is the same for Python; tests compare the two.
 */
#ifndef LITEBOX_PROTOCOL_H
#define LITEBOX_PROTOCOL_H

#include <stdint.h>

#define LB_PROTOCOL_VERSION 1
#define LB_FRAME_MAX 512 /* bytes; a longer frame is a protocol error, and ends the connection */
#define LB_TOKEN_SIZE 16
#define LB_UUID_SIZE 16
#define LB_PARAMS 4
#define LB_HAS_DEATHS 1u
#define LB_NO_SHM 0xFFFFFFFFu /* the memref is NULL */

enum lb_op {
	LB_OP_HELLO = 1,
	LB_OP_OPEN_SESSION = 2,
	LB_OP_INVOKE = 3,
	LB_OP_CLOSE_SESSION = 4,
	LB_OP_CANCEL = 5,
	LB_OP_REGISTER_SHM = 6, /* with one file descriptor: a memfd sealed against shrinking and growing */
	LB_OP_RELEASE_SHM = 7,
	LB_OP_STATUS = 8, /* the reply carries a memfd with JSON text; `size` is its length */
	LB_OP_DEATHS = 9, /* the same: how TAs died of this connection's last call */
};

/* Before every request and every reply. */
struct lb_header {
	uint16_t version; /* LB_PROTOCOL_VERSION */
	uint16_t op;	  /* enum lb_op; a reply repeats its request's */
	uint32_t length;  /* of the whole frame, bytes */
};

/*
 * kind: TEE_PARAM_TYPE_* (0 none, 1-3 value, 5-7 memref). Value: a and b are its words. Memref: shm
 * names a registered object or is LB_NO_SHM, a is the offset and b the size, bytes.
 * In a reply, of outputs: a and b of a value, b of a memref (its new size).
 */
struct lb_param {
	uint32_t kind;
	uint32_t shm;
	uint64_t a;
	uint64_t b;
};

struct lb_hello {
	struct lb_header header;
	uint8_t token[LB_TOKEN_SIZE]; /* zero: a new context */
};

struct lb_open_session {
	struct lb_header header;
	uint64_t call; /* the client's name for this call, for LB_OP_CANCEL; unique within the context */
	uint8_t uuid[LB_UUID_SIZE]; /* of the TA, octets as RFC 4122 orders them */
	uint32_t login;		    /* TEEC_LOGIN_* */
	uint32_t login_data;	    /* the group's id, for group logins */
	struct lb_param params[LB_PARAMS];
};

struct lb_invoke {
	struct lb_header header;
	uint64_t call;
	uint32_t session;
	uint32_t command;
	struct lb_param params[LB_PARAMS];
};

/* LB_OP_CLOSE_SESSION: a session; LB_OP_RELEASE_SHM: an object. LB_OP_STATUS, LB_OP_DEATHS: 0. */
struct lb_handle {
	struct lb_header header;
	uint32_t id;
	uint32_t zero;
};

struct lb_cancel {
	struct lb_header header;
	uint64_t call;
};

struct lb_register_shm {
	struct lb_header header;
	uint64_t size; /* bytes, not zero; no more than the file has */
};

/*
 * The reply to everything. id: the session or object made. size: bytes of the text of LB_OP_STATUS and LB_OP_DEATHS; of
 * LB_OP_HELLO what the daemon has beyond version 1: LB_HAS_DEATHS.
 */
struct lb_reply {
	struct lb_header header;
	uint32_t result; /* TEEC_Result */
	uint32_t origin; /* TEEC_ORIGIN_* */
	uint32_t id;
	uint32_t zero;
	uint64_t size;
	uint8_t token[LB_TOKEN_SIZE];
	struct lb_param params[LB_PARAMS];
};

#endif
