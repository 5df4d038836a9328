/* Parameters of a query on their way to libpq, and rows on their way back. */

#include "io/db_private.h"

#include <arpa/inet.h>
#include <endian.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

/* Type ids that never change: the server's catalog/pg_type.dat. */
enum {
	TYPE_ANY = 0, /* as the statement needs it */
	TYPE_BOOL = 16,
	TYPE_INT8 = 20,
	TYPE_TEXT = 25,
	TYPE_TEXT_ARRAY = 1009,
	TYPE_INT8_ARRAY = 1016,
};

struct db_params *db_params_new(void)
{
	return mem_alloc(sizeof(struct db_params));
}

void db_params_free(struct db_params **params)
{
	struct db_params *p = *params;

	if (!p)
		return;
	for (int i = 0; i < p->count; i++)
		mem_free(&p->values[i]);
	mem_free(&p->types);
	mem_free(&p->values);
	mem_free(&p->lengths);
	mem_free(&p->formats);
	mem_free(params);
}

/* Takes `value`. */
static void add(struct db_params *p, Oid type, char *value, size_t len, int format)
{
	if (p->count == p->room) {
		size_t room = p->room ? (size_t)p->room * 2 : 8;

		p->types = mem_resize(p->types, room, sizeof(*p->types));
		p->values = mem_resize(p->values, room, sizeof(*p->values));
		p->lengths = mem_resize(p->lengths, room, sizeof(*p->lengths));
		p->formats = mem_resize(p->formats, room, sizeof(*p->formats));
		p->room = (int)room;
	}
	p->types[p->count] = type;
	p->values[p->count] = value;
	p->lengths[p->count] = len > INT_MAX ? INT_MAX : (int)len;
	p->formats[p->count++] = format;
	p->bytes += len;
}

void db_param_null(struct db_params *params)
{
	add(params, TYPE_ANY, NULL, 0, 0);
}

void db_param_text(struct db_params *params, const char *text)
{
	add(params, TYPE_TEXT, mem_strdup(text), text ? strlen(text) : 0, 0);
}

/* In binary, so that a NUL byte inside reaches the server, which refuses it by name, instead of cutting the
 * text. */
void db_param_bytes(struct db_params *params, const char *bytes, size_t len)
{
	char *copy = mem_alloc(len + 1);

	memcpy(copy, bytes, len);
	add(params, TYPE_TEXT, copy, len, 1);
}

void db_param_int(struct db_params *params, int64_t value)
{
	char *text = mem_printf("%lld", (long long)value);

	add(params, TYPE_INT8, text, strlen(text), 0);
}

void db_param_bool(struct db_params *params, bool value)
{
	add(params, TYPE_BOOL, mem_strdup(value ? "t" : "f"), 1, 0);
}

/* The wire form of an array: dimensions, has NULLs, element type, then per dimension length and lower bound,
 * then each element with its length, -1 for NULL. All numbers are big endian. */
struct array_writer {
	char *start, *at;
};

static void put_int32(struct array_writer *w, int32_t value)
{
	uint32_t big = htonl((uint32_t)value);

	memcpy(w->at, &big, sizeof(big));
	w->at += sizeof(big);
}

static void array_begin(struct array_writer *w, Oid element, size_t count, bool nulls, size_t element_bytes)
{
	w->start = w->at = mem_alloc(5 * sizeof(int32_t) + count * sizeof(int32_t) + element_bytes);
	put_int32(w, count > 0);
	put_int32(w, nulls);
	put_int32(w, (int32_t)element);
	if (count > 0) {
		put_int32(w, (int32_t)count);
		put_int32(w, 1);
	}
}

static void array_add(struct array_writer *w, const void *bytes, size_t len)
{
	put_int32(w, (int32_t)len);
	memcpy(w->at, bytes, len);
	w->at += len;
}

static void array_end(struct array_writer *w, struct db_params *params, Oid type)
{
	add(params, type, w->start, (size_t)(w->at - w->start), 1);
}

void db_param_ints(struct db_params *params, const int64_t *values, size_t count)
{
	db_param_ints_or_null(params, values, NULL, count);
}

void db_param_ints_or_null(struct db_params *params, const int64_t *values, const bool *nulls, size_t count)
{
	struct array_writer w;

	array_begin(&w, TYPE_INT8, count, nulls != NULL, count * sizeof(int64_t));
	for (size_t i = 0; i < count; i++) {
		uint64_t big = htobe64((uint64_t)values[i]);

		if (nulls && nulls[i])
			put_int32(&w, -1);
		else
			array_add(&w, &big, sizeof(big));
	}
	array_end(&w, params, TYPE_INT8_ARRAY);
}

void db_param_texts(struct db_params *params, const char *const *values, const size_t *lens, size_t count)
{
	struct array_writer w;
	size_t bytes = 0;

	for (size_t i = 0; i < count; i++)
		bytes += !values[i] ? 0 : lens ? lens[i] : strlen(values[i]);
	array_begin(&w, TYPE_TEXT, count, true, bytes);
	for (size_t i = 0; i < count; i++) {
		if (!values[i])
			put_int32(&w, -1);
		else
			array_add(&w, values[i], lens ? lens[i] : strlen(values[i]));
	}
	array_end(&w, params, TYPE_TEXT_ARRAY);
}

size_t db_rows_count(const struct db_rows *rows)
{
	return (size_t)PQntuples(rows->result);
}

bool db_is_null(const struct db_rows *rows, size_t row, int col)
{
	return PQgetisnull(rows->result, (int)row, col) != 0;
}

const char *db_text(const struct db_rows *rows, size_t row, int col, size_t *ret_len)
{
	if (ret_len)
		*ret_len = (size_t)PQgetlength(rows->result, (int)row, col);
	return PQgetvalue(rows->result, (int)row, col);
}

int64_t db_int(const struct db_rows *rows, size_t row, int col)
{
	return strtoll(PQgetvalue(rows->result, (int)row, col), NULL, 10);
}

bool db_bool(const struct db_rows *rows, size_t row, int col)
{
	return PQgetvalue(rows->result, (int)row, col)[0] == 't';
}
