/* Lines `<D01f:YWJj:0a1b2c3d`: kind, round and offset, base64 (RFC 4648 §4), CRC-32 (ISO 3309) of token and text before. */
#include "agent.h"

#include <stdio.h>
#include <string.h>

static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
static uint32_t seed;

static uint32_t crc(uint32_t value, const char *text, size_t size)
{
	value = ~value;
	for (size_t n = 0; n < size; n++) {
		value ^= (uint8_t)text[n];
		for (int bit = 0; bit < 8; bit++)
			value = value >> 1 ^ (value & 1 ? 0xEDB88320u : 0);
	}
	return ~value;
}

void line_token(const char *token)
{
	seed = crc(0, token, strlen(token));
}

size_t line_format(char *text, char kind, unsigned round, uint64_t at, const uint8_t *data, size_t size)
{
	size_t length = (size_t)snprintf(text, LINE_ROOM, "%c%c%x%llx:", MARK_OUT, kind, round,
					 (unsigned long long)at);

	for (size_t n = 0; n < size; n += 3) {
		size_t left = size - n;
		uint32_t word = (uint32_t)data[n] << 16 | (left > 1 ? data[n + 1] << 8 : 0) | (left > 2 ? data[n + 2] : 0);

		text[length++] = digits[word >> 18];
		text[length++] = digits[word >> 12 & 63];
		text[length++] = left > 1 ? digits[word >> 6 & 63] : '=';
		text[length++] = left > 2 ? digits[word & 63] : '=';
	}
	return length + (size_t)snprintf(text + length, LINE_ROOM - length, ":%08x\n", crc(seed, text, length));
}

/* A number of one to `most` hexadecimal digits in lower case; what follows it, NULL if it is none. */
static const char *hexadecimal(const char *text, const char *end, size_t most, uint64_t *value)
{
	const char *start = text;

	*value = 0;
	for (; text < end && (size_t)(text - start) < most; text++) {
		if (*text >= '0' && *text <= '9')
			*value = *value << 4 | (uint64_t)(*text - '0');
		else if (*text >= 'a' && *text <= 'f')
			*value = *value << 4 | (uint64_t)(*text - 'a' + 10);
		else
			break;
	}
	return text > start ? text : NULL;
}

static bool decode(const char *text, const char *end, struct line *line)
{
	size_t length = (size_t)(end - text);

	if (length % 4 || length / 4 * 3 > PIECE_MAX)
		return false;
	line->size = 0;
	for (; text < end; text += 4) {
		int padding = text + 4 == end ? (text[3] == '=') + (text[3] == '=' && text[2] == '=') : 0;
		uint32_t word = 0;

		for (int n = 0; n < 4; n++) {
			const char *digit = n >= 4 - padding ? digits : text[n] ? strchr(digits, text[n]) : NULL;

			if (!digit)
				return false;
			word = word << 6 | (uint32_t)(digit - digits);
		}
		for (int n = 0; n < 3 - padding; n++)
			line->data[line->size++] = (uint8_t)(word >> (16 - 8 * n));
	}
	return true;
}

int line_parse(const char *text, size_t length, struct line *line)
{
	const char *end = text + length;
	const char *start = NULL, *payload = NULL, *check = NULL;
	uint64_t sum = 0, round = 0;

	/* Whatever was in front of it, the kernel's words or the rest of a broken line, is no part of it. */
	for (const char *c = text; c < end; c++) {
		if (*c == MARK_IN)
			start = c;
	}
	if (!start)
		return 0;
	for (const char *c = start; c < end; c++) {
		if (*c == ':') {
			payload = payload ? payload : c;
			check = c;
		}
	}
	if (!payload || check == payload || end - check != 9 || hexadecimal(check + 1, end, 8, &sum) != end)
		return -1;
	if (sum != crc(seed, start, (size_t)(check - start)) || !strchr("DANP", start[1]))
		return -1;
	line->kind = start[1];
	if (hexadecimal(start + 2, payload, 1, &round) != start + 3)
		return -1;
	line->round = (unsigned)round;
	if (hexadecimal(start + 3, payload, 16, &line->at) != payload || !decode(payload + 1, check, line))
		return -1;
	return 1;
}
