#include "check.h"

#include <string.h>
#include <zlib.h>

void body_begin(struct body *body)
{
	memset(body, 0, sizeof *body);
	body->place = LINE_START;
}

static void keep(struct body *body, const unsigned char *octets, size_t count)
{
	body->crc = (uint32_t)crc32(body->crc, octets, (uInt)count);
	body->octets += count;
}

size_t body_feed(struct body *body, const unsigned char *octets, size_t count)
{
	const unsigned char *at = octets, *end = octets + count, *from = octets;

	while (at < end && !body->ended) {
		switch (body->place) {
		case LINE_START:
			if (*at == '.') {
				/* What is before it is content; the dot itself never is. */
				keep(body, from, (size_t)(at - from));
				from = ++at;
				body->place = DOT;
				break;
			}
			body->place = WITHIN;
			break;
		case DOT:
			if (*at == '\r') {
				at++;
				body->place = DOT_CR;
				break;
			}
			if (*at != '.')
				body->unstuffed++;
			body->place = WITHIN;
			break;
		case DOT_CR:
			if (*at == '\n') {
				at++;
				body->ended = 1;
				break;
			}
			/* A line of a dot, CR and something else. */
			body->unstuffed++;
			keep(body, (const unsigned char *)"\r", 1);
			from = at;
			body->place = WITHIN;
			break;
		case WITHIN: {
			const unsigned char *lf = memchr(at, '\n', (size_t)(end - at));
			if (lf == NULL) {
				body->place = end[-1] == '\r' ? CR : WITHIN;
				at = end;
				break;
			}
			if (lf == at || lf[-1] != '\r')
				body->bare_lf++;
			at = lf + 1;
			body->place = LINE_START;
			break;
		}
		case CR:
			/* The CR came with the last read. */
			if (*at == '\n') {
				at++;
				body->place = LINE_START;
			} else {
				body->place = WITHIN;
			}
			break;
		}
	}
	/* A CR behind a dot is content only if no LF follows. */
	if (!body->ended && body->place != DOT_CR)
		keep(body, from, (size_t)(at - from));
	return (size_t)(at - octets);
}
