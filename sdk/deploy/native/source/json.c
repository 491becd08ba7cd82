/* Whether bytes are one JSON object (RFC 8259) in UTF-8, as Python's json reads it: NaN and Infinity are numbers, half a
 * surrogate pair may be escaped. */
#include <string.h>

#include "internal.h"

enum { MAX_METADATA_DEPTH = 64, MAX_METADATA_DIGITS = 400 };

typedef struct {
    const uint8_t *at, *end;
} Text;

static int invalid_utf8(const uint8_t *text, size_t size) {
    for (size_t i = 0; i < size;) {
        const uint32_t first = text[i++];
        uint32_t lowest = 0x80, highest = 0xbf; /* of the byte that follows */
        int more = first < 0x80 ? 0 : first < 0xe0 ? 1 : first < 0xf0 ? 2 : 3;
        if (first < 0x80) continue;
        if (first < 0xc2 || first > 0xf4) return 1;
        if (first == 0xe0) lowest = 0xa0; /* else it would fit fewer bytes */
        if (first == 0xed) highest = 0x9f; /* surrogates */
        if (first == 0xf0) lowest = 0x90;
        if (first == 0xf4) highest = 0x8f; /* beyond U+10FFFF */
        for (; more; more--, i++, lowest = 0x80, highest = 0xbf)
            if (i == size || text[i] < lowest || text[i] > highest) return 1;
    }
    return 0;
}

static void skip_space(Text *t) {
    while (t->at < t->end && (*t->at == ' ' || *t->at == '\t' || *t->at == '\n' || *t->at == '\r')) t->at++;
}

static int skip(Text *t, char expected) {
    if (t->at == t->end || *t->at != (uint8_t)expected) return 0;
    t->at++;
    return 1;
}

static int skip_word(Text *t, const char *word) {
    const size_t size = strlen(word);
    if ((size_t)(t->end - t->at) < size || memcmp(t->at, word, size) != 0) return 0;
    t->at += size;
    return 1;
}

static int skip_digits(Text *t) {
    const uint8_t *start = t->at;
    while (t->at < t->end && *t->at >= '0' && *t->at <= '9') t->at++;
    return t->at > start;
}

static int is_hexadecimal(uint8_t byte) {
    return (byte >= '0' && byte <= '9') || (byte >= 'a' && byte <= 'f') || (byte >= 'A' && byte <= 'F');
}

static int skip_string(Text *t) {
    if (!skip(t, '"')) return 0;
    while (t->at < t->end) {
        const uint8_t byte = *t->at++;
        if (byte == '"') return 1;
        if (byte < 0x20) return 0;
        if (byte != '\\') continue;
        if (t->at == t->end) return 0;
        if (*t->at == 'u') {
            for (int i = 1; i <= 4; i++)
                if (t->end - t->at <= i || !is_hexadecimal(t->at[i])) return 0;
            t->at += 5;
        } else if (*t->at && strchr("\"\\/bfnrt", *t->at)) {
            t->at++;
        } else {
            return 0;
        }
    }
    return 0;
}

/* A fraction or an exponent without digits is left for who comes next, who refuses it. */
static int skip_number(Text *t) {
    Text rest;
    const uint8_t *start = t->at, *whole;
    skip(t, '-');
    if (!skip(t, '0') && !skip_digits(t)) return 0;
    whole = t->at;
    rest = *t;
    if (skip(&rest, '.') && skip_digits(&rest)) *t = rest;
    rest = *t;
    if (skip(&rest, 'e') || skip(&rest, 'E')) {
        if (!skip(&rest, '+')) skip(&rest, '-');
        if (skip_digits(&rest)) *t = rest;
    }
    return t->at > whole || whole - start <= MAX_METADATA_DIGITS;
}

static int skip_scalar(Text *t) {
    if (t->at < t->end && *t->at == '"') return skip_string(t);
    return skip_word(t, "null") || skip_word(t, "true") || skip_word(t, "false") || skip_word(t, "NaN") ||
           skip_word(t, "Infinity") || skip_word(t, "-Infinity") || skip_number(t);
}

/* "key": with the space after it; what follows is a value. */
static int skip_key(Text *t) {
    if (!skip_string(t)) return 0;
    skip_space(t);
    if (!skip(t, ':')) return 0;
    skip_space(t);
    return 1;
}

int armlet_check_json(const uint8_t *text, size_t size) {
    Text t;
    uint8_t is_object[MAX_METADATA_DEPTH];
    int depth = 0;
    REQUIRE(!invalid_utf8(text, size), ARMLET_METADATA_INVALID);
    t.at = text, t.end = text + size;
    skip_space(&t);
    REQUIRE(t.at < t.end && *t.at == '{', ARMLET_METADATA_INVALID);
    do { /* here a value begins */
        if (t.at < t.end && (*t.at == '{' || *t.at == '[')) {
            REQUIRE(depth < MAX_METADATA_DEPTH, ARMLET_METADATA_INVALID);
            is_object[depth++] = *t.at++ == '{';
            skip_space(&t);
            if (!(t.at < t.end && *t.at == (is_object[depth - 1] ? '}' : ']'))) {
                if (is_object[depth - 1]) REQUIRE(skip_key(&t), ARMLET_METADATA_INVALID);
                continue;
            }
        } else {
            REQUIRE(skip_scalar(&t), ARMLET_METADATA_INVALID);
        }
        /* A value has ended, or an empty one is about to: close what it is the last of. */
        for (skip_space(&t); depth && skip(&t, is_object[depth - 1] ? '}' : ']'); skip_space(&t)) depth--;
        if (depth == 0) break;
        REQUIRE(skip(&t, ','), ARMLET_METADATA_INVALID);
        skip_space(&t);
        if (is_object[depth - 1]) REQUIRE(skip_key(&t), ARMLET_METADATA_INVALID);
    } while (1);
    return t.at == t.end ? ARMLET_OK : ARMLET_METADATA_INVALID;
}
