#ifndef IO_HANDOVER_PRIVATE_H
#define IO_HANDOVER_PRIVATE_H

/* Shared by handover.c (what is passed) and handover_file.c (the file that it goes through). */

#include <jansson.h>

#include "base/buf.h"
#include "io/handover.h"

enum { HANDOVER_DEPTH = 12 };

/* An object or a list that was begun. `at` is NULL where what is read has no such thing. */
struct handover_frame {
	json_t *at;
	const char *name; /* NULL = of an object in a list */
	size_t next;	  /* of a list that is read: index of the next object */
};

struct handover {
	bool reading, rehearsal;
	struct handover_frame frames[HANDOVER_DEPTH];
	size_t depth;	  /* frames[depth - 1] is where names belong */
	struct buf bytes; /* of a handover that is written */
	json_t *fds;	  /* numbers: named (written), not taken yet (read) */
	char *map;	  /* the file, of a handover that is read */
	size_t map_len;
	const char *stored; /* the bytes in it */
	size_t stored_len;
	char *error;
};

/* The object or list that names belong to. */
json_t *handover_here(const struct handover *h);

/* Begins one; `at` is borrowed. */
void handover_push(struct handover *h, json_t *at, const char *name);

#endif
