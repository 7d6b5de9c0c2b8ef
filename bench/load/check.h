/* What comes from a POP3 server, looked at octet by octet. */
#ifndef CHECK_H
#define CHECK_H

#include <stddef.h>
#include <stdint.h>

enum place { LINE_START, DOT, DOT_CR, WITHIN, CR };

/* One multi-line response (RFC 1939 section 3), across any number of reads. */
struct body {
	enum place place;
	uint64_t octets;	/* after unstuffing, without the terminator */
	uint32_t crc;		/* of the same */
	unsigned bare_lf;	/* LF without CR before it */
	unsigned unstuffed;	/* lines that begin with one dot and are no terminator */
	int ended;
};

void body_begin(struct body *body);

/* Takes octets until the terminator: how many of them. */
size_t body_feed(struct body *body, const unsigned char *octets, size_t count);

#endif
